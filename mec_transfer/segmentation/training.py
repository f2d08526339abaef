"""Finetuning a segmentation network to the end of its schedule: from iteration 0 or from wherever it was stopped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from mec_transfer.backbone import syncbn
from mec_transfer.backbone.backbone import Preprocessing
from mec_transfer.benchmark import TRAINING_NAME
from mec_transfer.common import device as devices
from mec_transfer.common import distributed
from mec_transfer.common.errors import RunError
from mec_transfer.common.exhaustion import what_ran_out
from mec_transfer.common.files import write_json
from mec_transfer.common.interrupt import held_signals
from mec_transfer.common.progress import is_main_process, say
from mec_transfer.common.resumable import ResumableState
from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.segments.split import SegmentSplit
from mec_transfer.segmentation.config import SegmentationRecipe
from mec_transfer.segmentation.loading import Batch, BatchPlan, load_batches
from mec_transfer.segmentation.network import Segmenter, to_input

_LOWER = "Training diverged: check the checkpoint with `mec-transfer inspect`, or lower recipe.lr"
_SMALLER = "take more GPUs, or --set recipe.batch=N or recipe.augmentation.crop=N for less at once"


class SegmenterState(ResumableState):
    """The state of a segmentation network's training, of the identity that `Benchmark.training_identity` gives."""

    NAME = "training_state.pt"
    PREVIOUS = "training_state_previous.pt"
    FORMAT = "mec-transfer/segmenter-training/1"
    TITLE = "training state of a segmentation network"
    KEYS = frozenset({"iteration", "network", "optimizer"})
    PROGRESS = ("iteration",)
    CURE = _LOWER

    def difference(self, there: Any) -> str:
        """An identity stands for all that the training depends on."""
        same = there == self.run
        return "" if same else "the network in this folder is of another training; choose another --out"


class Stepper:
    """Network and optimizer: one iteration at a time."""

    def __init__(self, network: Segmenter, recipe: SegmentationRecipe, preprocessing: Preprocessing, seed: int) -> None:
        """Take a network that lies on its device; with several processes its batch norm becomes that of all of them."""
        self.network, self.recipe, self.preprocessing, self.seed = network, recipe, preprocessing, seed
        self.device = next(network.parameters()).device
        syncbn.convert(network, self.device)
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.iteration = 0
        """Iterations done."""

    def step(self, batch: Batch) -> float:
        """Train on this process's part of a batch; return the mean loss of all processes.

        Raises:
            RunError: the loss is not finite, or memory is short; the weights are those before the step.
        """
        rate = self.recipe.schedule.rate(self.recipe.lr, self.iteration, self.recipe.iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(derive_seed(self.seed, "dropout", self.iteration, distributed.rank()))
        self.optimizer.zero_grad(set_to_none=True)
        try:
            loss = self._backward(batch)
        except torch.OutOfMemoryError as error:
            what = f"iteration {self.iteration + 1}, {len(batch[0])} images"
            raise RunError(f"{what}: {what_ran_out(error, _SMALLER)}") from None
        if not math.isfinite(loss):
            raise RunError(
                f"the loss became {loss} at iteration {self.iteration + 1} (learning rate {rate:.4g}). {_LOWER}"
            )
        self.optimizer.step()
        self.iteration += 1
        return loss

    def _backward(self, batch: Batch) -> float:
        """Compute the gradients of the mean loss of all processes, on each of them; return that loss."""
        pixels, labels, sizes = (part.to(self.device, non_blocking=True) for part in batch)
        x = to_input(pixels, self.preprocessing, self.recipe.unscaled_pixels, sizes)
        x = x.contiguous(memory_format=torch.channels_last)
        loss = self.network.loss(x, labels.long()) / distributed.world_size()
        loss.backward()
        return float(distributed.sum_gradients(loss.detach(), self.network.parameters()))

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        network, optimizer = self.network.state_dict(), self.optimizer.state_dict()
        return {"iteration": self.iteration, "network": network, "optimizer": optimizer}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.iteration = int(state["iteration"])


def train(
    network: Segmenter,
    split: SegmentSplit,
    recipe: SegmentationRecipe,
    preprocessing: Preprocessing,
    *,
    folder: Path,
    identity: dict[str, Any],
    seed: int,
    workers: int,
) -> None:
    """Train `network`, which lies on its device, to the schedule's end.

    Args:
        network: as its training begins.
        split: the training images.
        recipe: of the benchmark.
        preprocessing: of the checkpoint.
        folder: the job's; what a training of the same identity left there is continued.
        identity: what the training depends on.
        seed: of order, cuts and dropout.
        workers: processes that load images.

    Raises:
        DataError: an image cannot be read.
        UserError: the state in `folder` is of another training, or damaged.
        RunError: the loss or a weight is no longer finite, or the disk is full.
        Interrupted: a signal came, and the state is saved.
    """
    stepper, state = Stepper(network, recipe, preprocessing, seed), SegmenterState(folder, identity)
    if state.restore(stepper.restore):
        say(f"{state.path}: going on from iteration {stepper.iteration} of {recipe.iterations}")
    elif is_main_process():
        write_json(folder / TRAINING_NAME, identity)
    if stepper.iteration < recipe.iterations:
        plan = BatchPlan(
            images=len(split), batch=recipe.batch, iterations=recipe.iterations, seed=seed, first=stepper.iteration
        )
        network.train()
        with held_signals() as stop:
            batches = load_batches(split, recipe, plan, workers, devices.copies_pinned_memory(stepper.device))
            state.train_to(recipe.iterations, stepper, stepper.step, batches, stop)


def discard_training(folder: Path) -> None:
    """Remove the training states: the run's number is in."""
    SegmenterState(folder, None).discard()
    (folder / TRAINING_NAME).unlink(missing_ok=True)
