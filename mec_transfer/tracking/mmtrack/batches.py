"""Batches for MMTracking's networks, decided by (seed, iteration, slot) alone.

Nothing that has been drawn needs saving: a training that goes on at iteration i draws what it would have drawn there,
whatever the number of loading processes, and of GPUs where that divides the published one.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from mmcv.parallel import DataContainer, collate
from torch.utils.data import Dataset, Sampler

from mec_transfer.common import distributed
from mec_transfer.common.errors import ConfigError, DataError, UserError, disk_failed, one_line
from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.loading import Loader

Key = tuple[int, int, int]
"""Iteration, slot in the batch of all processes, and which item of the data set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a published run with several processes goes through its data."""

    samples: int
    """How many an epoch has, of all processes together."""
    batch: int
    """Samples of a batch on each published process."""
    processes: int
    """How many the published run had."""
    epochs: int

    @property
    def share(self) -> int:
        """Samples of an epoch on each published process: the last ones fill up, as DistributedSampler's do."""
        return math.ceil(self.samples / self.processes)

    @property
    def iterations(self) -> int:
        """Return how many an epoch has; the last batch may be smaller, since MMTracking's loader drops none."""
        return math.ceil(self.share / self.batch)

    def here(self) -> range:
        """Return which of the published processes this one stands for. Raises ConfigError where they do not divide."""
        processes = distributed.world_size()
        if self.processes % processes:
            raise ConfigError(
                f"the published run had {self.processes} processes, which {processes} cannot share evenly; take a "
                "divisor, or set recipe.processes"
            )
        each = self.processes // processes
        return range(distributed.rank() * each, (distributed.rank() + 1) * each)


class BatchPlan(Sampler[list[Key]]):
    """Which items make up each iteration, on this process. Set `first` to begin at a later iteration."""

    def __init__(self, schedule: Schedule, seed: int, items: int = 0) -> None:
        """`items` of the data set are shuffled anew for each epoch; 0: the data set draws by itself."""
        self.schedule, self.seed, self.items = schedule, seed, items
        self.first = 0

    def __iter__(self) -> Iterator[list[Key]]:
        schedule = self.schedule
        processes = schedule.here()
        for epoch in range(self.first // schedule.iterations, schedule.epochs):
            order = self._order(epoch)
            for inner in range(schedule.iterations):
                iteration = epoch * schedule.iterations + inner
                if iteration < self.first:
                    continue
                begin = inner * schedule.batch
                count = min(schedule.batch, schedule.share - begin)
                yield [
                    (iteration, process * schedule.batch + slot, order[(begin + slot) * schedule.processes + process])
                    for process in processes
                    for slot in range(count)
                ]

    def _order(self, epoch: int) -> Any:
        """Return which item each sample of an epoch is; dealt out to the processes in turn."""
        total = self.schedule.share * self.schedule.processes
        if not self.items:
            return np.zeros(total, dtype=int).tolist()
        shuffled = np.random.default_rng(derive_seed(self.seed, "order", epoch)).permutation(self.items)
        return np.resize(shuffled, total).tolist()


class SeededItems(Dataset[Any]):
    """Item (iteration, slot, index) of one of MMTracking's data sets, whose pipelines draw from the global streams."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, derive_seed(seed, "augmentation")

    def __getitem__(self, key: Key) -> Any:
        iteration, slot, index = key
        seed_streams(self.seed, iteration, slot)
        try:
            return self.dataset[index]
        except UserError:
            raise
        except Exception as error:  # whatever OpenCV and the pipeline raise on a broken file
            advice = "" if disk_failed(error) else "; mec-transfer data check names the broken files"
            raise DataError(f"a training image cannot be read ({one_line(error)}){advice}") from None


def load_batches(dataset: SeededItems, plan: BatchPlan, workers: int) -> Iterator[dict[str, Any]]:
    """Yield the batches of `plan`. Raises DataError where an image cannot be read, RunError where a process dies."""
    loader: Loader[dict[str, Any]] = Loader(dataset, workers, batch_sampler=plan, collate_fn=_collate)
    yield from loader


def _collate(items: list[Any]) -> Any:
    return collate(items, samples_per_gpu=len(items))


def seed_streams(*parts: object) -> None:
    """Seed the three streams that MMTracking draws from."""
    seed = derive_seed(*parts) % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def unpack(value: Any, device: torch.device) -> Any:
    """Take a batch out of mmcv's containers, its tensors to `device`: what its own scatter gives a single GPU."""
    if isinstance(value, DataContainer):
        return value.data[0] if value.cpu_only else unpack(value.data[0], device)
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: unpack(inner, device) for key, inner in value.items()}
    return [unpack(inner, device) for inner in value] if isinstance(value, list | tuple) else value
