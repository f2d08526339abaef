"""DAVIS' measures of a mask: region similarity J and contour accuracy F, and what a video's values come to.

By the convention of davisvideochallenge/davis2017-evaluation, semi-supervised. J is intersection over union, 1 where
both masks are empty. F is the F-measure of the contours: a pixel of one matches where the other comes within a
disk of ceil(0.008 x diagonal) pixels around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_TOLERANCE = 0.008
_BINS = 4
_HARDLY_MORE = 1e-6  # of a pixel: less than the next distance there can be, for any radius below half a million


def region_similarity(truth: np.ndarray, found: np.ndarray) -> float:
    """Return J, 0 to 1, of two masks, (H, W) bool."""
    union = int((truth | found).sum())
    return int((truth & found).sum()) / union if union else 1.0


def contour_accuracy(truth: np.ndarray, found: np.ndarray) -> float:
    """Return F, 0 to 1, of two masks, (H, W) bool."""
    radius = math.ceil(_TOLERANCE * math.hypot(*truth.shape))
    true_pixels, found_pixels = _contour(truth), _contour(found)
    if not len(true_pixels) or not len(found_pixels):
        # One without a contour is fully precise (or recalled) and not recalled (or precise) at all.
        return float(len(true_pixels) == len(found_pixels))
    precision = _matched(found_pixels, true_pixels, radius)
    recall = _matched(true_pixels, found_pixels, radius)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def mean_recall_decay(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of a video's J or F, the share of frames above 0.5, and how much it falls.

    The fall is the mean of the first quarter less the mean of the last. Quarters share their bounding frames.

    Args:
        values: one a measured frame, at least one.
    """
    array = np.asarray(values, dtype=np.float64)
    # The published code keeps the bounds in 8 bits, which goes wrong from the 257th frame on; DAVIS has fewer.
    bounds = (np.round(np.linspace(1, len(array), _BINS + 1) + 1e-10) - 1).astype(int)
    first, last = array[bounds[0] : bounds[1] + 1], array[bounds[-2] : bounds[-1] + 1]
    return float(array.mean()), float((array > 0.5).mean()), float(first.mean() - last.mean())


def _contour(mask: np.ndarray) -> np.ndarray:
    """Return the contour's pixels, (N, 2): those that differ from their neighbour right, below or both.

    On the last row and column only the neighbour within the image counts; what touches the image's edge has no
    contour there.
    """
    contour = np.zeros_like(mask)
    contour[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    contour[:-1] |= mask[:-1] ^ mask[1:]
    contour[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return np.argwhere(contour)


def _matched(pixels: np.ndarray, others: np.ndarray, radius: int) -> float:
    """Return the share of `pixels` that have one of `others` within `radius`."""
    from scipy.spatial import cKDTree

    distance = cKDTree(others).query(pixels, distance_upper_bound=radius + _HARDLY_MORE)[0]
    return float(np.isfinite(distance).mean())
