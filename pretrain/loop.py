"""A pretraining run from its first or last checkpoint to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mec_transfer.common import device as devices
from mec_transfer.common import distributed
from mec_transfer.common.command import default_workers
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.exhaustion import what_ran_out
from mec_transfer.common.files import save_torch, write_text
from mec_transfer.common.interrupt import StopRequest, held_signals
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.progress import Meter, say, warn
from mec_transfer.common.runtime import pick_device
from mec_transfer.datasets.images.folders import open_unlabelled
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.values import few
from pretrain.checkpoint import Checkpoint
from pretrain.collapse import CollapseWatch, effective_rank
from pretrain.config import PretrainConfig
from pretrain.data import Batch, EpochBatches, TwoViews, load_epoch, make_loader
from pretrain.fast_views import Uncoloured
from pretrain.identity import LOG, RunIdentity, mark_finished
from pretrain.log import StepLog
from pretrain.objective import MecLoss, NoLogarithmError
from pretrain.observe import Observers
from pretrain.trainer import NonFiniteLossError, Trainer

TRACEBACK = "traceback.txt"
_SMALLER = "take more processes, or --set chunk_size=N to embed N images of the batch at a time"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run reads and writes and what it computes on; none of this changes what it computes."""

    folder: Path
    """The folder of the images."""
    out: Path
    device: str = "auto"
    workers: int | None = None
    """Loading processes. None: one a core beside a GPU, and none on a CPU, where they would only take the cores from
    the networks, which need far more of them."""
    labelled: Path | None = None
    """An imagefolder data set to watch the k-NN accuracy on."""
    tensorboard: bool = False


def pretrain(config: PretrainConfig, identity: RunIdentity, options: RunOptions) -> None:
    """Train until the schedule's end, from `out`'s newest intact checkpoint if there is one.

    It leaves one after every epoch, every `save_every_steps`, ten minutes after the last one, and at a signal that
    asks it to stop.

    Raises:
        UserError: the options do not fit this machine, the checkpoint belongs to another run, or another process trains
            in `out`.
        DataError: an image cannot be read.
        RunError: the loss is no longer finite (the step's weights and views are left beside), or the disk is full.
        Interrupted: a signal came, and the state is saved.
    """
    device = pick_device(options.device)
    world = distributed.world_size()
    if config.batch_size % world:
        raise UserError(f"batch_size = {config.batch_size} does not divide over {world} processes")
    if config.chunk_size and config.batch_size // world % config.chunk_size:
        share = config.batch_size // world
        raise UserError(f"chunk_size = {config.chunk_size} does not divide the {share} images of a process")
    devices.set_convolutions(device, tf32=config.precision != "fp32")
    lock = folder_lock(options.out, "pretraining here") if distributed.rank() == 0 else contextlib.nullcontext()
    with lock, _kept_traceback(options.out), distributed.process_group(device):
        run = _Run.open(config, identity, options, device)
        with held_signals() as stop:
            run.complete(stop)


@contextlib.contextmanager
def _kept_traceback(out: Path) -> Iterator[None]:
    """Write the traceback of a failure that is reported in one line to `out`."""
    try:
        yield
    except RunError as error:
        if error.__cause__:
            with contextlib.suppress(RunError):  # a full disk has been reported already
                write_text(out / TRACEBACK, "".join(traceback.format_exception(error)))
        raise


class _Run:
    def __init__(
        self,
        config: PretrainConfig,
        identity: RunIdentity,
        images: ImageList,
        observers: Observers,
        device: torch.device,
        workers: int,
    ) -> None:
        self.config, self.identity, self.out = config, identity, observers.out
        rank, world = distributed.rank(), distributed.world_size()
        self.batches = EpochBatches(len(images), config.batch_size, identity.seed, rank, world)
        dataset = TwoViews(images, config.views, identity.seed)
        self.loader = make_loader(dataset, self.batches, workers, pin_memory=devices.copies_pinned_memory(device))
        self.images, self.observers = images, observers
        self.trainer = Trainer(config, len(self.batches), device, identity.seed)
        self.writes = rank == 0
        self.peak_norm = torch.zeros((), device=device)
        """Largest spectral norm of C since the last logged step."""
        self.state = Checkpoint(self.out, config, identity)
        self.log: StepLog | None = None
        self.warned = False
        self.watch = CollapseWatch(self.trainer.schedules.warmup)

    @classmethod
    def open(cls, config: PretrainConfig, identity: RunIdentity, options: RunOptions, device: torch.device) -> _Run:
        """Open the images, and go on from the newest checkpoint where there is one."""
        images = open_unlabelled(options.folder)
        workers = options.workers
        if workers is None:
            workers = default_workers() if devices.leaves_cores_free(device) else 0
        observers = Observers.open(config, options.out, options.labelled, options.tensorboard, device, workers)
        run = cls(config, identity, images, observers, device, workers)
        if run.state.restore(run._restore):
            say(f"{run.state.path}: going on from step {run.trainer.done} of {run.trainer.schedules.last}")
        if run.writes:
            run.log = StepLog.open(run.out / LOG, run.trainer.done)
        return run

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        self.trainer.restore(checkpoint)
        self.peak_norm.fill_(checkpoint.get("peak_norm", 0.0))

    def complete(self, stop: StopRequest) -> None:
        """Train to the end, or until `stop` is asked for."""
        self.stop = stop
        schedules, done = self.trainer.schedules, self.trainer.done
        meter = Meter("pretraining", schedules.last, "steps", start=done)
        try:
            while self.trainer.done < schedules.last:
                epoch = self.trainer.done // schedules.steps_per_epoch
                self._train_epoch(epoch, meter)
                self._observe(epoch)
                self.state.save(self._contents())
                self._keep()
                self._obey_signal()
        finally:
            meter.close()
            self.observers.close(self.out / LOG, draw=not stop.number)
        stop.number = 0  # there is nothing left to stop
        if self.writes:
            mark_finished(self.out, self.identity)
        distributed.barrier()
        say(f"finished: step {self.trainer.done}; {self.state.path}")

    def _train_epoch(self, epoch: int, meter: Meter) -> None:
        """Train the batches of `epoch` that are left, to its end or the run's last step."""
        schedules = self.trainer.schedules
        began, first = time.monotonic(), self.trainer.done
        for views in load_epoch(self.loader, self.batches, epoch, first % schedules.steps_per_epoch):
            try:
                report = self.trainer.step(*views)
            except NonFiniteLossError as error:
                raise self._explain(error, epoch, views) from None
            except NoLogarithmError as error:
                raise RunError(f"step {self.trainer.done + 1} (epoch {epoch}): {error}") from None
            except torch.OutOfMemoryError as error:
                raise RunError(f"step {self.trainer.done + 1}: {what_ran_out(error, _SMALLER)}") from None
            torch.maximum(self.peak_norm, report.spectral_norm, out=self.peak_norm)
            done = self.trainer.done
            rate = (done - first) * self.config.batch_size / (time.monotonic() - began)
            if self._is_logged(done):
                self._log(epoch, report, self.peak_norm.item(), rate)
                self.peak_norm.zero_()
                began, first = time.monotonic(), done
            self._show(meter, report, rate)
            if done == schedules.last:
                return
            every = self.config.save_every_steps
            if self.state.is_due or (every and done % every == 0):
                self.state.save(self._contents())
            self._obey_signal()

    def _show(self, meter: Meter, report: MecLoss, images_per_second: float) -> None:
        step, schedules = self.trainer.done - 1, self.trainer.schedules
        meter.advance(
            loss=float(report.loss),
            coding_length=float(report.coding_length),
            lr=schedules.lr(step),
            lamda_inv=schedules.lamda_inv(step),
            images_per_second=images_per_second,
        )

    def _obey_signal(self) -> None:
        """Save and stop if any of the processes has received a signal."""
        number = self.stop.of_all()
        if number and self.trainer.done < self.trainer.schedules.last:
            self.state.save_and_stop(self._contents(), number)

    def _explain(self, error: NonFiniteLossError, epoch: int, views: Batch) -> RunError:
        """Save what is needed to compute this process's part of the step again, and return an error that says where."""
        done, per_epoch = self.trainer.done, self.trainer.schedules.steps_per_epoch
        indices = self.batches.whole_batch(epoch, done % per_epoch)
        names = [self.images.paths[index] for index in indices]
        path = self.out / f"nonfinite_step{done + 1:06d}_rank{distributed.rank()}.pth"
        about = {"step": done, "epoch": epoch, "loss": error.loss, "indices": indices, "images": names}
        save_torch(
            path,
            {
                **about,
                "views": [tuple(view) if isinstance(view, Uncoloured) else view for view in views],
                "config": self.identity.config,
                **self.trainer.states(),
            },
        )
        return RunError(
            f"the loss is {error.loss} at step {done + 1} (epoch {epoch}, images {few(names, 3)}: "
            f"{path} has them, with the weights before the step); the last whole "
            f"checkpoint is kept. {Checkpoint.CURE}"
        )

    def _is_logged(self, done: int) -> bool:
        schedules = self.trainer.schedules
        epoch_ends = done % schedules.steps_per_epoch == 0
        return epoch_ends or done % self.config.log_every == 0 or done in (1, schedules.last)

    def _log(self, epoch: int, report: MecLoss, spectral_norm: float, images_per_second: float) -> None:
        done, schedules = self.trainer.done, self.trainer.schedules
        if spectral_norm >= 1 and self.config.order != "exact" and not self.warned:
            self.warned = True
            warn(
                f"step {done}: the spectral norm of C is {spectral_norm:.2f}; from 1 on the Taylor series may "
                "diverge (said once; log.jsonl has every value). A larger eps or a longer warm-up lowers it"
            )
        if self.log is None:
            return
        rank, std = effective_rank(report.embeddings), float(report.embedding_std)
        if collapse := self.watch.check(done, rank, std):
            warn(collapse)
        figures = {
            "step": done,
            "epoch": epoch,
            "loss": report.loss.item(),
            "coding_length": float(report.coding_length),
            "lr": schedules.lr(done - 1),
            "lamda_inv": schedules.lamda_inv(done - 1),
            "teacher_momentum": schedules.teacher_momentum(done - 1),
            "spectral_norm": spectral_norm,
            "embedding_std": std,
            "effective_rank": rank,
            "images_per_second": round(images_per_second, 2),
        }
        self.log.write(figures)
        self.observers.step(figures)

    def _observe(self, epoch: int) -> None:
        done = self.trainer.done
        measured = self.observers.epoch_end(epoch, done, self.trainer.model, self.stop)
        if measured and self.log is not None:
            self.log.write({"step": done, "epoch": epoch, **measured})

    def _contents(self) -> dict[str, Any]:
        done = self.trainer.done
        states = {**self.trainer.states(), "peak_norm": self.peak_norm.item()}
        return self.state.contents(done // self.trainer.schedules.steps_per_epoch, done, states)

    def _keep(self) -> None:
        """Keep the checkpoint of a milestone epoch."""
        every, per_epoch = self.config.keep_every_epochs, self.trainer.schedules.steps_per_epoch
        epoch, within = divmod(self.trainer.done, per_epoch)
        if self.writes and every and not within and epoch % every == 0:
            self.state.keep(epoch)
