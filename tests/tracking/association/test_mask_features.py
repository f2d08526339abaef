from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mec_transfer.tracking.association.mask_features import mask_cells, shrink_mask


def published_cells(features: torch.Tensor, mask: torch.Tensor, most: int) -> torch.Tensor:
    """The whole map below the mask scaled, then the cells taken."""
    pixels = mask[None, None].double()
    scale = float(np.sqrt(most / pixels.sum().item())) if pixels.sum() > most else 1.0
    below = F.interpolate(pixels * features[None].double(), scale_factor=scale, mode="bilinear")[0]
    kept = F.interpolate(pixels, scale_factor=scale, mode="nearest")[0, 0] >= 0.5
    return F.normalize(below[:, kept], dim=0).T


@pytest.mark.parametrize("seed", range(30))
def test_cells_are_those_of_the_scaled_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(4, 40, 2).tolist()
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    y, x = int(rng.integers(rows - 2)), int(rng.integers(columns - 2))
    mask[y : y + int(rng.integers(1, 20)), x : x + int(rng.integers(1, 20))] = True
    mask &= torch.from_numpy(rng.random((rows, columns)) > 0.05)
    features = torch.from_numpy(rng.standard_normal((6, rows, columns))).float()
    most = int(rng.integers(2, 60))
    expected = published_cells(features, mask, most)
    found = mask_cells(features, mask, most)
    assert found.shape == expected.shape and len(found) <= max(1.6 * most, 8)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-5)


@pytest.mark.parametrize("size", [(97, 61), (64, 64), (40, 123)])
def test_masks_shrink_to_the_nearest_pixels(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(size) > 0.5
    rows, columns = -(-size[0] // 8), -(-size[1] // 8)
    picked = [[mask[int(y * size[0] / rows), int(x * size[1] / columns)] for x in range(columns)] for y in range(rows)]
    assert shrink_mask(mask, rows, columns).tolist() == picked


def test_an_empty_mask_has_no_cells() -> None:
    assert mask_cells(torch.ones(5, 4, 4), torch.zeros(4, 4, dtype=torch.bool), 10).shape == (0, 5)
