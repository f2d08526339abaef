"""What cross-correlation and the correlation filter have in common."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch


class Matcher(Protocol):
    """Knows the target by its features, and finds it in those of other crops of the same size."""

    def learn(self, target: torch.Tensor) -> None:
        """Take (1, channels, k, k) features, those of the target's cells; later ones are blended in."""

    def respond(self, features: torch.Tensor) -> torch.Tensor:
        """Return the response (N, rows, columns) to (N, channels, n, n) features."""

    def shift(self, row: int, column: int) -> np.ndarray:
        """Return how far from the middle a place of the response is, (x, y) as a share of the window."""


def hann_window(cells: int, device: torch.device) -> torch.Tensor:
    """Return the (cells, cells) float32 window that search features are weighted with."""
    line = np.hanning(cells)
    return torch.from_numpy(np.outer(line, line).astype(np.float32)).to(device)
