"""Training images in the order and the cuts of each iteration, and test images at their size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from mec_transfer.common import distributed
from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.loading import Loader
from mec_transfer.datasets.segments.split import SegmentSplit
from mec_transfer.segmentation.augment import augment, fitted_size, resize_image
from mec_transfer.segmentation.config import SegmentationRecipe

Key = tuple[int, int, int]
"""Epoch, position in the epoch's order, image."""
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Pixels (N, 3, crop, crop) uint8, labels (N, crop, crop) uint8, and what of each is no padding, (N, 2) int64."""


@dataclasses.dataclass(kw_only=True)
class BatchPlan(Sampler[list[Key]]):
    """Which images make which iteration: each epoch is shuffled anew, and its last, incomplete batch is left out.

    A process takes every W-th image of a batch from its rank on: whatever the number of processes, the batches are the
    same.
    """

    images: int
    batch: int
    """Images an iteration, over all processes."""
    iterations: int
    seed: int
    first: int = 0
    """Iterations that are done already."""
    rank: int = dataclasses.field(default_factory=distributed.rank)
    world: int = dataclasses.field(default_factory=distributed.world_size)

    @property
    def an_epoch(self) -> int:
        """Iterations of an epoch."""
        return self.images // self.batch

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield this process's keys of each iteration that is left."""
        known, order = -1, torch.empty(0)
        for iteration in range(self.first, self.iterations):
            epoch, step = divmod(iteration, self.an_epoch)
            if epoch != known:
                generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
                known, order = epoch, torch.randperm(self.images, generator=generator)
            positions = range(step * self.batch + self.rank, (step + 1) * self.batch, self.world)
            yield [(epoch, position, int(order[position])) for position in positions]


def load_batches(
    split: SegmentSplit, recipe: SegmentationRecipe, plan: BatchPlan, workers: int, pin: bool
) -> Iterator[Batch]:
    """Yield this process's part of each iteration of `plan`. Raises DataError where an image cannot be read."""
    cut = _CutImages(split, recipe, plan.seed)
    loader: Loader[Batch] = Loader(cut, workers, pin_memory=pin, batch_sampler=plan)
    return iter(loader)


class _CutImages(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Decodes and cuts an image with draws that are the key's own."""

    def __init__(self, split: SegmentSplit, recipe: SegmentationRecipe, seed: int) -> None:
        self.split, self.recipe, self.seed = split, recipe, seed

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        epoch, position, index = key
        chance = np.random.default_rng(derive_seed(self.seed, "cut", epoch, position))
        pixels, labels, size = augment(*self.split.load(index), self.recipe.scale, self.recipe.augmentation, chance)
        return _to_tensor(pixels), torch.from_numpy(np.ascontiguousarray(labels)), torch.tensor(size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TestImage:
    """A test image as the network sees it, and its truth."""

    pixels: torch.Tensor
    """(3, h, w) uint8, resized."""
    labels: np.ndarray
    """(H, W) uint8, at the image's own size."""


def load_tests(
    split: SegmentSplit, scale: tuple[int, int], indices: Sequence[int], workers: int
) -> Iterator[TestImage]:
    """Yield test images in the order of `indices`. Raises DataError where one cannot be read."""
    loader: Loader[TestImage] = Loader(_WholeImages(split, scale, indices), min(workers, len(indices)), batch_size=None)
    return iter(loader)


class _WholeImages(Dataset[TestImage]):
    def __init__(self, split: SegmentSplit, scale: tuple[int, int], indices: Sequence[int]) -> None:
        self.split, self.scale, self.indices = split, scale, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> TestImage:
        pixels, labels = self.split.load(self.indices[number])
        return TestImage(pixels=to_scale(pixels, self.scale), labels=labels)


def to_scale(pixels: np.ndarray, scale: tuple[int, int]) -> torch.Tensor:
    """Resize an image, (H, W, 3) uint8, to a frame of long and short side; return what the network sees, (3, h, w)."""
    return _to_tensor(resize_image(pixels, *fitted_size(pixels.shape[1], pixels.shape[0], scale)))


def _to_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
