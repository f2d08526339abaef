"""Training by a stock MMTracking config: its optimizer, its hooks, and our batches, states and signals.

The order of things in an iteration is mmcv's EpochBasedRunner's, whose hooks set the rate, unfreeze the backbone, clip
and step. What differs is that a training may stop after any iteration and go on from there, bit for bit on a CPU.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv import Config
from mmcv.runner import EpochBasedRunner, build_optimizer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mec_transfer.common import device as devices
from mec_transfer.common import distributed
from mec_transfer.common.errors import RunError, UserError, one_line
from mec_transfer.common.exhaustion import what_ran_out
from mec_transfer.common.files import save_torch
from mec_transfer.common.interrupt import StopRequest, held_signals
from mec_transfer.common.progress import Meter, is_main_process, say
from mec_transfer.common.resumable import ResumableState
from mec_transfer.tracking.mmtrack.batches import BatchPlan, Schedule, SeededItems, load_batches, seed_streams, unpack

_LOWER = "Lower the stock config's optimizer.lr"


class EngineState(ResumableState):
    """The state of a training through MMTracking."""

    NAME = "training_last.pth"
    PREVIOUS = "training_previous.pth"
    FORMAT = "mec-transfer/mmtrack-training/1"
    TITLE = "training state of a tracker"
    KEYS = frozenset({"iteration", "network", "optimizer"})
    PROGRESS = ("iteration",)
    CURE = _LOWER

    def difference(self, there: Any) -> str:
        """A training's folder is its own, so this is a mistake of somebody who moved files."""
        return "" if there == self.run else "the tracker in this folder is of another training; choose another --out"


class Shares(nn.Module):
    """A network that stands for several published processes: each has its own part of a batch, and its own statistics.

    The losses are those of the processes, averaged, as DistributedDataParallel averages their gradients. The running
    statistics of batch norm are the first one's: it wrote the published weights.
    """

    def __init__(self, network: nn.Module, processes: range, seed: int) -> None:
        """`processes` are the numbers of those that it stands for; each draws from a stream of its own."""
        super().__init__()
        self.network, self.processes, self.seed = network, processes, seed
        self.iteration = 0

    def forward(self, **data: Any) -> dict[str, Any]:
        """Return the losses of a batch whose first dimension, or list, holds the parts one after another."""
        parts = []
        for number, process in enumerate(self.processes):
            part = {key: _part(value, number, len(self.processes)) for key, value in data.items()}
            seed_streams(self.seed, "step", self.iteration, process)
            with _own_statistics(self.network, keep=number == 0):
                parts.append(self.network(**part))
        return _mean(parts)


def _part(value: Any, number: int, of: int) -> Any:
    size = len(value) // of
    return value[number * size : (number + 1) * size]


@contextlib.contextmanager
def _own_statistics(network: nn.Module, keep: bool) -> Iterator[None]:
    """Have batch norm in training use the batch's statistics, and leave the running ones alone unless `keep`."""
    norms = [] if keep else [module for module in network.modules() if isinstance(module, _BatchNorm)]
    try:
        for module in norms:
            module.track_running_stats = False
        yield
    finally:
        for module in norms:
            module.track_running_stats = True


def _mean(parts: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(values: list[Any]) -> Any:
        return _mean(values) if isinstance(values[0], Mapping) else sum(values) / len(values)

    return {key: mean([part[key] for part in parts]) for key in parts[0]} if len(parts) > 1 else parts[0]


class _Trainee:
    """The network as mmcv's runner and hooks call it: wrapped, with `module` inside."""

    def __init__(self, module: nn.Module, shares: Shares, device: torch.device, find_unused: bool) -> None:
        self.module, self.device = module, device
        self.called: nn.Module = shares
        if distributed.world_size() > 1:
            self.called = nn.parallel.DistributedDataParallel(
                self.called,
                device_ids=devices.ddp_devices(device),
                broadcast_buffers=False,
                find_unused_parameters=find_unused,
            )

    def train(self) -> None:
        self.called.train()

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.module.parameters()

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self.module.named_parameters()

    def train_step(self, batch: dict[str, Any], optimizer: Any) -> dict[str, Any]:
        data = unpack(batch, self.device)
        loss, values = self.module._parse_losses(self.called(**data))  # type: ignore[operator]
        return {"loss": loss, "log_vars": values, "num_samples": len(data["img"])}


class Runner(EpochBasedRunner):
    """mmcv's runner, an iteration at a time."""

    _epoch: int
    _iter: int
    _inner_iter: int
    _in_epoch = False

    def __init__(self, network: nn.Module, config: Config, schedule: Schedule, seed: int, device: torch.device) -> None:
        config = copy.deepcopy(config)  # hooks take keys out of their settings
        quiet = logging.Logger("mmtrack-training", logging.CRITICAL)
        self.shares = Shares(network, schedule.here(), seed)
        trainee = _Trainee(network, self.shares, device, bool(config.get("find_unused_parameters", False)))
        optimizer = build_optimizer(trainee, config.optimizer)
        super().__init__(trainee, optimizer=optimizer, logger=quiet, max_epochs=schedule.epochs)
        self.register_training_hooks(config.lr_config, config.optimizer_config)
        self.schedule = schedule
        self.mode, self.data_loader = "train", range(schedule.iterations)
        self._max_iters = schedule.epochs * schedule.iterations
        self._begun = False

    def step(self, batch: dict[str, Any]) -> dict[str, float]:
        """Train on a batch; return the losses by name. Raises RunError where the loss is not finite."""
        if not self._begun:
            self.call_hook("before_run")
            self._begun = True
        if self._inner_iter == 0 or not self._in_epoch:
            self.model.train()
            self.call_hook("before_train_epoch")
            self._in_epoch = True
        self.call_hook("before_train_iter")
        self.shares.iteration = self._iter
        try:
            self.run_iter(batch, train_mode=True)
            values: dict[str, float] = self.outputs["log_vars"]
            if not math.isfinite(values["loss"]):
                named = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
                raise RunError(f"the loss is not finite at iteration {self._iter + 1} ({named}). {_LOWER}")
            self.call_hook("after_train_iter")
        except torch.OutOfMemoryError as error:
            raise RunError(f"iteration {self._iter + 1}: {what_ran_out(error, 'take more GPUs')}") from None
        self._iter += 1
        self._inner_iter += 1
        if self._inner_iter == self.schedule.iterations:
            self.call_hook("after_train_epoch")
            self._epoch, self._inner_iter, self._in_epoch = self._epoch + 1, 0, False
        return values

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {
            "iteration": self._iter,
            "network": self.model.module.state_dict(),
            "optimizer": _plain(self.optimizer.state_dict()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.model.module.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._iter = int(state["iteration"])
        self._epoch, self._inner_iter = divmod(self._iter, self.schedule.iterations)


def _plain(value: Any) -> Any:
    """Return `value` with Python's numbers in place of NumPy's, which the hooks set rates of and no state may hold."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def weights_path(folder: Path, epoch: int) -> Path:
    """Return where the weights after an epoch, counted from 1, lie."""
    return folder / f"epoch_{epoch}.pth"


def train(
    network: nn.Module,
    config: Config,
    dataset: Any,
    schedule: Schedule,
    folder: Path,
    *,
    identity: Any,
    keep: Sequence[int],
    seed: int,
    workers: int,
    device: torch.device,
    items: int = 0,
) -> None:
    """Train to the schedule's end, from wherever an earlier attempt in `folder` stopped.

    Args:
        network: the tracker, on `device`.
        config: the stock config, whose optimizer and hooks are used.
        dataset: one of MMTracking's data sets.
        schedule: how the data is gone through.
        folder: of this training alone; gets `epoch_N.pth` for each epoch of `keep`, as MMTracking loads them.
        identity: what the training depends on, in plain values.
        keep: epochs, counted from 1, after which the weights are kept.
        seed: of everything random.
        workers: processes that load data.
        device: where the network is.
        items: how many items of `dataset` are shuffled in each epoch; 0 where it draws by itself.

    Raises:
        DataError: an image cannot be read.
        UserError: the state in `folder` is of another training, or damaged.
        RunError: the loss or a weight is no longer finite, or the disk is full.
        Interrupted: a signal came, and the state is saved.
    """
    runner, state = Runner(network, config, schedule, seed, device), EngineState(folder, identity)
    if state.restore(runner.restore):
        say(f"{state.path}: going on from iteration {runner.iter} of {runner.max_iters}")
    plan = BatchPlan(schedule, seed, items)
    plan.first = runner.iter
    with held_signals() as stop:
        batches = load_batches(SeededItems(dataset, seed), plan, workers)
        _run(runner, batches, state, set(keep), stop)


def _run(
    runner: Runner, batches: Iterator[dict[str, Any]], state: EngineState, keep: set[int], stop: StopRequest
) -> None:
    last = runner.max_iters
    meter = Meter("training", last, "iterations", start=runner.iter)
    try:
        for batch in batches:
            losses = runner.step(batch)
            meter.advance(loss=losses["loss"], lr=runner.optimizer.param_groups[0]["lr"])
            ended = runner.inner_iter == 0
            if ended and runner.epoch in keep:
                _save_weights(runner, state.folder)
            if (number := stop.of_all()) and runner.iter < last:
                state.save_and_stop(runner.state(), number)
            if ended or state.is_due:
                state.save(runner.state())
    finally:
        meter.close()


def _save_weights(runner: Runner, folder: Path) -> None:
    if is_main_process():
        meta = {"epoch": runner.epoch, "iter": runner.iter}
        save_torch(weights_path(folder, runner.epoch), {"meta": meta, "state_dict": runner.model.module.state_dict()})


def load_weights(network: nn.Module, folder: Path, epoch: int) -> None:
    """Put the weights of an epoch, counted from 1, into the network.

    Raises:
        UserError: they are not there, or damaged.
    """
    path = weights_path(folder, epoch)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f"{path}: cannot be read ({one_line(error)}); delete {folder} to train again") from None
