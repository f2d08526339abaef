"""Images wherever they lie: what a list of them offers, and how one of them is decoded.

Decoding is Pillow's `convert("RGB")`, as in torchvision's ImageFolder: grey values three times, palettes looked up,
CMYK converted, transparency dropped without blending, of an animation the first picture, and no rotation by EXIF. In
one thing it differs, where Pillow would turn nearly every pixel white: grey values of 16 bits are scaled to 8 by their
high byte, as those of colour files are. Whole numbers of 32 bits and fractions have no known white, and are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy
from PIL import Image, UnidentifiedImageError

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.scan import file_sizes

_EIGHT_BITS = frozenset(("RGB", "L", "P", "1", "LA", "PA", "La", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"))
"""Pillow's modes with at most 8 bits a channel, whose `convert` keeps what they show."""
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError),
    *(TypeError, IndexError, KeyError, AttributeError, OverflowError, ZeroDivisionError, zlib.error),
)
"""What Pillow's readers raise for damaged files, by design or not."""
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""Tags of a TIFF, and a value of the latter."""


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
    if not data:
        raise DataError(f"{name}: not a readable image (empty); replace or remove it")
    with image_errors(name), Image.open(io.BytesIO(data)) as image:
        return (image if image.mode in _EIGHT_BITS else _to_eight_bits(image)).convert("RGB")


@contextlib.contextmanager
def image_errors(name: str) -> Iterator[None]:
    """Turn what Pillow raises for a broken file into a DataError that begins with `name`."""
    try:
        yield
        return
    except UnidentifiedImageError:
        reason = "of no known format"  # Pillow names the buffer's address
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"{name}: not a readable image ({reason}); replace or remove it") from None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of more than 8 bits a channel with 8. Raises ValueError where it is not known what is white."""
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if not sixteen:
        what = "fractions" if image.mode == "F" else f"numbers of mode {image.mode}"
        raise ValueError(f"its pixels are {what}, of which it is not known which is white; save it with 8 or 16 bits")
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    bits = max(tags.get(_BITS_PER_SAMPLE, (16,)))
    values = (numpy.asarray(image) >> (bits - 8)).astype(numpy.uint8)
    return Image.fromarray(255 - values if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
