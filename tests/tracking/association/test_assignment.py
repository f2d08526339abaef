from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from mec_transfer.tracking.association.assignment import assign, overlap_costs


def best_by_trying(costs: np.ndarray, limit: float) -> tuple[float, set[tuple[int, int]]]:
    """The least of matched costs plus half the limit for everything left, over every partial matching there is."""
    count, width = costs.shape
    best: tuple[float, set[tuple[int, int]]] = (np.inf, set())
    for size in range(min(count, width) + 1):
        for rows in itertools.combinations(range(count), size):
            for columns in itertools.permutations(range(width), size):
                total = sum(costs[pair] for pair in zip(rows, columns)) + limit / 2 * (count + width - 2 * size)
                best = min(best, (total, set(zip(rows, columns))), key=lambda found: found[0])
    return best


def by_extended_matrix(costs: np.ndarray, limit: float) -> set[tuple[int, int]]:
    """As lap.lapjv extends it: a dummy column a row, a dummy row a column, nothing between dummies."""
    count, width = costs.shape
    extended = np.full((count + width, count + width), limit / 2)
    extended[count:, width:] = 0
    extended[:count, :width] = costs
    pairs = zip(*(index.tolist() for index in linear_sum_assignment(extended)))
    return {(row, column) for row, column in pairs if row < count and column < width}


@pytest.mark.parametrize("seed", range(40))
def test_matches_are_the_best_partial_matching(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.random(rng.integers(1, 5, 2))
    costs[rng.random(costs.shape) < 0.15] = np.inf
    limit = float(rng.choice([0.2, 0.5, 0.7, 1.5]))
    pairs, rows, columns = assign(costs, limit)
    found = {(row, column) for row, column in pairs.tolist()}
    assert found == best_by_trying(costs, limit)[1] == by_extended_matrix(costs, limit)
    assert sorted([row for row, _ in found] + rows.tolist()) == list(range(costs.shape[0]))
    assert sorted([column for _, column in found] + columns.tolist()) == list(range(costs.shape[1]))


def test_the_limit_is_part_of_the_problem() -> None:
    """Without it the best is the diagonal (0.60 + 0.75), of which only one pair is below 0.7."""
    costs = np.array([[0.60, 0.05], [1.40, 0.75]])
    assert assign(costs, 0.7)[0].tolist() == [[0, 1]]
    assert assign(costs, 2.0)[0].tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_nothing_on_one_side_matches_nothing(shape: tuple[int, int]) -> None:
    pairs, rows, columns = assign(np.zeros(shape), 0.7)
    assert pairs.shape == (0, 2) and (len(rows), len(columns)) == shape


def test_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        assign(np.array([[np.nan]]), 0.7)


def test_overlap_counts_the_last_pixel() -> None:
    boxes, others = np.array([[0.0, 0, 9, 9], [20, 20, 29, 29]]), np.array([[5.0, 0, 14, 9], [9, 9, 12, 12]])
    expected = [[1 - 50 / 150, 1 - 1 / (100 + 16 - 1)], [1, 1]]
    np.testing.assert_allclose(overlap_costs(boxes, others), expected, atol=1e-12)
    assert overlap_costs(np.empty((0, 4)), others).shape == (0, 2)
