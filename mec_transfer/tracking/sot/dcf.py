"""A correlation filter on frozen features: ridge regression in the Fourier domain (DCFNet's matching)."""

from __future__ import annotations

import numpy as np
import torch

from mec_transfer.tracking.config import STRIDE
from mec_transfer.tracking.sot.config import target_cells
from mec_transfer.tracking.sot.matching import hann_window


class Dcf:
    """As UniTrack has it (test/test_sot_cfnet.py, tracker/sot/lib/models/cfnet.py).

    That code transforms back without saying how wide the response is, gets one column fewer where the width is odd
    (65 x 64), and then reads the place of the maximum as one of 65 x 65. `corrected` transforms to the true width.
    """

    def __init__(
        self, *, crop_size: int, padding: float, update: float, regularisation: float, sigma: float, corrected: bool
    ) -> None:
        self.crop_size, self.update, self.corrected = crop_size, update, corrected
        self.regularisation = regularisation
        self.cells = crop_size // STRIDE
        self.middle = target_cells(crop_size, padding)
        self.label = _gaussian(self.cells, self.cells / (1 + padding) * sigma)
        self.template: torch.Tensor | None = None
        """The target's spectrum, (1, channels, n, n // 2 + 1) complex64."""
        self.filter: torch.Tensor | None = None
        """The regression's coefficients, (1, n, n // 2 + 1) complex64."""

    def learn(self, target: torch.Tensor) -> None:
        """Fit the filter to (1, channels, k, k) features of the target's cells, the others being 0; or blend it in."""
        whole = target.new_zeros((*target.shape[:2], self.cells, self.cells))
        whole[:, :, self.middle, self.middle] = target
        template = torch.fft.rfft2(whole)
        energy = torch.view_as_real(template).square().sum(dim=(1, 4))
        wanted = torch.fft.rfft2(torch.from_numpy(self.label.astype(np.float32)).to(target.device))
        fitted = wanted / (energy + self.regularisation)
        if self.template is None or self.filter is None:
            self.template, self.filter = template, fitted
        else:
            self.template = (1 - self.update) * self.template + self.update * template
            self.filter = (1 - self.update) * self.filter + self.update * fitted

    def respond(self, features: torch.Tensor) -> torch.Tensor:
        """Return the response (N, n, n) to (N, channels, n, n) features; (N, n, n - 1) as published where n is odd."""
        assert self.template is not None and self.filter is not None
        # Transforms are twice as fast on whole maps than where channels lie side by side, and a copy of one matrix
        # after the other turns them four times as fast as one of the whole.
        weighted = torch.empty(features.shape, device=features.device)
        for maps, cells in zip(weighted.flatten(2), features.permute(0, 2, 3, 1).flatten(1, 2)):
            maps.copy_(cells.T)
        spectrum = torch.fft.rfft2(weighted.mul_(hann_window(self.cells, features.device)))
        likeness = (spectrum * self.template.conj()).sum(dim=1)
        width = self.cells if self.corrected else 2 * (self.filter.shape[-1] - 1)
        return torch.fft.irfft2(likeness * self.filter, s=(self.cells, width))

    def shift(self, row: int, column: int) -> np.ndarray:
        """Return how far from the middle a place of the response is, (x, y) as a share of the window."""
        if not self.corrected:
            width = 2 * (self.cells // 2)
            row, column = divmod(row * width + column, self.cells)
        places = np.array([column, row], dtype=np.float64)
        places[places > self.cells / 2] -= self.cells
        return places * STRIDE / (self.crop_size - 1) if self.corrected else places / self.cells


def _gaussian(cells: int, sigma: float) -> np.ndarray:
    """Return the wanted response, (cells, cells) float64: 1 at the origin, wrapped around."""
    away = np.minimum(np.arange(cells), cells - np.arange(cells)).astype(np.float64)
    return np.exp(-0.5 / sigma**2 * (away[:, None] ** 2 + away[None, :] ** 2))
