"""One training step of MEC, and the state it changes."""

from __future__ import annotations

import math
from typing import Any

import torch

from mec_transfer.common import distributed
from mec_transfer.common.errors import RunError
from mec_transfer.common.runtime import derive_seed, seed_everything
from mec_transfer.datasets.pixels import normalise
from pretrain.config import PretrainConfig
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
        self.config, self.device = config, device
        self.schedules = Schedules.of(config, steps_per_epoch)
        self.done = 0
        """Steps done."""
        seed_everything(derive_seed(seed, "init"))
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model = MecModel(config.arch, config.stem, config.dim, config.pred_dim)
        self.network: torch.nn.Module = self._place()
        self.model.train()
        self.optimizer = torch.optim.SGD(
            self.model.trained_parameters(), lr=0.0, momentum=config.momentum, weight_decay=config.weight_decay
        )

    def _place(self) -> torch.nn.Module:
        """Bring the model to its device; return what to call: itself, or it wrapped for several GPUs."""
        self.model.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        if distributed.world_size() == 1:
            return self.model
        self.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        return torch.nn.parallel.DistributedDataParallel(self.model, device_ids=[self.device.index])

    def step(self, view1: torch.Tensor, view2: torch.Tensor) -> MecLoss:
        """Train on two views of the same images, (n, 3, H, W) uint8 each: loss, SGD step, then the teacher's.

        The report's loss and coding length are on the CPU: to look at them later waits for nothing.

        Raises:
            NonFiniteLossError: before the backward pass. To look at the loss there costs a GPU next to nothing: its
                queue runs empty for as long as one kernel takes to start.
        """
        lr, lamda_inv = self.schedules.lr(self.done), self.schedules.lamda_inv(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            z1, z2, p1, p2 = self.network(self._input(view1), self._input(view2))
        report = mec_loss(p1, z1, p2, z2, lamda_inv, self.config.order)
        loss, coding_length = torch.stack([report.loss.detach(), report.coding_length]).cpu()
        if not math.isfinite(loss):
            raise NonFiniteLossError(loss.item())
        self.optimizer.zero_grad()
        report.loss.backward()
        self.optimizer.step()
        self.model.update_teacher(self.schedules.teacher_momentum(self.done))
        self.done += 1
        return report._replace(loss=loss, coding_length=coding_length)

    def _input(self, view: torch.Tensor) -> torch.Tensor:
        pixels = normalise(view.to(self.device, non_blocking=True), self.config.preprocessing)
        return pixels.contiguous(memory_format=self.layout)

    def states(self) -> dict[str, Any]:
        """What `restore` takes, as it goes into a checkpoint."""
        return {"state_dict": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go back to where a checkpoint was written."""
        self.model.load_state_dict(checkpoint["state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.done = int(checkpoint["step"])
