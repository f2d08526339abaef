"""Local affinity against a dense one, written slowly in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from mec_transfer.tracking.vos.affinity import LocalAffinity, Neighbourhood, unit_cells
from mec_transfer.tracking.vos.propagation import Propagation, Propagator

UNITRACK = Propagation(variant="unitrack", recent=5, radius=4, topk=10, temperature=0.05)
DINO = Propagation(variant="dino", recent=3, radius=3, topk=5, temperature=0.1)

Slow = Callable[[Propagation, list[np.ndarray], np.ndarray], list[np.ndarray]]


def flat(features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """(cells, C) float64, each cell of length 1 (or 0)."""
    cells = [frame.reshape(len(frame), -1).T.astype(np.float64) for frame in features]
    return [frame / np.maximum(np.linalg.norm(frame, axis=1, keepdims=True), 1e-12) for frame in cells]


def unitrack_slowly(s: Propagation, features: list[np.ndarray], labels: np.ndarray) -> list[np.ndarray]:
    """All context cells beside each other: frame 0 without a radius, then the last frames, copies of 0 before them."""
    rows, columns = labels.shape[1:]
    cells, maps = flat(features), [labels.reshape(len(labels), -1).astype(np.float64)]
    place = [(row, column) for row in range(rows) for column in range(columns)]
    for time in range(1, len(features)):
        context = [0] + [max(0, other) for other in range(time - s.recent, time)]
        out = np.zeros_like(maps[0])
        for query, (row, column) in enumerate(place):
            similarity, carried = [], []
            for number, frame in enumerate(context):
                for key, (other_row, other_column) in enumerate(place):
                    value = cells[time][query] @ cells[frame][key]
                    distance = np.sqrt((row - other_row) ** 2 + (column - other_column) ** 2)
                    similarity.append(value + (0 if number == 0 or distance < s.radius else -1e10))
                    carried.append(maps[frame][:, key])
            best = np.argsort(similarity)[::-1][: s.topk]
            weights = np.exp((np.array(similarity)[best] - max(similarity)) / s.temperature)
            out[:, query] = np.array(carried)[best].T @ (weights / weights.sum())
        maps.append(out)
    return [map_.reshape(labels.shape) for map_ in maps[1:]]


def dino_slowly(s: Propagation, features: list[np.ndarray], labels: np.ndarray) -> list[np.ndarray]:
    """Frame 0 and the last frames but it, exp(similarity / T) x square mask, what is below the k-th value set to 0."""
    rows, columns = labels.shape[1:]
    cells, maps = flat(features), [labels.reshape(len(labels), -1).astype(np.float64)]
    row, column = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    square = (abs(row[:, None] - row) <= s.radius) & (abs(column[:, None] - column) <= s.radius)
    for time in range(1, len(features)):
        context = [0, *range(max(1, time - s.recent), time)]
        affinity = [np.exp(cells[frame] @ cells[time].T / s.temperature) * square for frame in context]
        stacked = np.concatenate(affinity)
        threshold = np.sort(stacked, axis=0)[::-1][min(s.topk, len(stacked)) - 1]
        stacked[stacked < threshold] = 0
        maps.append(np.concatenate([maps[frame] for frame in context], axis=1) @ (stacked / stacked.sum(0)))
    return [map_.reshape(labels.shape) for map_ in maps[1:]]


def soft_labels(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed).random((3, rows, columns), dtype=np.float32)
    return random / random.sum(0)


def propagate(s: Propagation, features: list[np.ndarray], labels: np.ndarray) -> list[np.ndarray]:
    propagator = Propagator(s, torch.from_numpy(features[0]), torch.from_numpy(labels))
    return [propagator(torch.from_numpy(frame)).numpy() for frame in features[1:]]


@pytest.mark.parametrize(("settings", "slowly"), [(UNITRACK, unitrack_slowly), (DINO, dino_slowly)])
@pytest.mark.parametrize(
    ("rows", "columns", "frames"),
    # Tiles are 8 x 12: cut at both ends; less than one; one cell; more frames than context; fewer than context.
    [(9, 13, 3), (3, 5, 9), (1, 1, 3), (1, 26, 3), (17, 2, 2)],
)
def test_local_affinity_gives_what_a_dense_one_gives(
    settings: Propagation, slowly: Slow, rows: int, columns: int, frames: int
) -> None:
    generator = np.random.default_rng(rows)
    features = [generator.standard_normal((6, rows, columns), dtype=np.float32) for _ in range(frames)]
    labels = soft_labels(rows, columns)
    ours, dense = propagate(settings, features, labels), slowly(settings, features, labels)
    assert len(ours) == frames - 1
    for one, other in zip(ours, dense, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_what_ties_with_the_kth_counts_in_dinos_variant() -> None:
    """Features of few kinds, so that nearly everything ties; only a part of the cells in the second half."""
    kinds = np.random.default_rng(0).integers(0, 3, (4, 9, 14))
    features = [np.eye(4, dtype=np.float32)[frame].transpose(2, 0, 1).copy() for frame in kinds]
    features += [np.random.default_rng(1).standard_normal((4, 9, 14), dtype=np.float32)]
    features[4][:, :, :7] = features[3][:, :, :7]
    labels = soft_labels(9, 14)
    for one, other in zip(propagate(DINO, features, labels), dino_slowly(DINO, features, labels), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_a_frame_without_features_is_not_a_number_nowhere() -> None:
    features = [np.zeros((6, 5, 7), dtype=np.float32)] * 3
    for settings in (UNITRACK, DINO):
        for labels in propagate(settings, features, soft_labels(5, 7)):
            assert np.isfinite(labels).all()
            np.testing.assert_allclose(labels.sum(0), 1, atol=1e-5)


def test_labels_stay_a_distribution_and_follow_a_shift() -> None:
    """Distinct features that move two cells right each frame carry their labels with them."""
    wide = np.random.default_rng(2).standard_normal((16, 10, 30), dtype=np.float32)
    features = [np.ascontiguousarray(wide[:, :, 8 - 2 * time : 20 - 2 * time]) for time in range(4)]
    labels = np.zeros((2, 10, 12), dtype=np.float32)
    labels[1, 3:6, 2:5] = 1
    labels[0] = 1 - labels[1]
    settings = Propagation(variant="unitrack", recent=5, radius=4, topk=1, temperature=0.05)
    for time, found in enumerate(propagate(settings, features, labels), 1):
        moved = np.zeros((10, 12), dtype=np.float32)
        moved[3:6, 2 + 2 * time : 5 + 2 * time] = 1
        np.testing.assert_array_equal(found[1][:, 2 * time :], moved[:, 2 * time :])


@pytest.mark.parametrize("shape", ["disk", "square"])
def test_a_neighbourhood_is_what_it_says(shape: str) -> None:
    """Every finite similarity is of a cell within the neighbourhood, and every such cell is there once."""
    neighbourhood = Neighbourhood(3, shape)  # type: ignore[arg-type]
    affinity = LocalAffinity(10, 14, 4, 2, neighbourhood, torch.device("cpu"))
    frames = [unit_cells(torch.randn(4, 10, 14)) for _ in range(3)]
    affinity.remember(frames[0], 0)
    affinity.remember(frames[1], 1)
    seen = {}
    for block in affinity.near(frames[2]):
        for frame, query, key in block.similarity.isfinite().nonzero().tolist():
            pair = (int(block.cells[query]), int(block.keys[frame, key]))
            assert pair not in seen
            seen[pair] = float(block.similarity[frame, query, key])
    expected = {}
    for query in range(140):
        for key in range(280):
            (row, column), (other_row, other_column) = divmod(query, 14), divmod(key % 140, 14)
            down, across = abs(row - other_row), abs(column - other_column)
            if down**2 + across**2 < 9 if shape == "disk" else max(down, across) <= 3:
                remembered = frames[key // 140][other_row, other_column]
                expected[query, key] = float(frames[2][row, column] @ remembered)
    assert seen == pytest.approx(expected, abs=1e-6)
