"""The test images of logistic regression and of SVMs, and their metrics on draws of them, without torch.

A draw says how often each image counts. The scores of the images do not change with it, nor does the choice of a
penalty or a cost, which is a part of the model here. So images are put in order once, and precision and recall are
ratios of cumulative sums of the counts. An image that is drawn twice stands twice in a row, and its first copy counts
at the precision of its last, which is never lower.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.arrays import Arrays, measure_saved
from mec_transfer.units import Units

Curve = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Average precision, (R,) in [0, 1], of truth (N,) bool, scores (N,) and counts (N, R); NaN where nothing is true."""
Ranking = tuple[np.ndarray, np.ndarray]
"""One class's labels (N,), 1, 0 or -1 for an image that does not count, and its scores (N,)."""


class OneClassUnits(Units):
    """Images of one class each: `top1`, `top5`, and `mean_class_top1`, the mean over the classes that were drawn."""

    kind = "images"

    def __init__(self, targets: np.ndarray, top: np.ndarray) -> None:
        """Take the true classes (N,), and the predicted ones (N, 1 or 5), best first."""
        hits = top == targets[:, None]
        self.count, self.truth = len(targets), _sha256(targets.astype("<i4"))
        self._hits = {"top1": hits[:, 0]} | ({"top5": hits.any(axis=1)} if hits.shape[1] == 5 else {})
        self._by_class = np.argsort(targets, kind="stable")
        self._first = np.flatnonzero(np.diff(targets[self._by_class], prepend=-1))

    def measure(self, metric: str, counts: np.ndarray) -> np.ndarray:
        """Count the hits, of all images or of each class."""
        if metric != "mean_class_top1":
            return 100.0 * (self._hits[metric] @ counts) / counts.sum(axis=0)
        right, present = (
            np.add.reduceat(drawn[self._by_class], self._first)
            for drawn in (counts * self._hits["top1"][:, None], counts)
        )
        return 100.0 * _mean_of_known(np.where(present > 0, right / np.maximum(present, 1), np.nan))


class PrecisionUnits(Units):
    """Images with any number of classes: means of average precisions over the rankings that a draw has truth in."""

    kind = "images"

    def __init__(self, count: int, truth: str, rankings: Mapping[str, Sequence[Ranking]], curve: Curve) -> None:
        """Take how many images there are, `truth` as in `Units`, and for each metric what it is the mean over."""
        self.count, self.truth = count, truth
        self._rankings, self._curve = rankings, curve

    def measure(self, metric: str, counts: np.ndarray) -> np.ndarray:
        """Average over the rankings."""
        found = []
        for labels, scores in self._rankings[metric]:
            known = labels != -1
            found.append(self._curve(labels[known] == 1, scores[known], counts[known]))
        return 100.0 * _mean_of_known(np.array(found))


def logistic_units(folder: Path) -> Units:
    """Return the images of a job of logistic regression. Raises UserError where its predictions cannot be read."""
    return measure_saved(folder, _of_logistic, ("targets", "classes"))


def svm_units(folder: Path) -> Units:
    """Return the images of a job of SVMs. Raises UserError where its predictions cannot be read."""
    return measure_saved(folder, _of_svm, ("labels", "scores", "classes", "images"))


def low_shot_units(folder: Path) -> Units:
    """Return the images of a job of low-shot SVMs. Raises UserError where its predictions cannot be read."""
    return measure_saved(folder, _of_low_shot, ("labels", "scores", "ks", "images"))


def eleven_points(truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return `logistic.average_precision` on each draw."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of those with one score
    # Between two that hold something true precision falls.
    ends = ends[np.diff(truth[order].cumsum()[ends], prepend=0) > 0]
    drawn = counts[order]
    seen = drawn.cumsum(axis=0, dtype=np.int32)[ends]
    found = (drawn * truth[order, None]).cumsum(axis=0, dtype=np.int32)[ends]
    if not len(ends):
        return np.full(counts.shape[1], np.nan)
    highest = _highest_from_here(found / np.maximum(seen, 1))
    recall, draws = found / np.maximum(found[-1], 1), np.arange(counts.shape[1])
    total = np.ones(counts.shape[1])  # recall 0 counts as precision 1
    for point in np.linspace(0, 1, 11)[1:]:
        place = np.minimum((recall < point).sum(axis=0), len(ends) - 1)
        total += highest[place, draws]
    return np.where(found[-1] > 0, total / 11, np.nan)


def area(truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return `multilabel.average_precision` on each draw."""
    order = np.argsort(scores, kind="stable")[::-1]
    drawn, hits = counts[order], np.flatnonzero(truth[order])
    if not len(hits):
        return np.full(counts.shape[1], np.nan)
    seen, mine = drawn.cumsum(axis=0, dtype=np.int32)[hits], drawn[hits]
    found = mine.cumsum(axis=0, dtype=np.int32)
    highest = _highest_from_here(found / np.maximum(seen, 1))
    return np.where(found[-1] > 0, (mine * highest).sum(axis=0) / np.maximum(found[-1], 1), np.nan)


def _of_logistic(saved: Arrays) -> Units:
    targets = saved["targets"]
    if targets.ndim == 1:
        return OneClassUnits(targets, saved["top"])
    scores, names = saved["scores"], saved["classes"].tolist()
    rankings = {f"AP11/{name}": [(targets[:, k].astype(np.int8), scores[:, k])] for k, name in enumerate(names)}
    return _precisions(targets, rankings | {"mAP11": _all(rankings)}, eleven_points)


def _of_svm(saved: Arrays) -> Units:
    labels, scores, names = saved["labels"], saved["scores"], saved["classes"].tolist()
    rankings = {f"AP/{name}": [(labels[:, k], scores[:, k])] for k, name in enumerate(names)}
    return _precisions(labels, rankings | {"mAP": _all(rankings)}, area, saved["images"])


def _of_low_shot(saved: Arrays) -> Units:
    labels = saved["labels"]
    rankings = {
        f"mAP_k{k}": [(labels[:, c], one[:, c]) for one in of_k for c in range(labels.shape[1])]
        for k, of_k in zip(saved["ks"].tolist(), saved["scores"], strict=True)
    }
    return _precisions(labels, rankings, area, saved["images"])


def _precisions(
    labels: np.ndarray, rankings: Mapping[str, Sequence[Ranking]], curve: Curve, images: np.ndarray | None = None
) -> PrecisionUnits:
    names = "" if images is None else "\n".join(images.tolist())
    return PrecisionUnits(len(labels), _sha256(labels.astype(np.int8), names), rankings, curve)


def _all(rankings: Mapping[str, Sequence[Ranking]]) -> list[Ranking]:
    return [ranking for own in rankings.values() for ranking in own]


def _sha256(array: np.ndarray, names: str = "") -> str:
    return hashlib.sha256(array.tobytes() + names.encode("utf-8", "surrogateescape")).hexdigest()


def _highest_from_here(precision: np.ndarray) -> np.ndarray:
    """Return the highest precision of each row and the later ones, (n, R)."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def _mean_of_known(table: np.ndarray) -> np.ndarray:
    """Return the mean of each column, (R,), without its NaNs; NaN where it has nothing else."""
    known = ~np.isnan(table)
    return np.where(known, table, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
