"""COCO's average precision of boxes and masks, by faster-coco-eval where it is installed, else by pycocotools."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from mec_transfer.datasets.objects.coco_items import to_coco_json
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection.sufficiency import is_measured

_STATS = {"AP": 0, "AP50": 1, "AP75": 2, "APs": 3, "APm": 4, "APl": 5}


def coco_metrics(
    split: ObjectSplit, predictions: Sequence[dict[str, Any]], masks: bool, backend: str | None = None
) -> dict[str, float]:
    """Return AP, AP50, AP75, APs, APm, APl and `AP/CLASS` in percent; of masks under `mask_AP` and so on as well.

    A figure that has no object to be measured on is left out.

    Args:
        split: the truth.
        predictions: COCO results; `image_id` is the image's place in `split` from 1 on.
        masks: whether to measure the predictions' segmentations too.
        backend: `faster` or `pycocotools`, which give the same numbers; None: faster where it is installed.
    """
    backend = backend or ("faster" if importlib.util.find_spec("faster_coco_eval") else "pycocotools")
    metrics = _measure(split, predictions, "bbox", backend)
    if masks:
        metrics |= {f"mask_{name}": value for name, value in _measure(split, predictions, "segm", backend).items()}
    return metrics


def _measure(split: ObjectSplit, predictions: Sequence[dict[str, Any]], kind: str, backend: str) -> dict[str, float]:
    if not predictions:
        there = {thing.class_index for image in split.images for thing in image.objects if is_measured(thing)}
        names = ["AP", "AP50", "AP75"] + [f"AP/{name}" for i, name in enumerate(split.classes) if i in there]
        return dict.fromkeys(names, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # both print their progress
        evaluation = _evaluation(split, predictions, kind, backend)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = {name: 100 * float(evaluation.stats[place]) for name, place in _STATS.items()}
    precision = evaluation.eval["precision"]  # (thresholds, recalls, classes, areas, limits); -1: nothing to measure
    for number, name in enumerate(split.classes):
        values = precision[:, :, number, 0, -1]
        values = values[values > -1]
        metrics[f"AP/{name}"] = 100 * float(values.mean()) if values.size else -100.0
    return {name: value for name, value in metrics.items() if value >= 0}


def _evaluation(split: ObjectSplit, predictions: Sequence[dict[str, Any]], kind: str, backend: str) -> Any:
    truth, found = to_coco_json(split, masks=kind == "segm"), copy.deepcopy(list(predictions))
    if kind == "segm":
        for item in found:  # its area is then the mask's, not the box's
            item.pop("bbox")
    if backend == "faster":
        from faster_coco_eval import COCO, COCOeval_faster

        loaded = COCO(truth)
        return COCOeval_faster(loaded, loaded.loadRes(found), kind, print_function=_quiet)
    from pycocotools.coco import COCO as PlainCOCO
    from pycocotools.cocoeval import COCOeval

    loaded = PlainCOCO()
    loaded.dataset = truth
    loaded.createIndex()
    return COCOeval(loaded, loaded.loadRes(found), kind)


def _quiet(*words: object, **_: object) -> None:
    """Both evaluators print tables; the record has the numbers."""


def pairs(
    boxes: np.ndarray, labels: np.ndarray, truth: np.ndarray, truth_labels: np.ndarray, threshold: float
) -> list[int]:
    """Match predictions, best first, with truth of their class: the truth's index for each, -1 for none.

    Args:
        boxes: (N, 4) x0, y0, x1, y1, by falling score.
        labels: (N,) of the predictions.
        truth: (M, 4).
        truth_labels: (M,).
        threshold: of the IoU.
    """
    free = np.ones(len(truth), dtype=bool)
    matched = []
    for box, label in zip(boxes, labels, strict=True):
        low, high = np.maximum(truth[:, :2], box[:2]), np.minimum(truth[:, 2:], box[2:])
        shared = (high - low).clip(min=0).prod(axis=1)
        union = (truth[:, 2:] - truth[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - shared
        overlap = np.where(free & (truth_labels == label), shared / np.maximum(union, 1e-9), 0)
        best = int(overlap.argmax()) if len(overlap) else -1
        matched.append(best if best >= 0 and overlap[best] >= threshold else -1)
        if matched[-1] >= 0:
            free[best] = False
    return matched
