"""Feature maps kept on disk, so that tasks that look at the same frames compute them once."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import torch

from mec_transfer.common.errors import RunError
from mec_transfer.common.files import write_bytes
from mec_transfer.common.progress import warn
from mec_transfer.tracking.appearance import Appearance

LIMIT = 8 << 30
"""Bytes that all maps together may take; what would go beyond it is computed and not kept."""


class CachedFeatures:
    """An appearance model whose maps are looked up first: same weights, same pixels, bitwise the same features.

    For a CPU, where reading a map of a 480p frame takes a tenth of the time of computing it; a GPU is quicker than
    the disk. A damaged file is computed again, and a full disk only ends the keeping.
    """

    def __init__(self, appearance: Appearance, folder: Path, used: int, limit: int) -> None:
        weights = appearance.backbone.sha256
        self._appearance, self._used, self._limit = appearance, used, limit
        # Channels last, as the network leaves them: to turn a map costs three times as much as to write it.
        self._folder = folder / f"{weights[:16]}-{appearance.stage}-{appearance.precision}-nhwc"
        self.device, self.channels, self.reach = appearance.device, appearance.channels, appearance.reach
        self.prepare = appearance.prepare

    @classmethod
    def open(cls, appearance: Appearance, folder: Path, limit: int = LIMIT) -> CachedFeatures:
        """Look how much is kept in `folder`, which may grow to `limit` bytes."""
        used = sum(path.stat().st_size for path in folder.rglob("*.npy")) if folder.is_dir() else 0
        return cls(appearance, folder, used, limit)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features of normalised `pixels`."""
        content = np.ascontiguousarray(pixels.cpu().numpy())
        key = hashlib.sha256(repr(content.shape).encode() + content.tobytes()).hexdigest()
        path = self._folder / f"{key[:32]}.npy"
        kept = _load(path)
        if kept is not None:
            return kept.to(self.device)
        features = self._appearance(pixels)
        self._keep(path, features)
        return features

    def _keep(self, path: Path, features: torch.Tensor) -> None:
        stream = io.BytesIO()
        np.save(stream, features.permute(0, 2, 3, 1).cpu().numpy())
        size = stream.tell()
        if self._used + size > self._limit:
            return
        try:
            write_bytes(path, stream.getvalue())
            self._used += size
        except RunError as error:
            self._limit = 0
            warn(f"{error}; features are not kept any more")


def _load(path: Path) -> torch.Tensor | None:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False)).permute(0, 3, 1, 2)
    except (OSError, ValueError, EOFError):
        return None
