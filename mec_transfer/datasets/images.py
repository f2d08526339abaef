"""Images wherever they lie: what a list of them offers, and how one of them is decoded."""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy
from PIL import Image, UnidentifiedImageError

from mec_transfer.common.errors import DataError
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

    root: Path
    paths: tuple[str, ...]
    """Relative to `root`, with forward slashes."""
    labels: numpy.ndarray
    """(N,) int64: index into `classes`; -1 where there is no label."""
    classes: tuple[str, ...]
    """Class names in the order of their numbers (for ImageNet: sorted wnids)."""

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> bytes:
        """Return the bytes of file `index`. Raises DataError with its path for one that cannot be read."""
        return _read(self.root / self.paths[index])

    def name(self, index: int) -> str:
        """Return the path of file `index`."""
        return str(self.root / self.paths[index])

    def sizes(self) -> numpy.ndarray:
        """Return the files' sizes in bytes, (N,) int64; -1 for one that is not there."""
        return file_sizes(self.root, self.paths)

    def subset(self, indices: Sequence[int] | numpy.ndarray) -> ImageList:
        """Return the images at `indices`, in that order, with the same classes."""
        chosen = numpy.asarray(indices, dtype=numpy.int64)
        return dataclasses.replace(self, paths=tuple(self.paths[i] for i in chosen), labels=self.labels[chosen])


def load_rgb(path: Path) -> Image.Image:
    """Decode an image file to RGB. Raises DataError with the path for a missing or broken file."""
    return decode_rgb(_read(path), str(path))


def decode_rgb(data: bytes, name: str) -> Image.Image:
    """Decode the bytes of an image file to RGB. Raises DataError with `name` for broken ones."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        reason = "of no known format" if data else "empty"  # Pillow names the buffer's address
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        reason = str(error)
    raise DataError(f"{name}: not a readable image ({reason}); replace or remove it")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
