"""Images that may show several classes: average precision, and the scores that it can be recomputed from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.arrays import PREDICTIONS_NAME, Arrays, save_arrays
from mec_transfer.datasets.images.image_list import ImageList


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the precision-recall curve of one class, in [0, 1], as VOC counts it since 2010.

    At each recall stands the highest precision of that recall or any higher one. Images labelled -1 do not count. Of
    equal scores, which the published code leaves to an unstable sort, the later image comes first, on any machine.

    Args:
        labels: (N,), 1 for an image that shows the class, 0 for one that does not, -1 for one that does not count.
        scores: (N,) real numbers.

    Returns:
        The area; NaN where no image shows the class.
    """
    counted = labels != -1
    order = np.argsort(scores[counted], kind="stable")[::-1]
    hits = labels[counted][order] == 1
    if not hits.any():
        return float("nan")
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[hits].mean())  # each hit adds the same recall


def mean_average_precision(labels: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Return `mAP` and `AP/<class>` in percent, of labels and scores (N, C)."""
    of_class = [100.0 * average_precision(labels[:, number], scores[:, number]) for number in range(len(classes))]
    return {"mAP": float(np.mean(of_class)), **{f"AP/{name}": ap for name, ap in zip(classes, of_class, strict=True)}}


def save_scores(folder: Path, images: ImageList, scores: np.ndarray) -> dict[str, float]:
    """Write `folder`/predictions.npz atomically: names, labels and scores (N, C) float64; return what follows from it.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    arrays = {"scores": scores, "labels": images.labels.astype(np.int8)}
    names = {"classes": np.array(images.classes), "images": np.array(images.paths)}
    save_arrays(folder / PREDICTIONS_NAME, **arrays, **names)
    return measure_scores({**arrays, **names})


def measure_scores(saved: Arrays) -> dict[str, float]:
    """Return `mAP` and `AP/<class>` of what `save_scores` has saved. Raises ValueError where it does not fit."""
    labels, scores, classes = saved["labels"], saved["scores"], saved["classes"].tolist()
    if labels.shape != scores.shape or labels.shape != (len(saved["images"]), len(classes)):
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} do not fit {len(classes)} classes")
    return mean_average_precision(labels, scores, classes)
