"""The matches of COCO's evaluator, image by image and class by class, by its rules (pycocotools/cocoeval.py).

In an image the 100 best detections of a class choose in the order of their scores: each takes the free object that it
overlaps most, from the threshold on, and of equals the last. One that is to be left out (a crowd, or of another size)
is chosen only where no other is within reach; a crowd may be chosen often. The overlap with a crowd is the share of the
detection that lies in it. Detections that choose what is left out, or nothing while their own size is another, are left
out.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mec_transfer.datasets.objects.coco_items import to_coco_json
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection.units import ClassMatches, DetectionUnits

_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_LEVELS = np.linspace(0, 1, 101)
_BEST = 100
_AREAS = {"all": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}
"""Areas of objects, in pixels; the bounds belong to both sides."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pair:
    """The objects and the detections of a class in an image."""

    overlaps: np.ndarray
    """(D, G)"""
    areas: np.ndarray
    """(G,) of the objects."""
    crowd: np.ndarray
    """(G,) bool."""
    places: slice
    """Where the detections are among those of all images."""


class CocoUnits(DetectionUnits):
    """Measures as COCO does, boxes or masks."""

    def __init__(self, split: ObjectSplit, predictions: Sequence[dict[str, Any]], truth: str) -> None:
        super().__init__(len(split.images), truth, split.classes, _LEVELS)
        self._split, self._predictions = split, predictions

    def match(self, what: str, area: str) -> list[ClassMatches]:
        """Match boxes or masks of every class, with the objects of an area."""
        found = _Detections.read(self._predictions, what)
        pairs, objects = _pairs(self._split, found, what)
        low, high = _AREAS[area]
        other_size = (found.areas < low) | (found.areas > high)
        taken, left_out = np.zeros((2, len(_THRESHOLDS), len(found.images)), dtype=bool)
        for pair in pairs:
            ignored = pair.crowd | (pair.areas < low) | (pair.areas > high)
            taken[:, pair.places], left_out[:, pair.places] = _match(pair.overlaps, pair.crowd, ignored)
        left_out |= ~taken & other_size
        matches = []
        for label in range(1, len(self._split.classes) + 1):
            mine = np.flatnonzero(found.labels == label)
            mine = mine[np.argsort(-found.scores[mine], kind="stable")]
            counted = [place for place, size, crowd in objects[label] if low <= size <= high and not crowd]
            matches.append(
                ClassMatches(
                    images=found.images[mine],
                    right=(taken & ~left_out)[:, mine],
                    left_out=left_out[:, mine],
                    positives=np.bincount(np.array(counted, dtype=np.int64), minlength=self.count),
                )
            )
        return matches


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Detections:
    """The detections that count, by class, then by image, then by falling score."""

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    shapes: Any
    """(D, 4) boxes as x, y, w, h; or a list of RLEs."""

    @classmethod
    def read(cls, predictions: Sequence[dict[str, Any]], what: str) -> _Detections:
        images = np.array([item["image_id"] - 1 for item in predictions], dtype=np.int64)
        labels = np.array([item["category_id"] for item in predictions], dtype=np.int64)
        scores = np.array([item["score"] for item in predictions], dtype=np.float64)
        order = np.lexsort((-scores, images, labels))
        first = np.ones(len(order), dtype=bool)  # of a class in an image
        first[1:] = (np.diff(images[order]) != 0) | (np.diff(labels[order]) != 0)
        starts = np.flatnonzero(first)
        rank = np.arange(len(order)) - starts[first.cumsum() - 1] if len(order) else order
        order = order[rank < _BEST]
        shapes: Any
        if what == "segm":
            from pycocotools import mask as coco_mask

            shapes = [predictions[number]["segmentation"] for number in order]
            # One by one: of a list of more than 255 it fails with NumPy 2.
            areas = np.array([coco_mask.area(shape) for shape in shapes], dtype=np.float64)
        else:
            shapes = np.array([predictions[number]["bbox"] for number in order], dtype=np.float64).reshape(-1, 4)
            areas = shapes[:, 2] * shapes[:, 3]
        return cls(images=images[order], labels=labels[order], scores=scores[order], areas=areas, shapes=shapes)


def _pairs(
    split: ObjectSplit, found: _Detections, what: str
) -> tuple[list[_Pair], dict[int, list[tuple[int, float, bool]]]]:
    """Return the pairs of objects and detections, and of each class the image, area and crowd of every object."""
    places = found.labels * len(split.images) + found.images  # rising
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    objects: dict[int, list[tuple[int, float, bool]]] = collections.defaultdict(list)
    for item in to_coco_json(split, masks=what == "segm")["annotations"]:
        if what == "segm" and "segmentation" not in item:
            continue
        groups.setdefault((item["category_id"], item["image_id"] - 1), []).append(item)
        objects[item["category_id"]].append((item["image_id"] - 1, item["area"], bool(item["iscrowd"])))
    pairs = []
    for (label, image), items in groups.items():
        key = label * len(split.images) + image
        begin, end = np.searchsorted(places, [key, key + 1])
        if begin < end:
            crowd = np.array([item["iscrowd"] for item in items], dtype=bool)
            size = split.images[image].height, split.images[image].width
            overlaps = _overlaps(found.shapes[begin:end], items, crowd, size if what == "segm" else None)
            areas = np.array([item["area"] for item in items], dtype=np.float64)
            pairs.append(_Pair(overlaps=overlaps, areas=areas, crowd=crowd, places=slice(begin, end)))
    return pairs, objects


def _overlaps(
    shapes: Any, items: Sequence[dict[str, Any]], crowd: np.ndarray, size: tuple[int, int] | None
) -> np.ndarray:
    """Return the overlaps, (D, G), of detections with objects: of masks where `size` is the image's, else of boxes."""
    if size:
        from pycocotools import mask as coco_mask

        masks = [_rle(item["segmentation"], size) for item in items]
        return np.asarray(coco_mask.iou(shapes, masks, crowd.astype(np.uint8).tolist()))
    boxes = np.array([item["bbox"] for item in items], dtype=np.float64)
    low = np.maximum(shapes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(shapes[:, None, :2] + shapes[:, None, 2:], boxes[None, :, :2] + boxes[None, :, 2:])
    sides = high - low
    shared = np.where((sides > 0).all(axis=2), sides[..., 0] * sides[..., 1], 0)
    own = (shapes[:, 2] * shapes[:, 3])[:, None]
    union = np.where(crowd[None], own, own + (boxes[:, 2] * boxes[:, 3])[None] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _rle(segmentation: Any, size: tuple[int, int]) -> Any:
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    return coco_mask.frPyObjects(segmentation, *size) if isinstance(segmentation["counts"], list) else segmentation


def _match(overlaps: np.ndarray, crowd: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which detections chose an object, and which one that is left out, both (10, D) bool.

    Args:
        overlaps: (D, G), the detections best first.
        crowd: (G,) bool.
        ignored: (G,) bool: not to be found.
    """
    chose, wrong = np.zeros((2, len(_THRESHOLDS), len(overlaps)), dtype=bool)
    free = np.ones((len(_THRESHOLDS), len(crowd)), dtype=bool)
    limits = np.minimum(_THRESHOLDS, 1 - 1e-10)[:, None]
    rows = np.arange(len(_THRESHOLDS))
    last = len(crowd) - 1
    for number in np.flatnonzero(overlaps.max(axis=1) >= limits[0]):
        own = overlaps[number]
        within = (own >= limits) & free
        better = within & ~ignored
        # One to be found comes before any that is left out, however much that overlaps.
        value = np.where(better | (within & ~better.any(axis=1, keepdims=True)), own, -1)
        best = last - value[:, ::-1].argmax(axis=1)  # of equals the last
        there = within.any(axis=1)
        chose[:, number], wrong[:, number] = there, there & ignored[best]
        free[rows[there], best[there]] = crowd[best[there]]
    return chose, wrong
