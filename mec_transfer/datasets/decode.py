"""How an image file becomes RGB pixels, in every part of the program.

Decoding is Pillow's `convert("RGB")`, as in torchvision's ImageFolder: grey values three times, palettes looked up,
CMYK converted, transparency dropped without blending, of an animation the first picture, and no rotation by EXIF. In
one thing it differs, where Pillow would turn nearly every pixel white: grey values of 16 bits are scaled to 8 by their
high byte, as those of colour files are. Whole numbers of 32 bits and fractions have no known white, and are refused.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mec_transfer.common.errors import DataError, disk_failed, one_line

_EIGHT_BITS = frozenset(("RGB", "L", "P", "1", "LA", "PA", "La", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"))
"""Pillow's modes with at most 8 bits a channel, whose `convert` keeps what they show."""
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError),
    *(TypeError, IndexError, KeyError, AttributeError, OverflowError, ZeroDivisionError, zlib.error),
)
"""What Pillow's readers raise for damaged files, by design or not."""
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""Tags of a TIFF, and a value of the latter."""


def load_rgb(path: Path) -> Image.Image:
    """Decode an image file to RGB. Raises DataError with the path for a missing or broken file."""
    return decode_rgb(read_file(path), str(path))


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
        reason = "in no known format"  # Pillow names the buffer's address
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except _BROKEN as error:
        if disk_failed(error):  # the file may be sound
            raise DataError(f"{name}: cannot be read ({one_line(error)})") from None
        reason = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"{name}: not a readable image ({reason}); replace or remove it") from None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of more than 8 bits a channel with 8. Raises ValueError where it is not known what is white."""
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if not sixteen:
        what = "fractions" if image.mode == "F" else f"numbers of mode {image.mode}"
        raise ValueError(f"its pixels are {what}, and it is not known which value is white; save it with 8 or 16 bits")
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    bits = max(tags.get(_BITS_PER_SAMPLE, (16,)))
    values = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - values if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values)


def read_file(path: Path) -> bytes:
    """Return a file's bytes. Raises DataError with its path where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
