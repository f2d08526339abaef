"""The training loop of the probes and of finetuning: each epoch is judged on the val set and saved."""

from __future__ import annotations

import abc
import datetime
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from mec_transfer.classification.batches import Part, TrainingImages
from mec_transfer.classification.config import ScheduleConfig
from mec_transfer.classification.training_state import STATE_NAME, TrainingState, load_state, save_state
from mec_transfer.common import distributed
from mec_transfer.common.errors import RunError
from mec_transfer.common.interrupt import Interrupted, StopRequest, held_signals
from mec_transfer.common.progress import Meter, is_main_process, say
from mec_transfer.common.resumable import SAVE_SECONDS


class Trainee(abc.ABC):
    """What is trained: its modules, and how a batch moves them."""

    modules: dict[str, torch.nn.Module]
    """All that training changes, by name."""
    optimizer: torch.optim.Optimizer
    """Its groups hold the base learning rates."""
    kept: ClassVar[tuple[str, ...]] = ()
    """The modules whose weights stay on disk when training is over."""

    def prepare(self) -> None:  # noqa: B027
        """Do before the first epoch what does not depend on training: a val image that is broken is found then.

        Where the network itself is trained there is nothing of that kind: all val images are decoded when the first
        epoch is judged, before any state is kept, so that a broken one costs that epoch and no more.
        """

    @abc.abstractmethod
    def train_mode(self) -> None:
        """Set every module as it is to be while training."""

    @abc.abstractmethod
    def backward(self, replica: int, parts: Iterator[Part]) -> torch.Tensor:
        """Add one group's share of the batch's gradient, and return its share of the batch's mean loss (a scalar)."""

    @abc.abstractmethod
    def reduce(self, loss: torch.Tensor) -> torch.Tensor:
        """Bring gradients and loss together over the processes: on each, those of the whole batch."""

    @abc.abstractmethod
    def predict(self) -> np.ndarray:
        """Return the classes predicted for every val image, (N, K), best first, on every process."""


def fit(
    trainee: Trainee,
    data: TrainingImages,
    *,
    title: str,
    key: str,
    folder: Path,
    epochs: int,
    schedule: ScheduleConfig,
    targets: np.ndarray,
) -> TrainingState:
    """Train for `epochs`, or for what an earlier attempt left of them, and return where it ended.

    After each epoch the val images are classified. The state is saved to `folder` then, and after the step when the
    last one is SAVE_SECONDS old, so that a kill costs little and changes nothing; a signal that asks to stop costs
    nothing, for the state is saved after the step. When training is over, the file keeps the predictions and the
    weights of `trainee.kept`.

    Args:
        trainee: fresh, as the first epoch is to find it; what of it is kept is then as the last epoch left it.
        data: the training images.
        title: what progress lines begin with.
        key: the job's.
        folder: the job's.
        epochs: all of them.
        schedule: of the learning rates.
        targets: (N,) the val images' classes.

    Raises:
        RunError: the loss or a weight is no longer finite, or the state cannot be written.
        UserError: the state in `folder` is another job's, or damaged.
        Interrupted: a signal came, and the state is saved.
    """
    rates = [float(group["lr"]) for group in trainee.optimizer.param_groups]
    state = load_state(folder, key)
    _restore(trainee, state)
    if state.epoch == epochs:
        return state
    if state.epoch or state.step:
        steps = f" and {state.step} steps" if state.step else ""
        say(f"{title}: going on after epoch {state.epoch}{steps} of {epochs}")
    saver, done = _Saver(folder, state, trainee, epochs), state.epoch
    trainee.prepare()
    meter = Meter(title, epochs * data.plan.steps, "steps", start=done * data.plan.steps + state.step)
    try:
        for epoch in range(done, epochs):
            for group, rate in zip(trainee.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule.scale(epoch, epochs)
            before, stopped = state.seconds, 0
            try:
                with held_signals() as stop:
                    if stopped := _train_epoch(trainee, data, state, title, meter, stop, saver):
                        raise Interrupted(stopped)
                top = trainee.predict()
            except Interrupted:  # between two steps, or where nothing is trained
                with held_signals():  # a suite that is stopped asks a second time
                    saver.save()
                    if stopped:  # all processes are here; torchrun kills the others when the first one ends
                        distributed.barrier()
                    say(f"{folder / STATE_NAME}: saved at step {state.step} of epoch {epoch + 1}")
                raise
            with held_signals():
                _note_epoch(state, trainee, state.loss / data.plan.steps, top, targets)
                saver.save()
                say(_epoch_line(title, state, epochs, seconds=state.seconds - before))
    finally:
        meter.close()
    return state


class _Saver:
    """Saves a state as it is, with the time that the training has taken so far."""

    def __init__(self, folder: Path, state: TrainingState, trainee: Trainee, epochs: int) -> None:
        self.folder, self.state, self.trainee, self.epochs = folder, state, trainee, epochs
        self.began = time.monotonic() - state.seconds

    def save(self) -> None:
        """Replace the file; when training is over, without what only going on would need."""
        state, trainee = self.state, self.trainee
        state.seconds = time.monotonic() - self.began
        if not is_main_process():
            return
        over = state.epoch == self.epochs
        names = trainee.kept if over else tuple(trainee.modules)
        state.modules = {name: trainee.modules[name].state_dict() for name in names}
        state.optimizer = None if over else trainee.optimizer.state_dict()
        save_state(self.folder, state)
        state.modules, state.optimizer = {}, None

    def save_if_due(self) -> None:
        """Save where the last state is that old."""
        if time.monotonic() - self.began - self.state.seconds >= SAVE_SECONDS:
            self.save()


def _train_epoch(
    trainee: Trainee,
    data: TrainingImages,
    state: TrainingState,
    title: str,
    meter: Meter,
    stop: StopRequest,
    saver: _Saver,
) -> int:
    """Train what is left of an epoch, and note in `state` how far it has come; return what stopped it, or 0."""
    trainee.train_mode()
    epoch = state.epoch
    for step, groups in enumerate(data.epoch(epoch, state.step), start=state.step):
        trainee.optimizer.zero_grad(set_to_none=True)
        share = torch.stack([trainee.backward(replica, parts) for replica, parts in groups]).sum()
        loss = float(trainee.reduce(share))
        rates = _rates(trainee)
        if not math.isfinite(loss):
            shown = ", ".join(f"{rate:.4g}" for rate in rates)
            raise RunError(
                f"{title}: the loss became {loss} in epoch {epoch + 1}, step {step + 1} (learning rate {shown}): "
                "training diverged; check the checkpoint with `mec-transfer inspect`, or lower the learning rate"
            )
        trainee.optimizer.step()
        state.step, state.loss = step + 1, state.loss + loss
        meter.advance(epoch=epoch + 1, loss=loss, lr=rates[-1])
        if number := stop.of_all():
            return number
        saver.save_if_due()
    return 0


def _note_epoch(state: TrainingState, trainee: Trainee, loss: float, top: np.ndarray, targets: np.ndarray) -> None:
    """Add an epoch to the state. Of equally good epochs the first is the best one, as published."""
    state.epoch, state.step, state.loss = state.epoch + 1, 0, 0.0
    state.last = top
    top1 = _top1(top, targets)
    if state.best is None or top1 > _top1(state.best, targets):
        state.best_epoch, state.best = state.epoch, top
    state.history.append({"epoch": state.epoch, "loss": loss, "top1": top1, "lr": _rates(trainee)})


def _restore(trainee: Trainee, state: TrainingState) -> None:
    """Load what the state has kept: all of an unfinished training, of a finished one what stays."""
    for name, weights in state.modules.items():
        trainee.modules[name].load_state_dict(weights)
    if state.optimizer is not None:
        trainee.optimizer.load_state_dict(state.optimizer)
    state.modules, state.optimizer = {}, None  # not held in memory twice


def _epoch_line(title: str, state: TrainingState, epochs: int, seconds: float) -> str:
    entry = state.history[-1]
    rates = "/".join(f"{rate:.3g}" for rate in entry["lr"])
    left = datetime.timedelta(seconds=round(seconds * (epochs - state.epoch)))
    figures = f"loss {entry['loss']:.4f}  top1 {entry['top1']:6.2f}  lr {rates}"
    return f"{title}  [{state.epoch:>{len(str(epochs))}}/{epochs} epochs]  {figures}  {seconds:.1f} s  eta {left}"


def _rates(trainee: Trainee) -> list[float]:
    return [float(group["lr"]) for group in trainee.optimizer.param_groups]


def _top1(top: np.ndarray, targets: np.ndarray) -> float:
    return 100.0 * int((top[:, 0] == targets).sum()) / len(targets)
