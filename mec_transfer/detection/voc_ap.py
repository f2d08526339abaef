"""VOC's average precision, as the official devkit and Detectron2's evaluator compute it.

Detections go through the devkit's text format, scores with three decimals and corners with one, counted from 1; boxes
are closed (a pixel has width 1). Difficult objects count neither as found nor as missed. Source: VOC devkit
VOCevaldet.m, D2 evaluation/pascal_voc_evaluation.py; `AP` is the mean over IoU thresholds 0.50, 0.55 ... 0.95.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mec_transfer.datasets.objects.splits import ObjectSplit

THRESHOLDS = tuple(range(50, 100, 5))
ELEVEN = np.arange(0, 1.1, 0.1)
"""The recalls of VOC 2007."""


def voc_metrics(split: ObjectSplit, predictions: Sequence[dict[str, Any]], eleven_points: bool) -> dict[str, float]:
    """Return AP, AP50 and AP75 in percent, and `AP/CLASS` and `AP50/CLASS` of each class that is to be found.

    Args:
        split: the truth.
        predictions: COCO results; `image_id` is the image's place in `split` from 1 on.
        eleven_points: VOC 2007's interpolation; else the area under the whole curve (from 2010 on).
    """
    per_class = {}
    for number, name in enumerate(split.classes):
        truth = class_truth(split, number)
        if any(not hard.all() for _, hard in truth):  # of difficult ones alone there is nothing to find
            mine = [item for item in predictions if item["category_id"] == number + 1]
            per_class[name] = [average_precision(truth, mine, t / 100, eleven_points) for t in THRESHOLDS]
    table = 100 * np.array(list(per_class.values()))
    metrics = {"AP": table.mean(), "AP50": table[:, 0].mean(), "AP75": table[:, THRESHOLDS.index(75)].mean()}
    metrics |= {f"AP/{name}": row.mean() for name, row in zip(per_class, table, strict=True)}
    metrics |= {f"AP50/{name}": row[0] for name, row in zip(per_class, table, strict=True)}
    return {name: float(value) for name, value in metrics.items()}


def class_truth(split: ObjectSplit, class_index: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each image's boxes of a class, (N, 4) as closed intervals counted from 1, and which are difficult."""
    return [_objects(image.objects, class_index) for image in split.images]


def _objects(objects: Any, class_index: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) as closed intervals counted from 1, and whether each is difficult."""
    mine = [thing for thing in objects if thing.class_index == class_index]
    boxes = np.array([thing.box for thing in mine], dtype=float).reshape(-1, 4)
    boxes[:, :2] += 1
    return boxes, np.array([thing.difficult or thing.crowd for thing in mine], dtype=bool)


def average_precision(
    truth: Sequence[tuple[np.ndarray, np.ndarray]],
    predictions: Sequence[dict[str, Any]],
    threshold: float,
    eleven_points: bool,
) -> float:
    """Return one class's average precision, 0 to 1, at one IoU threshold."""
    if not predictions:
        return 0.0
    _, right, left_out = match_class(truth, predictions, (threshold,))
    found, missed = right[0].cumsum(), (~(right[0] | left_out[0])).cumsum()
    positives = sum(int((~hard).sum()) for _, hard in truth)
    recall = found / max(positives, 1)
    precision = found / np.maximum(found + missed, np.finfo(float).eps)
    return _area(recall, precision, eleven_points)


def match_class(
    truth: Sequence[tuple[np.ndarray, np.ndarray]], predictions: Sequence[dict[str, Any]], thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match one class's predictions, best first, with the object that each overlaps most.

    Args:
        truth: each image's boxes, (N, 4), and whether each is difficult, (N,) bool.
        predictions: COCO results of this class.
        thresholds: of the IoU, T of them.

    Returns:
        The place of each one's image, (D,); whether it is right, (T, D) bool: the first on its object; and whether it
        is left out, (T, D) bool, being on a difficult one.
    """
    scores = np.array([round(item["score"], 3) for item in predictions])
    order = np.argsort(-scores, kind="stable")
    images = np.array([predictions[number]["image_id"] - 1 for number in order], dtype=np.int64)
    corners = np.array([[x + 1, y + 1, x + w, y + h] for x, y, w, h in (item["bbox"] for item in predictions)])
    corners = corners.reshape(-1, 4).round(1)
    taken = [np.zeros((len(thresholds), len(hard)), dtype=bool) for _, hard in truth]
    right, left_out = np.zeros((2, len(thresholds), len(order)), dtype=bool)
    for place, (image, number) in enumerate(zip(images, order, strict=True)):
        boxes, hard = truth[image]
        if not len(boxes):
            continue
        overlaps = _overlaps(corners[number], boxes)
        best = int(overlaps.argmax())
        within = overlaps[best] > np.asarray(thresholds)
        if hard[best]:
            left_out[:, place] = within
        else:
            right[:, place] = within & ~taken[image][:, best]
            taken[image][:, best] |= within
    return images, right, left_out


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = (high - low + 1).clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) + (box[2:] - box[:2] + 1).prod()
    return shared / (areas - shared)


def _area(recall: np.ndarray, precision: np.ndarray, eleven_points: bool) -> float:
    if eleven_points:
        reached = [precision[recall >= level] for level in ELEVEN]
        return float(sum(part.max() if part.size else 0.0 for part in reached) / 11)
    recall, precision = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * envelope[steps + 1]).sum())
