"""Masks as DAVIS keeps them: a PNG whose pixels are object numbers, 0 being the background, shown in VOC's colours."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.decode import image_errors

VOID = 255
"""In a palette image: belongs to nothing."""
_MODES = {"P": "P", "L": "L", "1": "L"}
_COLOURS = 256


def read_index_mask(path: Path) -> tuple[np.ndarray, bool]:
    """Return the pixels of a mask, (H, W) uint8, and whether they are palette indices (else grey values).

    Raises:
        DataError: not a readable image, or one in colours, which says nothing about numbers.
    """
    with image_errors(str(path)), Image.open(path) as image:
        mode = image.mode
        if image.format == "JPEG":
            raise DataError(f"{path}: is a JPEG, whose compression changes numbers; a mask is a PNG, made from them")
        if mode not in _MODES:
            raise DataError(
                f"{path}: has mode {mode}; a mask is a palette or 8-bit greyscale PNG that numbers the objects"
            )
        pixels = np.array(image.convert(_MODES[mode]) if mode == "1" else image)
    return pixels, mode == "P"


def encode_index_mask(numbers: np.ndarray, colours: np.ndarray | None = None) -> bytes:
    """Return object numbers, (H, W) uint8, as the bytes of a palette PNG.

    Args:
        numbers: of each pixel.
        colours: (256, 3) uint8: what each number is shown in; None for VOC's colours.
    """
    image = Image.fromarray(np.ascontiguousarray(numbers, dtype=np.uint8))
    image.putpalette((_palette() if colours is None else colours).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _palette() -> np.ndarray:
    """Return VOC's colours, (256, 3) uint8: bit 3 j + c of a number is bit 7 - j of colour channel c."""
    number = np.arange(_COLOURS)
    channels = [sum(((number >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)
