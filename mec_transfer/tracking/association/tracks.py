"""What association makes of a frame: detections with an identity each."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackedFrame:
    """What is tracked in one frame."""

    identities: np.ndarray
    """(M,) int64 from 1, each once."""
    boxes: np.ndarray
    """(M, 4) float64: x0, y0, x1, y1 in pixels, half-open."""
    scores: np.ndarray
    """(M,) float64."""
    masks: tuple[dict[str, Any], ...] | None = None
    """M compressed RLEs as pycocotools takes them, of the frame's size, no pixel in two of them."""
    poses: np.ndarray | None = None
    """(M, K, 3) float64: x, y, score of each of `detections.JOINTS`; all three NaN where a joint is absent."""

    def __len__(self) -> int:
        return len(self.identities)
