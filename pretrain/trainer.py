"""One training step of MEC, and the state it changes."""

from __future__ import annotations

import functools
import math
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch

from mec_transfer.backbone import syncbn
from mec_transfer.common import device as devices
from mec_transfer.common import distributed
from mec_transfer.common.errors import ConfigError, RunError
from mec_transfer.common.runtime import derive_seed, seed_everything
from pretrain.chunks import Views, backward_chunks, embed_chunks
from pretrain.config import PretrainConfig
from pretrain.fast_views import Pixels, to_input
from pretrain.model import MecModel
from pretrain.objective import MecLoss, mec_loss
from pretrain.schedules import Schedules


class NonFiniteLossError(RunError):
    """The loss is not a number or infinite; no weight has been touched by it."""

    def __init__(self, loss: float) -> None:
        super().__init__(f"the loss is {loss}")
        self.loss = loss


class Trainer:
    """Networks, optimiser and schedules; `step` trains on one batch, whose number is `self.done`."""

    def __init__(self, config: PretrainConfig, steps_per_epoch: int, device: torch.device, seed: int) -> None:
        """Raises ConfigError where `compile` is asked for and there is no compiler."""
        self.config, self.device = config, device
        self.schedules = Schedules.of(config, steps_per_epoch)
        self.done = 0
        """Steps done."""
        seed_everything(derive_seed(seed, "init"))
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model = MecModel(config.arch, config.stem, config.dim, config.pred_dim)
        self.network: torch.nn.Module = self._place()
        self.model.train()
        if config.compile:
            _compile(self.model)
        self.optimizer = torch.optim.SGD(
            self.model.trained_parameters(),
            lr=0.0,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=config.fused or None,  # None, not False, lets torch take its loop over all parameters at once
        )

    def _place(self) -> torch.nn.Module:
        """Bring the model to its device; return what to call: itself, or it wrapped for several processes."""
        self.model.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        if distributed.world_size() == 1:
            return self.model
        syncbn.convert(self.model, self.device)
        # The running statistics need no exchange: they come from sums over all processes.
        return torch.nn.parallel.DistributedDataParallel(
            self.model,
            device_ids=devices.ddp_devices(self.device),
            broadcast_buffers=False,
        )

    def step(self, view1: Pixels, view2: Pixels) -> MecLoss:
        """Train on two views of the same images: loss, SGD step, then the teacher's.

        The report's loss and coding length are on the CPU: to look at them later waits for nothing.

        Raises:
            NonFiniteLossError: before the backward pass. To look at the loss there costs a GPU next to nothing: its
                queue runs empty for as long as one kernel takes to start.
        """
        lr, lamda_inv = self.schedules.lr(self.done), self.schedules.lamda_inv(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        report, backward = self._forward(view1, view2, lamda_inv)
        loss, coding_length = torch.stack([report.loss.detach(), report.coding_length]).cpu()
        if not math.isfinite(loss):
            raise NonFiniteLossError(loss.item())
        backward()
        self.optimizer.step()
        self.model.update_teacher(self.schedules.teacher_momentum(self.done), self.config.fused)
        self.done += 1
        return report._replace(loss=loss, coding_length=coding_length)

    def _forward(self, view1: Pixels, view2: Pixels, lamda_inv: float) -> tuple[MecLoss, Callable[[], None]]:
        """Return the loss, and what computes its gradients."""
        size = self.config.chunk_size
        if size is None:
            x1, x2 = self._input(view1, view2)
            with self._autocast():
                (z1, z2), (p1, p2) = self.network(x1, x2), self.model.targets(x1, x2)
            whole = mec_loss(p1, z1, p2, z2, lamda_inv, self.config.order)
            return whole, whole.loss.backward
        pairs = zip(view1.split(size), view2.split(size), strict=True)
        chunks = [functools.partial(self._input, *pair) for pair in pairs]
        with self._autocast():
            z1, z2, p1, p2 = embed_chunks(self.model, chunks)
        report = mec_loss(p1, z1, p2, z2, lamda_inv, self.config.order)

        def backward() -> None:
            report.loss.backward()
            with self._autocast():
                backward_chunks(self.network, self.model, chunks, z1, z2)

        return report, backward

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _input(self, view1: Pixels, view2: Pixels) -> Views:
        with torch.autocast(self.device.type, enabled=False):  # chunks are made within it; a blur is a convolution
            pixels = [to_input(view, self.config.preprocessing, self.device) for view in (view1, view2)]
        x1, x2 = (x.contiguous(memory_format=self.layout) for x in pixels)
        return x1, x2

    def states(self) -> dict[str, Any]:
        """What `restore` takes, as it goes into a checkpoint."""
        return {"state_dict": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go back to where a checkpoint was written."""
        self.model.load_state_dict(checkpoint["state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.done = int(checkpoint["step"])


def _compile(model: MecModel) -> None:
    """Compile the three networks in place, which changes no name in their state."""
    compiler = os.environ.get("CXX") or os.environ.get("CC")
    if not any(shutil.which(name) for name in (compiler, "g++", "gcc", "clang++", "clang", "cc") if name):
        raise ConfigError("compile: torch.compile needs a C compiler, and none was found; install one or set it false")
    for network in (model.encoder, model.teacher, model.predictor):
        network.compile()
