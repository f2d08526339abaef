"""A drawn picture on disk."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy
from PIL import Image

_QUALITY = 92


def write_jpeg(path: Path, pixels: numpy.ndarray) -> None:
    """Write (H, W, 3) uint8 pixels and put the file in place in one step, so that no reader ever sees half of it."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=_QUALITY, subsampling=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    # No fsync for each of thousands of small files: the manifest comes last, and lost files are drawn again.
    try:
        temporary.write_bytes(encoded.getvalue())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
