"""Images in, batches of two views out.

What is drawn for an image depends on (seed, epoch, image number) alone: neither the number of loading processes, nor
the number of GPUs, nor an interruption changes a view or the order of the images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset, Sampler

from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.decode import decode_rgb
from mec_transfer.datasets.images.image_list import Images
from mec_transfer.datasets.loading import Loader
from pretrain.config import ViewsConfig
from pretrain.fast_views import Pixels, cut_view
from pretrain.views import apply_view, draw_view

Batch = tuple[Pixels, Pixels]
"""View 1 and view 2 of the same images."""


class TwoViews(Dataset[Batch]):
    """Item (epoch, i) is the two views of image i in that epoch: (3, size, size) uint8 each, or `Uncoloured` ones."""

    def __init__(self, images: Images, config: ViewsConfig, seed: int) -> None:
        self.images, self.config = images, config
        self.seed = derive_seed(seed, "views")

    def __getitem__(self, item: tuple[int, int]) -> Batch:
        epoch, index = item
        image = decode_rgb(self.images.read(index), self.images.name(index))
        random = np.random.default_rng((self.seed, epoch, index))
        first, second = (draw_view(random, self.config, number, image.size) for number in (0, 1))
        make = cut_view if self.config.pipeline == "fast" else apply_view
        return make(image, first, self.config.size), make(image, second, self.config.size)


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The batches of one epoch after the other: lists of (epoch, i), whole batches only.

    Under several processes each gets its own slice of every batch, so that their union is the batch that one process
    would have had. Set `epoch`, and `first_batch` of an epoch that was interrupted, before iterating.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        share = batch_size // world_size
        self._mine = slice(rank * share, (rank + 1) * share)
        self.epoch = self.first_batch = 0

    def __len__(self) -> int:
        return self.num_images // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self._order(self.epoch)
        for number in range(self.first_batch, len(self)):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size][self._mine]
            yield [(self.epoch, int(index)) for index in batch]

    def whole_batch(self, epoch: int, number: int) -> list[int]:
        """Return the images of a batch, of all processes together."""
        return [int(index) for index in self._order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(derive_seed(self.seed, "order", epoch)).permutation(self.num_images)


def make_loader(dataset: TwoViews, batches: EpochBatches, workers: int, pin_memory: bool) -> Loader[Batch]:
    """Return the loader of an epoch after the other; its processes live on between epochs."""
    return Loader(dataset, workers, persistent=True, pin_memory=pin_memory, batch_sampler=batches)


def load_epoch(loader: Loader[Batch], batches: EpochBatches, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
    """Yield the batches of `epoch` from its `first_batch` on.

    Raises:
        DataError: an image cannot be read.
        RunError: loading failed, or a loading process died.
    """
    batches.epoch, batches.first_batch = epoch, first_batch
    yield from loader
