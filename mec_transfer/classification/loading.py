"""Images in order, decoded and cut once each, as batches of bytes: the input of a frozen network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch

from mec_transfer.classification.transforms import ByteTransform
from mec_transfer.common import device as devices
from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.loading import Loader

_READ_AHEAD_BYTES = 64 << 20


def load_batches(
    images: ImageList, transform: ByteTransform, batches: Sequence[range], workers: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Yield the images of each range of `batches`, in that order, as uint8 (n, 3, H, W).

    On a CPU the loading processes and the network take turns: many batches are decoded on all cores, then put
    through the network, while the loaders rest. At the same time they would fight for the cores, and a network's
    threads that wait for one another lose far more than the loaders take. On a GPU both go on side by side.

    Raises:
        DataError: an image cannot be decoded, or is smaller than the crop.
        RunError: a loading process died.
    """
    beside = devices.leaves_cores_free(device)
    workers = min(workers, len(batches))
    loader: Loader[torch.Tensor] = Loader(
        _Batches(images, transform, batches),
        workers,
        pin_memory=devices.copies_pinned_memory(device),
        batch_size=None,
        prefetch_factor=(4 if beside else 1) if workers else None,
    )
    loaded = iter(loader)
    yield from loaded if beside or not workers else _by_turns(loaded)


class _Batches(torch.utils.data.Dataset[torch.Tensor]):
    """Item i is the i-th batch."""

    def __init__(self, images: ImageList, transform: ByteTransform, batches: Sequence[range]) -> None:
        self.images, self.transform, self.batches = images, transform, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.stack([self._load(index) for index in self.batches[number]])

    def _load(self, index: int) -> torch.Tensor:
        image = self.images.load(index)
        try:
            return self.transform(image)
        except DataError as error:
            raise DataError(f"{self.images.name(index)}: {error}") from None


def _by_turns(batches: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Read ahead as many batches as fit the memory meant for that, then hand them on one by one."""
    for first in batches:
        ahead = max(1, min(64, _READ_AHEAD_BYTES // first.numel()))
        yield from [first, *itertools.islice(batches, ahead - 1)]
