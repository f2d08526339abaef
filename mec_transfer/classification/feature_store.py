"""Features on disk, in parts: a kill loses one part at most, and a damaged part is found out."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy

from mec_transfer.common.config import json_sha256
from mec_transfer.common.files import atomic_writer, write_json

PART_IMAGES = 2048
"""A multiple of every default batch size, so that batches do not depend on where an interrupted run left off."""


class FeatureStore:
    """One split's features of one network: a folder of parts, named after everything that the features depend on."""

    def __init__(self, folder: Path, about: dict[str, Any], images: int, width: int) -> None:
        self.key = json_sha256(about)
        self.folder = folder / f"{about['split']}-{self.key[:16]}"
        self.about, self.width = about, width
        self.parts = [range(start, min(start + PART_IMAGES, images)) for start in range(0, images, PART_IMAGES)]

    def path(self, part: int) -> Path:
        """Return where a part lies."""
        return self.folder / f"part-{part:05d}.f32"

    def write(self, part: int, values: numpy.ndarray) -> None:
        """Write a part, (n, width) float32 in one piece, atomically: its bytes and a sha256 after them.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        with atomic_writer(self.path(part)) as handle:
            handle.write(values.data)
            handle.write(self._digest(part, values))

    def read(self, part: int, out: numpy.ndarray) -> bool:
        """Fill `out`, (n, width) float32 in one piece, with a part.

        False where it is missing or not what was written; `out` then holds anything.
        """
        try:
            with self.path(part).open("rb") as handle:
                whole = handle.readinto(out.data) == out.nbytes
                return whole and handle.read() == self._digest(part, out)
        except OSError:
            return False

    def describe(self) -> None:
        """Leave a note of what the folder holds, for people."""
        write_json(self.folder / "about.json", self.about)

    def missing_bytes(self) -> int:
        """Bytes that are still to be written, judged by the parts' presence alone."""
        absent = [len(rows) for part, rows in enumerate(self.parts) if not self.path(part).exists()]
        return 4 * self.width * sum(absent)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _digest(self, part: int, values: numpy.ndarray) -> bytes:
        digest = hashlib.sha256(f"{self.key} {part} {values.shape} {values.dtype}".encode())
        digest.update(values.data)
        return digest.digest()
