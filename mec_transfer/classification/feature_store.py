"""Features on disk, in parts: a kill loses one part at most, and a damaged part is found out.

They are used where they lie, mapped: processes that use the same ones share the system's cache of the files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mec_transfer.common.config import json_sha256
from mec_transfer.common.errors import RunError, one_line
from mec_transfer.common.files import atomic_writer, write_json

PART_IMAGES = 2048
"""A multiple of every default batch size, so that batches do not depend on where an interrupted run left off."""
_READ_BYTES = 1 << 20


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

    def write(self, part: int, values: np.ndarray) -> None:
        """Write a part, (n, width) float32 in one piece, atomically: its bytes and a sha256 after them.

        One that is whole by now stays: on some network file systems, who has mapped it would lose it.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        if self.is_present(part) and self.is_whole(part):
            return
        digest = self._digest(part)
        digest.update(values.data)
        with atomic_writer(self.path(part)) as handle:
            handle.write(values.data)
            handle.write(digest.digest())

    def is_whole(self, part: int) -> bool:
        """Whether a part is there and is what was written: all of it is read."""
        digest, left = self._digest(part), self._bytes(part)
        try:
            with self.path(part).open("rb") as handle:
                while left and (block := handle.read(min(left, _READ_BYTES))):
                    digest.update(block)
                    left -= len(block)
                return not left and handle.read() == digest.digest()
        except OSError:
            return False

    def is_present(self, part: int) -> bool:
        """Whether a part's file is there and has the length of a whole one; its bytes are not looked at."""
        try:
            return self.path(part).stat().st_size == self._bytes(part) + self._digest(part).digest_size
        except OSError:
            return False

    def open(self, part: int) -> torch.Tensor:
        """Map a part: (n, width) float32, whose bytes are read from the file when they are used.

        It stays readable when the file is removed or replaced. Not to be written to.

        Raises:
            RunError: the file is missing or too short, or cannot be read.
        """
        shape = (len(self.parts[part]), self.width)
        try:
            with self.path(part).open("rb") as handle:
                # Torch takes a name alone, and that as UTF-8; the open file has one wherever it lies. A map made by
                # torch, unlike NumPy's, holds no descriptor, of which hundreds of parts would use up all there are.
                name = f"/dev/fd/{handle.fileno()}"
                if os.fstat(handle.fileno()).st_size < self._bytes(part):
                    raise OSError("the file is too short")
                flat = torch.from_file(name, shared=False, size=shape[0] * shape[1], dtype=torch.float32)
        except (OSError, RuntimeError) as error:
            raise RunError(
                f"{self.path(part)}: features cannot be read back ({one_line(error)}); run the job again"
            ) from None
        return flat.view(shape)

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

    def _bytes(self, part: int) -> int:
        return 4 * self.width * len(self.parts[part])

    def _digest(self, part: int) -> hashlib._Hash:
        """Begin a part's sha256 with what its bytes stand for."""
        return hashlib.sha256(f"{self.key} {part} {(len(self.parts[part]), self.width)} float32".encode())
