"""Lists of labelled images, and how one of them is decoded."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy
from PIL import Image

from mec_transfer.common.errors import DataError


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

    def subset(self, indices: Sequence[int] | numpy.ndarray) -> ImageList:
        """Return the images at `indices`, in that order, with the same classes."""
        chosen = numpy.asarray(indices, dtype=numpy.int64)
        return dataclasses.replace(self, paths=tuple(self.paths[i] for i in chosen), labels=self.labels[chosen])


def load_rgb(path: Path) -> Image.Image:
    """Decode an image file to RGB. Raises DataError with the path for a missing or broken file."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error}); replace or remove it") from None
