"""Finetuning a detector to the end of its schedule: from iteration 0 or from wherever it was stopped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from mec_transfer.benchmark import TRAINING_NAME
from mec_transfer.common import device as devices
from mec_transfer.common import distributed
from mec_transfer.common.errors import ConfigError, RunError, UserError
from mec_transfer.common.exhaustion import what_ran_out
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.interrupt import held_signals
from mec_transfer.common.progress import Meter, say
from mec_transfer.common.resumable import ResumableState
from mec_transfer.common.runtime import derive_seed
from mec_transfer.detection.loading import BatchPlan, Item, MappedImages, load_batches, seed_step

CHECKPOINT = "training_last.pth"
_SMALLER = "take more GPUs, or --set recipe.images_per_batch=N for fewer images, with rate and length scaled linearly"
_LOWER = "Lower SOLVER.BASE_LR, or lengthen SOLVER.WARMUP_ITERS"


def scale_schedule(config: CfgNode, images_per_batch: int) -> float:
    """Fit a schedule to another batch size, linearly: the rate with the batch, the length against it; return the scale.

    Source: Goyal et al. 2017, as Detectron2's `auto_scale_workers` has it. The images seen in all stay the same.
    """
    scale = images_per_batch / config.SOLVER.IMS_PER_BATCH
    config.SOLVER.IMS_PER_BATCH = images_per_batch
    config.SOLVER.BASE_LR *= scale
    config.SOLVER.MAX_ITER = round(config.SOLVER.MAX_ITER / scale)
    config.SOLVER.STEPS = tuple(round(step / scale) for step in config.SOLVER.STEPS)
    config.SOLVER.WARMUP_ITERS = round(config.SOLVER.WARMUP_ITERS / scale)
    return scale


def check_schedule(config: CfgNode) -> None:
    """Raise ConfigError for a schedule that does not come to its end, or a batch that the processes cannot share."""
    batch, processes = config.SOLVER.IMS_PER_BATCH, distributed.world_size()
    if batch % processes:
        raise ConfigError(
            f"a batch of {batch} images does not divide over {processes} processes; set recipe.images_per_batch"
        )
    last, steps, warmup = config.SOLVER.MAX_ITER, tuple(config.SOLVER.STEPS), config.SOLVER.WARMUP_ITERS
    if last < 1 or warmup > last or any(step >= last for step in steps):
        raise ConfigError(
            f"SOLVER.STEPS {list(steps)} must lie before SOLVER.MAX_ITER {last}, and SOLVER.WARMUP_ITERS {warmup} not "
            "after it; set them together in recipe.changes"
        )


@dataclasses.dataclass
class Stepper:
    """Network, optimizer and schedule: one iteration at a time, as Detectron2's SimpleTrainer does it."""

    network: nn.Module
    config: CfgNode
    seed: int
    iteration: int = 0
    """Iterations done."""

    def __post_init__(self) -> None:
        self.optimizer = build_optimizer(self.config, self.network)
        self.scheduler = build_lr_scheduler(self.config, self.optimizer)
        self.called: nn.Module = self.network
        device = next(self.network.parameters()).device
        if distributed.world_size() > 1:
            self.called = nn.parallel.DistributedDataParallel(
                self.network, device_ids=devices.ddp_devices(device), broadcast_buffers=False
            )

    def step(self, batch: list[Item]) -> dict[str, float]:
        """Train on a batch; return the losses by name, with their sum as `total`.

        Raises:
            RunError: the loss is not finite, or memory is short; the weights are those before the step.
        """
        seed_step(self.seed, self.iteration)
        try:
            with EventStorage(self.iteration):
                losses = self.called(batch)
            total = sum(losses.values())
            self.optimizer.zero_grad()
            total.backward()
        except FloatingPointError as error:  # Detectron2 looks at the proposals before there is a loss
            raise RunError(f"iteration {self.iteration + 1}: {error} {_LOWER}") from None
        except torch.OutOfMemoryError as error:
            why = what_ran_out(error, _SMALLER)
            raise RunError(f"iteration {self.iteration + 1}, {len(batch)} images: {why}") from None
        values = torch.stack([*losses.values(), total]).detach().cpu().tolist()
        if not math.isfinite(values[-1]):
            named = ", ".join(f"{name} {value:.3g}" for name, value in zip(losses, values))
            raise RunError(f"the loss is not finite at iteration {self.iteration + 1} ({named}). {_LOWER}")
        self.optimizer.step()
        self.scheduler.step()
        self.iteration += 1
        return dict(zip([*losses, "total"], values, strict=True))

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.iteration = int(state["iteration"])


class DetectorState(ResumableState):
    """The state of a detector's training, of the identity that `Benchmark.training_identity` gives, or of None."""

    NAME = CHECKPOINT
    PREVIOUS = "training_previous.pth"
    FORMAT = "mec-transfer/detector-training/1"
    OLDER_FORMATS = (None,)
    TITLE = "training state of a detector"
    KEYS = frozenset({"iteration", "network", "optimizer", "scheduler"})
    PROGRESS = ("iteration",)
    CURE = _LOWER

    def difference(self, there: Any) -> str:
        """Earlier versions wrote the identity beside the state alone, where `claim` has looked."""
        if there is None or self.run is None or there == self.run:
            return ""
        return "the detector in this folder belongs to another training; choose another --out"


def claim(folder: Path, identity: dict[str, Any] | None) -> None:
    """Note in `folder` what the training there depends on (`Benchmark.training_identity`; None: nothing is noted).

    Raises:
        UserError: a detector lies there whose training is another one.
    """
    path, state = folder / TRAINING_NAME, DetectorState(folder, identity)
    if identity is None:
        return
    trained = any(file.exists() for file in (state.path, state.previous))
    if trained and path.exists() and (difference := state.difference(read_json(path))):
        raise UserError(f"{path}: {difference}")
    if distributed.rank() == 0:
        write_json(path, identity)
    distributed.barrier()


def train(
    network: nn.Module,
    config: CfgNode,
    items: list[Item],
    folder: Path,
    seed: int,
    workers: int,
    identity: dict[str, Any] | None = None,
) -> list[str]:
    """Train `network` on `items` to the schedule's end, with PreciseBN after it; return warnings for the record.

    `folder` is the job's: what a training of the same `identity` left there is continued.

    Raises:
        DataError: an image cannot be read.
        UserError: the state in `folder` belongs to another training, or is damaged.
        RunError: the loss or a weight is no longer finite, or the disk is full.
        Interrupted: a signal came, and the state is saved.
    """
    batch, last = config.SOLVER.IMS_PER_BATCH, config.SOLVER.MAX_ITER
    claim(folder, identity)
    network.train()
    stepper, state = Stepper(network, config, seed), DetectorState(folder, identity)
    if state.restore(stepper.restore):
        say(f"{state.path}: going on from iteration {stepper.iteration} of {last}")
    if stepper.iteration < last:
        grouped = config.DATALOADER.ASPECT_RATIO_GROUPING
        plan = BatchPlan(items, batch, seed, last, grouped)
        plan.first = stepper.iteration
        with held_signals() as stop:
            batches = load_batches(MappedImages(items, config, seed), plan, workers)
            state.train_to(last, stepper, lambda batch: stepper.step(batch)["total"], batches, stop)
    notes = _precise_bn(network, config, items, seed, workers)
    distributed.copy_from_first(network.buffers())  # its own images weigh in each process's statistics
    return notes


def discard_training(folder: Path) -> None:
    """Remove the training states: the run's numbers are in."""
    DetectorState(folder, None).discard()
    (folder / TRAINING_NAME).unlink(missing_ok=True)


def _precise_bn(network: nn.Module, config: CfgNode, items: list[Item], seed: int, workers: int) -> list[str]:
    """Recompute batch norm's running statistics with fixed weights over TEST.PRECISE_BN.NUM_ITER batches."""
    if not config.TEST.PRECISE_BN.ENABLED:
        return []
    if not get_bn_modules(network):
        return ["PreciseBN is asked for, but no batch norm is in training mode"]
    count = config.TEST.PRECISE_BN.NUM_ITER
    seed = derive_seed(seed, "precise_bn")
    plan = BatchPlan(items, config.SOLVER.IMS_PER_BATCH, seed, count, config.DATALOADER.ASPECT_RATIO_GROUPING)
    seed_step(seed, 0)
    meter = Meter("PreciseBN", count, "batches")

    def batches() -> Iterator[list[Item]]:
        for batch in load_batches(MappedImages(items, config, seed), plan, workers):
            yield batch
            meter.advance()

    try:
        with EventStorage(), torch.no_grad():
            update_bn_stats(network, batches(), count)
    finally:
        meter.close()
    return []
