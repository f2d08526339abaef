from __future__ import annotations

import numpy as np
import pytest
import torch

from mec_transfer.tracking.association import reconstruction
from mec_transfer.tracking.association.reconstruction import object_cells, reconstruction_cost


def plain_cost(tracks: list[torch.Tensor], detections: list[torch.Tensor]) -> np.ndarray:
    """The published formula in float64, every reconstruction formed, cell by cell; objects are (C, n)."""
    own, other = _padded(tracks), _padded(detections)
    return 1 - (_cosines(own, other) + _cosines(other, own).T) / 2


def _padded(objects: list[torch.Tensor]) -> list[np.ndarray]:
    most = max(item.shape[1] for item in objects)
    cells = [np.zeros((most, item.shape[0])) for item in objects]
    for row, item in zip(cells, objects):
        row[: item.shape[1]] = item.double().numpy().T
    return [row / np.maximum(np.linalg.norm(row, axis=1, keepdims=True), 1e-12) for row in cells]


def _cosines(own: list[np.ndarray], other: list[np.ndarray]) -> np.ndarray:
    found = np.zeros((len(own), len(other)))
    for row, cells in enumerate(own):
        reconstructed = [np.zeros_like(cells) for _ in other]
        for place, cell in enumerate(cells):
            affinity = np.array([[cell @ key for key in keys] for keys in other])
            weights = np.exp(100 * (affinity - affinity.max()))
            weights /= weights.sum()
            for column, keys in enumerate(other):
                reconstructed[column][place] = weights[column] @ keys
        for column, image in enumerate(reconstructed):
            length = max(np.linalg.norm(image), 1e-12) * max(np.linalg.norm(cells), 1e-12)
            found[row, column] = (image * cells).sum() / length
    return found


def crowd(sizes: list[int], seed: int, *, positive: bool = False) -> list[torch.Tensor]:
    """Objects of 12 channels around one common vector, of `sizes` cells."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(12, 1, generator=torch.Generator().manual_seed(0))
    objects = [common + torch.randn(12, size, generator=generator) for size in sizes]
    return [item.clamp_min(0) if positive else item for item in objects]


def ours(tracks: list[torch.Tensor], detections: list[torch.Tensor]) -> np.ndarray:
    return reconstruction_cost(
        [object_cells(item) for item in tracks], [object_cells(item) for item in detections]
    ).numpy()


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("sizes", [([6, 6, 6], [6, 6, 6, 6]), ([1, 9, 4], [7, 2]), ([3], [1]), ([0, 5], [4, 0, 2])])
def test_costs_are_those_of_the_published_formula(sizes: tuple[list[int], list[int]], positive: bool) -> None:
    tracks, detections = crowd(sizes[0], 1, positive=positive), crowd(sizes[1], 2, positive=positive)
    np.testing.assert_allclose(ours(tracks, detections), plain_cost(tracks, detections), atol=4e-6)


def test_an_object_that_nothing_attends_to_has_a_cost_of_one_and_itself_of_zero() -> None:
    alone = torch.eye(12)[:, :4], torch.eye(12)[:, 4:8], torch.eye(12)[:, 8:]
    cost = ours(list(alone[:2]), list(alone))
    np.testing.assert_allclose(cost, [[0, 1, 1], [1, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(cost, plain_cost(list(alone[:2]), list(alone)), atol=1e-6)


def test_far_apart_features_stay_exact_where_weights_fall_below_float32() -> None:
    """exp(-100) is no normal float32; its square is none at all."""
    tracks, detections = crowd([5, 5], 3), crowd([5, 5], 4)
    tracks = [item - 2 * item.mean(1, keepdim=True) if index else item for index, item in enumerate(tracks)]
    np.testing.assert_allclose(ours(tracks, detections), plain_cost(tracks, detections), atol=4e-6)


def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    tracks, detections = crowd([5, 3, 7, 7], 5), crowd([6, 4, 4], 6)
    whole = ours(tracks, detections)
    monkeypatch.setattr(reconstruction, "_CHUNK", 1)
    np.testing.assert_allclose(ours(tracks, detections), whole, atol=2e-6)
    monkeypatch.setattr(reconstruction, "_HELD", 0)
    np.testing.assert_allclose(ours(tracks, detections), whole, atol=2e-6)


def test_nothing_on_one_side_gives_an_empty_matrix() -> None:
    objects = [object_cells(item) for item in crowd([2, 3], 7)]
    assert reconstruction_cost([], objects).shape == (0, 2)
    assert reconstruction_cost(objects, []).shape == (2, 0)
