"""Which detection continues which track: minimum-cost assignment with a limit, and the overlap of boxes as a cost."""

from __future__ import annotations

import numpy as np


def assign(costs: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match rows to columns so that matched costs plus `limit` for every pair not made are least.

    The limit is part of the problem, as in `lap.lapjv(costs, extend_cost=True, cost_limit=limit)`, which extends the
    matrix by a dummy for every row and column, at half the limit each. A pair is then made only where it costs less
    than `limit`, and the same pairs come out of the far smaller matrix min(costs - limit, 0): zero means no pair.

    Args:
        costs: (N, M); infinite where a pair is forbidden.
        limit: what leaving one row and one column unmatched costs.

    Returns:
        (K, 2) matched rows and columns, by row; the rows that are left; the columns that are left; all int64.

    Raises:
        ValueError: a cost is not a number.
    """
    from scipy.optimize import linear_sum_assignment

    if np.isnan(costs).any():
        raise ValueError("a cost is not a number")
    count, width = costs.shape
    gains = np.minimum(costs.astype(np.float64) - limit, 0.0)
    rows, columns = linear_sum_assignment(gains)
    made = gains[rows, columns] < 0
    pairs = np.stack([rows[made], columns[made]], axis=1).astype(np.int64).reshape(-1, 2)
    return pairs, np.setdiff1d(np.arange(count), pairs[:, 0]), np.setdiff1d(np.arange(width), pairs[:, 1])


def overlap_costs(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return 1 - intersection over union, (N, M), of boxes x0, y0, x1, y1 whose last pixel counts as inside.

    Sides are one longer than x1 - x0, as in the code that all published trackers of this kind use (cython_bbox): where
    boxes are measured in cells of a feature map, that moves matches.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.maximum(high - low + 1, 0).prod(axis=2)
    areas = [(group[:, 2:] - group[:, :2] + 1).prod(axis=1) for group in (boxes, others)]
    united = areas[0][:, None] + areas[1][None] - common
    shared: np.ndarray = common / np.where(common > 0, united, 1.0)
    return 1 - shared
