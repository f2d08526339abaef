"""Which training images come when, and how each is cut: the same for any number of processes and workers.

The published runs gave each of their 8 processes ("replicas") every eighth image of a shuffled list, padded to a
multiple of 8 with its own first images, and kept the last, incomplete batch. A batch here is therefore 8
interleaved shares, of one size each, whoever computes them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import torch

from mec_transfer.classification.transforms import ByteTransform
from mec_transfer.common import distributed
from mec_transfer.common.errors import UserError
from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.loading import Loader

Key = tuple[int, int, int]
Part = tuple[torch.Tensor, torch.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How the images of an epoch are cut into batches, groups and parts.

    A group is what one process normalises together: a replica's share of the batch, or, where `joint`, all
    that this process has of it. A part is what a loading process hands over at once.
    """

    images: int
    batch: int
    """Images a step, over all processes."""
    replicas: int
    """Shares of a batch; a multiple of the number of processes, and a divisor of `batch`."""
    joint: bool
    """Whether a process takes its shares of the batch together."""
    part: int | None = None
    """Most images that are loaded at once; None for whole groups."""
    rank: int = dataclasses.field(default_factory=distributed.rank)
    world: int = dataclasses.field(default_factory=distributed.world_size)

    def __post_init__(self) -> None:
        if self.replicas % self.world:
            raise UserError(
                f"{self.world} processes cannot share a recipe of {self.replicas} replicas evenly: "
                "start torchrun with a number of processes that divides it"
            )

    @property
    def padded(self) -> int:
        """Images of an epoch, those that stand in twice to fill the last shares included."""
        return -(-self.images // self.replicas) * self.replicas

    @property
    def steps(self) -> int:
        """Batches of an epoch, the last of which may be smaller."""
        return -(-self.padded // self.batch)

    @property
    def smallest_group(self) -> int:
        """Images in a group of the last batch."""
        return (self.padded - (self.steps - 1) * self.batch) // (self.world if self.joint else self.replicas)

    def groups(self, step: int) -> list[tuple[int, range]]:
        """Return this process's groups of a step: (first replica, positions in the epoch's order)."""
        start, stop = step * self.batch, min((step + 1) * self.batch, self.padded)
        if self.joint:
            return [(self.rank, range(start + self.rank, stop, self.world))]
        mine = range(self.rank, self.replicas, self.world)
        return [(replica, range(start + replica, stop, self.replicas)) for replica in mine]

    def parts(self, positions: range) -> list[range]:
        """Cut a group into what is loaded at once."""
        size = self.part or len(positions)
        return [positions[start : start + size] for start in range(0, len(positions), size)]


class TrainingImages:
    """The training images in the order and the cuts of each epoch.

    Order and cuts depend on (seed, epoch, position in the epoch) alone: neither an interruption, nor the number
    of loading processes, nor the number of processes that train, changes what the network sees.
    """

    def __init__(
        self, images: ImageList, transform: ByteTransform, plan: BatchPlan, seed: int, workers: int, pin: bool
    ) -> None:
        self.plan = plan
        self._order = _EpochOrder(len(images), plan, seed)
        self._loader: Loader[Part] = Loader(
            _CutImages(images, transform, seed), workers, persistent=True, pin_memory=pin, batch_sampler=self._order
        )

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[tuple[int, Iterator[Part]]]]:
        """Yield the steps of `epoch` (from 0), from step `first` (from 0) on.

        A step is this process's groups, as (first replica, parts), to be read in turn. A part is
        (images (n, 3, H, W) uint8, labels (n,) int64).
        """
        self._order.epoch, self._order.first = epoch, first
        loaded = iter(self._loader)
        for step in range(first, self.plan.steps):
            groups = self.plan.groups(step)
            yield [
                (replica, itertools.islice(loaded, len(self.plan.parts(positions)))) for replica, positions in groups
            ]
        next(loaded, None)  # nothing is left, but the loader is to know that this is the end


class _EpochOrder(torch.utils.data.Sampler[list[Key]]):
    """Yields the keys (epoch, position, image) of one part after the other."""

    def __init__(self, images: int, plan: BatchPlan, seed: int) -> None:
        self.images, self.plan, self.seed = images, plan, seed
        self.epoch = self.first = 0

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        order = torch.randperm(self.images, generator=generator).tolist()
        for step in range(self.first, self.plan.steps):
            for _, positions in self.plan.groups(step):
                for part in self.plan.parts(positions):
                    yield [(self.epoch, position, order[position % self.images]) for position in part]


class _CutImages(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Decodes and cuts an image with draws that are the key's own."""

    def __init__(self, images: ImageList, transform: ByteTransform, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int]:
        epoch, position, index = key
        image = self.images.load(index)
        state = torch.get_rng_state()
        # The generator itself and not torch.manual_seed, which would seed the GPUs as well, image by image.
        torch.default_generator.manual_seed(derive_seed(self.seed, "cut", epoch, position))
        try:
            return self.transform(image), int(self.images.labels[index])
        finally:
            torch.set_rng_state(state)
