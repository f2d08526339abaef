"""The features below a mask: as many cells as it covers, fewer where it is large (UniTrack's tracker/mot/mask.py)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

# h rows and w columns of the feature map, C channels, n cells.


def shrink_mask(mask: np.ndarray, rows: int, columns: int) -> torch.Tensor:
    """Return a mask, (H, W) bool, at the size of a feature map, (h, w) bool: the pixel nearest to each cell counts."""
    pixels = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.uint8))[None, None]
    return F.interpolate(pixels, size=(rows, columns), mode="nearest")[0, 0].bool()


@torch.inference_mode()
def mask_cells(features: torch.Tensor, mask: torch.Tensor, most: int) -> torch.Tensor:
    """Return the (n, C) L2-normalised cells of a map, (C, h, w), below a mask, (h, w) bool on the CPU.

    A mask of more than `most` cells is scaled down to about as many, bilinearly, what is outside it counting as zero;
    only the cells that are wanted are computed. n may be 0.
    """
    rows, columns = mask.shape
    flat = features.permute(1, 2, 0).reshape(rows * columns, -1)
    area = int(mask.sum())
    if area <= most:
        return F.normalize(flat[mask.flatten().nonzero()[:, 0].to(flat.device)], dim=1)
    scale = float(np.sqrt(most / area))
    smaller = F.interpolate(mask[None, None].float(), scale_factor=scale, mode="nearest")[0, 0]
    row, column = (smaller >= 0.5).nonzero(as_tuple=True)
    places, shares = [], []
    for y, share_y in _neighbours(row, scale, rows):
        for x, share_x in _neighbours(column, scale, columns):
            places.append(y * columns + x)
            shares.append(share_y * share_x * mask[y, x])
    near = flat[torch.stack(places).flatten().to(flat.device)].view(4, len(row), flat.shape[1])
    return F.normalize((near * torch.stack(shares)[..., None].to(flat.device)).sum(0), dim=1)


def _neighbours(index: torch.Tensor, scale: float, size: int) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Return the two source cells around each cell of an axis scaled by `scale`, and the share of each."""
    source = ((index.float() + 0.5) * (1 / scale) - 0.5).clamp_min_(0)
    low = source.floor().long().clamp_max_(size - 1)
    share = source - low
    return (low, 1 - share), ((low + 1).clamp_max_(size - 1), share)
