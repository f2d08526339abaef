"""What a test comes to, image by image, and the metrics that follow from it with NumPy alone.

An image's intersections, predicted pixels and true pixels of each class are kept, and the confusion matrix of all
images together. A class's IoU is the sum of its intersections over the sum of its unions, over all images. A class that
is neither in any mask nor predicted anywhere has none, and the means leave it out, as mmseg's `eval_metrics` does.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.arrays import PREDICTIONS_NAME, Arrays, measure_saved, save_arrays
from mec_transfer.units import Units

_NEEDED = ("names", "classes", "intersection", "predicted", "truth", "confusion")


def confusion_matrix(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """Return how many pixels of each true class were called what, (C, C) int64.

    Args:
        truth: (H, W) uint8; pixels of any number that is no class are left out.
        found: (H, W) uint8, below `classes`.
        classes: C.
    """
    counted = truth < classes
    pairs = truth[counted].astype(np.int64) * classes + found[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """Pixels of N test images by C classes."""

    names: tuple[str, ...]
    """The names of the images."""
    classes: tuple[str, ...]
    intersection: np.ndarray
    """(N, C) int64, as the next two: pixels that are of a class and were called so."""
    predicted: np.ndarray
    truth: np.ndarray
    confusion: np.ndarray
    """(C, C) int64 of all images together: true class, then predicted."""

    @classmethod
    def of(cls, names: Sequence[str], classes: Sequence[str], matrices: Iterable[np.ndarray]) -> Counts:
        """Sum up the confusion matrix, (C, C) int64, of each image; one is held at a time."""
        rows, confusion = [], np.zeros((len(classes), len(classes)), dtype=np.int64)
        for matrix in matrices:
            rows.append((np.diagonal(matrix).copy(), matrix.sum(axis=0), matrix.sum(axis=1)))
            confusion += matrix
        stack = np.array(rows, dtype=np.int64).reshape(-1, 3, len(classes))
        return cls(
            names=tuple(names),
            classes=tuple(classes),
            intersection=stack[:, 0],
            predicted=stack[:, 1],
            truth=stack[:, 2],
            confusion=confusion,
        )

    @classmethod
    def join(cls, shares: Sequence[Counts]) -> Counts:
        """Put the counts of W processes together, of which process r had every W-th image from the r-th on."""
        first, total = shares[0], sum(len(share.names) for share in shares)
        order = [(at % len(shares), at // len(shares)) for at in range(total)]
        arrays = {
            name: np.stack([getattr(shares[share], name)[row] for share, row in order])
            for name in ("intersection", "predicted", "truth")
        }
        names = tuple(shares[share].names[row] for share, row in order)
        confusion = np.sum([share.confusion for share in shares], axis=0)
        return cls(names=names, classes=first.classes, confusion=confusion, **arrays)

    def metrics(self) -> dict[str, float]:
        """Return mIoU, mAcc, aAcc and each class's IoU in percent; what there is nothing of is left out."""
        every = np.ones((len(self.names), 1), dtype=np.int32)
        found = {name: measure_draws(self, name, every)[0] for name in ("mIoU", "mAcc", "aAcc")}
        found |= {f"IoU/{name}": measure_draws(self, f"IoU/{name}", every)[0] for name in self.classes}
        return {name: float(value) for name, value in found.items() if np.isfinite(value)}

    def image_scores(self) -> np.ndarray:
        """Return each image's own mean IoU in percent, (N,), over the classes that are in it or were predicted there.

        NaN for an image without a labelled pixel.
        """
        union = self.predicted + self.truth - self.intersection
        return 100 * _mean_ratio(self.intersection.T, union.T)

    def save(self, folder: Path) -> None:
        """Write `folder`/predictions.npz atomically. Raises RunError where that cannot be."""
        arrays = {name: getattr(self, name) for name in _NEEDED[2:]}
        save_arrays(folder / PREDICTIONS_NAME, names=np.array(self.names), classes=np.array(self.classes), **arrays)


def read_counts(folder: Path) -> Counts:
    """Return what `Counts.save` left. Raises UserError where it is missing or damaged."""
    return measure_saved(folder, _whole_counts, _NEEDED)


def image_units(folder: Path) -> SegmentUnits:
    """Return each test image's part in the metrics of `folder`. Raises UserError as `read_counts` does."""
    return SegmentUnits(read_counts(folder))


class SegmentUnits(Units):
    """The test images of a job, and the pixels of each class in them."""

    kind = "images"

    def __init__(self, counts: Counts) -> None:
        self._counts, self.count = counts, len(counts.names)
        same = hashlib.sha256(repr((counts.names, counts.classes)).encode(errors="surrogateescape"))
        same.update(counts.truth.astype("<i8").tobytes())
        self.truth = same.hexdigest()

    def measure(self, metric: str, counts: np.ndarray) -> np.ndarray:
        """Sum the pixels of the drawn images up, and take the ratios."""
        return measure_draws(self._counts, metric, counts)


def measure_draws(counts: Counts, metric: str, draws: np.ndarray) -> np.ndarray:
    """Return a metric in percent, (R,), of draws of images, (N, R); NaN where there is nothing to measure.

    Raises:
        KeyError: there is no such metric.
    """
    times = draws.astype(np.float64)  # whole numbers below 2^53 are exact
    intersection, predicted, truth = (
        array.T.astype(np.float64) @ times for array in (counts.intersection, counts.predicted, counts.truth)
    )  # (C, R) each
    union = predicted + truth - intersection
    name, _, label = metric.partition("/")
    if metric == "aAcc":
        return 100 * _ratio(intersection.sum(axis=0), truth.sum(axis=0))
    if metric == "mIoU":
        return 100 * _mean_ratio(intersection, union)
    if metric == "mAcc":
        return 100 * _mean_ratio(intersection, truth)
    if name == "IoU" and label in counts.classes:
        at = counts.classes.index(label)
        return 100 * _ratio(intersection[at], union[at])
    raise KeyError(metric)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.where(whole > 0, whole, np.nan)


def _mean_ratio(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """Return the mean over the classes, (C, R) -> (R,), that there is anything of."""
    known = wholes > 0
    total = np.where(known, parts / np.where(known, wholes, 1), 0).sum(axis=0)
    return total / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def _whole_counts(saved: Arrays) -> Counts:
    names, classes = (tuple(saved[name].tolist()) for name in ("names", "classes"))
    arrays = {name: saved[name] for name in _NEEDED[2:]}
    shapes = {**dict.fromkeys(_NEEDED[2:5], (len(names), len(classes))), "confusion": (len(classes),) * 2}
    for name, shape in shapes.items():
        if arrays[name].shape != shape or not np.issubdtype(arrays[name].dtype, np.integer):
            raise ValueError(
                f"'{name}' is {arrays[name].dtype} of shape {arrays[name].shape}, not whole numbers {shape}"
            )
    counts = Counts(names=names, classes=classes, **arrays)
    sums = (np.diagonal(counts.confusion), counts.confusion.sum(axis=0), counts.confusion.sum(axis=1))
    for name, total in zip(_NEEDED[2:5], sums, strict=True):
        if not np.array_equal(arrays[name].sum(axis=0), total):
            raise ValueError(f"'{name}' and the confusion matrix do not have the same sums")
    return counts
