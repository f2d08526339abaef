"""A drawn picture on disk."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

_QUALITY = 92


def write_jpeg(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 pixels and put the file in place in one step, so that no reader ever sees half of it."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=_QUALITY, subsampling=0)
    _put(path, encoded.getvalue())


def without_colour(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 pixels as grey ones of the same brightness."""
    return np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))


def write_palette_png(path: Path, labels: np.ndarray, palette: bytes) -> None:
    """Write (H, W) uint8 labels as a PNG with a palette (3 bytes a label), in one step like `write_jpeg`."""
    encoded = io.BytesIO()
    picture = Image.fromarray(labels, "P")
    picture.putpalette(palette)
    picture.save(encoded, "PNG")
    _put(path, encoded.getvalue())


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    # No fsync for each of thousands of small files: the manifest comes last, and lost files are drawn again.
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
