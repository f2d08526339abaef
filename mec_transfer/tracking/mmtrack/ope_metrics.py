"""One-pass evaluation as MMTracking counts it (mmtrack/core/evaluation/eval_sot_ope.py), by sequence.

It differs from OTB's own in several ways, which all move numbers. Boxes are x, y, w, h with corners at x + w and y + h.
Where only visible frames count, the others are not hits, but stay in the denominator. A frame without a true box is no
hit of success, and is one of precision at every threshold, since its distance is -1. Normalised precision is the share
of frames within 0.2, not an area. Overlaps are computed in float32: 0.6 there exceeds the threshold 0.6, and in float64
does not.
"""

from __future__ import annotations

import numpy as np

METRICS = ("success", "norm_precision", "precision")
"""Percentages: the mean share of frames whose overlap exceeds 21 thresholds from 0 to 1; the share whose centre is at
most 0.2 of the true box's width and height off; and at most 20 pixels."""

_OVERLAPS = np.arange(0, 1.05, 0.05)
_PIXELS, _SIZES = 20, 0.2
_TINY_AREA, _TINY_SIZE = np.float32(1e-6), 1e-16


def measure_boxes(truth: np.ndarray, found: np.ndarray, visible: np.ndarray | None = None) -> dict[str, float]:
    """Return the metrics of one sequence; those of a data set are the means over its sequences.

    Args:
        truth: (frames, 4) float64: x, y, w, h; NaN where the target is not there.
        found: like `truth`, without NaN.
        visible: (frames,) bool: the frames that can be hits; None: all.

    Returns:
        Metric to a percentage.
    """
    frames = len(truth)
    seen = slice(None) if visible is None else visible
    real, mine = _corners(truth[seen]), _corners(found[seen])
    overlaps = _overlaps(real, mine)
    centre, other = (0.5 * (boxes[:, 2:] + boxes[:, :2]) for boxes in (real, mine))
    sizes = real[:, 2:] - real[:, :2] + _TINY_SIZE
    success = [np.count_nonzero(overlaps > threshold) / frames for threshold in _OVERLAPS]
    near = np.count_nonzero(_distances(centre, other) <= _PIXELS) / frames
    near_by_size = np.count_nonzero(_distances(centre / sizes, other / sizes) <= _SIZES) / frames
    values = (float(np.mean(success)), near_by_size, near)
    return {name: 100 * value for name, value in zip(METRICS, values, strict=True)}


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Return x0, y0, x1, y1, (N, 4), of x, y, w, h."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _overlaps(real: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Return intersection over union, (N,); -1 where the true box, (N, 4) of corners, has no area or is NaN."""
    overlaps = np.full(len(real), -1.0)
    known = (real[:, 2:] > real[:, :2]).all(axis=1)
    a, b = real[known].astype(np.float32), mine[known].astype(np.float32)
    shared = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(axis=1)
    area, other = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b))
    overlaps[known] = shared / np.maximum(area + other - shared, _TINY_AREA)
    return overlaps


def _distances(real: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Return Euclidean distances, (N,); -1 where the true centre, (N, 2), is not positive or NaN."""
    distances = np.full(len(real), -1.0)
    known = (real > 0).all(axis=1)
    distances[known] = np.sqrt(((real[known] - mine[known]) ** 2).sum(axis=1))
    return distances
