"""One-pass evaluation of single boxes: success, precision and normalised precision, all by sequence, then averaged.

Success and precision are OTB's, as the pysot toolkit counts them (pysot/utils/statistics.py): over all frames, the
first one included. Of a frame whose truth is not positive throughout (the target is not there, or reaches over the left
or the upper border) success is none; where the true centre is not positive, precision takes the distance for -1: a hit.
"""

from __future__ import annotations

import numpy as np

METRICS = ("AUC", "precision", "norm_precision")
"""Percentages: the area under the success curve; the share of frames whose centre is at most 20 pixels off; and the
area under that share's curve from 0 to 0.5 where the true box's width and height are the unit (TrackingNet, Müller et
al., ECCV 2018; TrackingNet-devkit metrics.py, without its rounding of boxes to pixels)."""

_OVERLAPS = np.arange(21) * 0.05
_PIXELS = 20
_SIZES = np.linspace(0, 0.5, 21)
_TINY = 1e-16


def measure_boxes(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Return the metrics of one sequence.

    Args:
        truth: (frames, 4) float64: x, y, w, h in pixels counted from 1; NaN where the target is not there.
        found: like `truth`, without NaN.

    Returns:
        Metric to a percentage. Overlaps must exceed 21 thresholds from 0 to 1, so a perfect AUC is 100 * 20 / 21.
    """
    success = [float((_overlap(truth, found) > threshold).mean()) for threshold in _OVERLAPS]
    distances = _distance(_centre(truth), _centre(found))
    sizes = truth[:, 2:] + _TINY
    relative = _distance(_centre(truth) / sizes, _centre(found) / sizes)
    curve = np.array([(relative <= threshold).mean() for threshold in _SIZES])
    area = float((curve[1:] + curve[:-1]).sum() / 2 / (len(curve) - 1))
    values = (float(np.mean(success)), float((distances <= _PIXELS).mean()), area)
    return {name: 100 * value for name, value in zip(METRICS, values, strict=True)}


def _overlap(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return intersection over union, (frames,); -1 where there is no positive truth."""
    overlap = np.full(len(truth), -1.0)
    known = (truth > 0).all(axis=1)
    a, b = truth[known], found[known]
    corner = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = (corner - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(axis=1)
    overlap[known] = (shared / (a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - shared)).clip(0, 1)
    return overlap


def _centre(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, :2] + (boxes[:, 2:] - 1) / 2


def _distance(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return Euclidean distances, (frames,); -1 where there is no positive truth."""
    distance = np.full(len(truth), -1.0)
    known = (truth > 0).all(axis=1)
    distance[known] = np.sqrt(((truth[known] - found[known]) ** 2).sum(axis=1))
    return distance
