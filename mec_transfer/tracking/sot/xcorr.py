"""Cross-correlation: the target's features in the first frame, slid over the search features (SiamFC's matching)."""

from __future__ import annotations

import numpy as np
import torch

from mec_transfer.tracking.config import STRIDE
from mec_transfer.tracking.sot.config import target_cells
from mec_transfer.tracking.sot.matching import hann_window

_GAIN = 0.1


class Xcorr:
    """As UniTrack has it (test/test_sot_siamfc.py, tracker/sot/lib/models/siamfc.py).

    At 65 cells, of which the target fills 25 to 38, the response is 52 x 52. That code takes 26 for its middle and
    1 / 52 of the window for a step. But a target that did not move answers at 25, and a step is a cell: 8 of the
    window's 519 pixels. `corrected` takes these.
    """

    def __init__(self, *, crop_size: int, padding: float, update: float, corrected: bool) -> None:
        self.crop_size, self.update, self.corrected = crop_size, update, corrected
        self.middle = target_cells(crop_size, padding)
        self.side = crop_size // STRIDE - (self.middle.stop - self.middle.start) + 1
        self.template: torch.Tensor | None = None

    def learn(self, target: torch.Tensor) -> None:
        """Keep (1, channels, k, k) features of the target's cells, or blend them in at the rate `update`."""
        old = self.template
        self.template = target.clone() if old is None else (1 - self.update) * old + self.update * target

    def respond(self, features: torch.Tensor) -> torch.Tensor:
        """Return the response (N, side, side) to (N, channels, n, n) features."""
        assert self.template is not None
        count, channels, cells, _ = features.shape
        weighted = (features * hann_window(cells, features.device)).permute(0, 2, 3, 1).reshape(-1, channels)
        # A convolution with a single output channel is slow. So: every cell times every cell of the template in one
        # matrix product, (N, n, n, span, span); a place of the response is the sum of one of its diagonals.
        products = weighted @ self.template[0].flatten(1)
        span = self.middle.stop - self.middle.start
        cell, line = span * span, cells * span * span
        size = (count, self.side, self.side, span, span)
        diagonals = products.as_strided(size, (cells * line, line, cell, line + span, cell + 1))
        return _GAIN * diagonals.sum(dim=(3, 4))

    def shift(self, row: int, column: int) -> np.ndarray:
        """Return how far from the middle a place of the response is, (x, y) as a share of the window."""
        if self.corrected:
            return (np.array([column, row]) - self.middle.start) * STRIDE / (self.crop_size - 1)
        return (np.array([column, row]) - self.side * 0.5) / self.side
