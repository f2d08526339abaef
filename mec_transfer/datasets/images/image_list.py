"""A list of images, whatever the storage, and the one whose images are files of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
from PIL import Image

from mec_transfer.datasets.decode import decode_rgb, read_file
from mec_transfer.datasets.scan import file_sizes


class Images(Protocol):
    """Images in a fixed order, whatever the storage; survives pickling, for loading processes."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """Return the encoded bytes of image `index`. Raises DataError where they cannot be read."""

    def name(self, index: int) -> str:
        """Return where image `index` lies, for a message to point at."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageList:
    """The images of one split, in a fixed order (sorted by path)."""

    loose: ClassVar[bool] = True
    """Whether each image is a file of its own."""
    root: Path
    paths: tuple[str, ...]
    """Relative to `root`, with forward slashes."""
    labels: np.ndarray
    """(N,) int64: index into `classes`; -1 where there is no label. Of images that may show several classes, (N, C)
    int64: 1 for a class that is there, 0 for one that is not, -1 where that does not count."""
    classes: tuple[str, ...]
    """Class names in the order of their numbers (for ImageNet: sorted wnids)."""

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> bytes:
        """Return the bytes of file `index`. Raises DataError with its path for one that cannot be read."""
        return read_file(self.root / self.paths[index])

    def name(self, index: int) -> str:
        """Return the path of file `index`."""
        return str(self.root / self.paths[index])

    def load(self, index: int) -> Image.Image:
        """Decode image `index` to RGB. Raises DataError that says where it lies for one that is missing or broken."""
        return decode_rgb(self.read(index), self.name(index))

    def sizes(self) -> np.ndarray:
        """Return the files' sizes in bytes, (N,) int64; -1 for one that is not there."""
        return file_sizes(self.root, self.paths)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Return the images at `indices`, in that order, with the same classes."""
        chosen = np.asarray(indices, dtype=np.int64)
        return dataclasses.replace(self, paths=tuple(self.paths[i] for i in chosen), labels=self.labels[chosen])
