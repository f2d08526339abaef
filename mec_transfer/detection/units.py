"""Average precision on draws of images, without matching anew: what a detection is matched with lies in its own image.

So the matches are made once. With the detections of a class in the order of their scores, a draw only changes how often
each counts. Precision and recall are ratios of cumulative sums of these counts, and are needed at the true positives
alone: between two of them precision falls, so that the highest precision from a recall on is always reached at one.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np

from mec_transfer.units import Units

_CELLS = 2**20
"""Detections times draws at once: 4 MB of counts, and several times that of what is computed from them."""
_THRESHOLDS = {"AP": tuple(range(10)), "AP50": (0,), "AP75": (5,), "APs": tuple(range(10))}
_THRESHOLDS |= dict.fromkeys(("APm", "APl"), _THRESHOLDS["APs"])
"""Which of the IoU thresholds 0.50, 0.55 ... 0.95 a metric is the mean over."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassMatches:
    """The detections of one class, best first, at each of ten IoU thresholds."""

    images: np.ndarray
    """(D,) the place of each detection's image."""
    right: np.ndarray
    """(10, D) bool: a true positive."""
    left_out: np.ndarray
    """(10, D) bool: counts neither as right nor as wrong."""
    positives: np.ndarray
    """(images,) how many objects are to be found in each image."""


class DetectionUnits(Units):
    """The images of a detection job, and what was found in each."""

    kind = "images"

    def __init__(self, count: int, truth: str, classes: Sequence[str], levels: np.ndarray | None) -> None:
        """Take how many images there are.

        Args:
            count: of the images.
            truth: as in `Units`.
            classes: their names.
            levels: the recalls at which precision is taken, rising; None: the area under the curve.
        """
        self.count, self.truth = count, truth
        self._classes, self._levels = list(classes), levels
        self._made: dict[tuple[str, str], list[ClassMatches]] = {}

    @abc.abstractmethod
    def match(self, what: str, area: str) -> list[ClassMatches]:
        """Match the detections of every class.

        Args:
            what: `bbox` or `segm`.
            area: `all`, or `s`, `m` or `l` for COCO's small, medium and large objects.

        Raises:
            KeyError: there is no such thing here.
        """

    def measure(self, metric: str, counts: np.ndarray) -> np.ndarray:
        """Take the mean over the classes that a draw has objects of, or one class's value."""
        name, _, label = metric.removeprefix("mask_").partition("/")
        what = "segm" if metric.startswith("mask_") else "bbox"
        if name not in _THRESHOLDS or (label and label not in self._classes):
            raise KeyError(metric)
        key = what, name[2:] if name in ("APs", "APm", "APl") else "all"
        if key not in self._made:
            self._made[key] = self.match(*key)
        matches = self._made[key]
        chosen = [matches[self._classes.index(label)]] if label else matches
        table = np.array([self._average(one, _THRESHOLDS[name], counts) for one in chosen])
        known = ~np.isnan(table)
        total = np.where(known, table, 0).sum(axis=0)
        return 100 * total / np.where(known.any(axis=0), known.sum(axis=0), np.nan)

    def _average(self, matches: ClassMatches, thresholds: Sequence[int], counts: np.ndarray) -> np.ndarray:
        """Return one class's average precision, 0 to 1, on each draw; NaN where there is nothing to find."""
        draws = counts.shape[1]
        at_once = max(1, _CELLS // max(1, len(matches.images)))
        parts = [
            _average_precision(matches, thresholds, counts[:, begin : begin + at_once], self._levels)
            for begin in range(0, draws, at_once)
        ]
        return np.concatenate(parts)


def _average_precision(
    matches: ClassMatches, thresholds: Sequence[int], counts: np.ndarray, levels: np.ndarray | None
) -> np.ndarray:
    positives = matches.positives @ counts
    seen = counts[matches.images].cumsum(axis=0, dtype=np.int32)  # (D, draws)
    total = np.zeros(counts.shape[1])
    for threshold in thresholds:
        hits = np.flatnonzero(matches.right[threshold])
        if not len(hits):
            continue
        found = counts[matches.images[hits]].cumsum(axis=0, dtype=np.int32)
        counted = seen[hits]
        if len(ignored := np.flatnonzero(matches.left_out[threshold])):
            before = np.searchsorted(ignored, hits)
            sums = counts[matches.images[ignored]].cumsum(axis=0, dtype=np.int32)
            counted = counted - np.where(before[:, None] > 0, sums[before - 1], 0)
        highest = np.maximum.accumulate((found / np.maximum(counted, 1))[::-1])[::-1]
        recall = found / np.maximum(positives, 1)
        if levels is not None:
            recall = np.searchsorted(levels, recall, side="right") / len(levels)  # the share of levels that is reached
        steps = np.diff(recall, axis=0, prepend=0)
        total += (steps * highest).sum(axis=0)
    return np.where(positives > 0, total / len(thresholds), np.nan)
