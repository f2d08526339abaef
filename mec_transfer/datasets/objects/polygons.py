"""Which of an object's polygons are used: COCO files hold some of fewer than three points."""

from __future__ import annotations

import numpy as np

from mec_transfer.datasets.objects.annotation import ObjectAnnotation, Segmentation
from mec_transfer.datasets.objects.columns import POLYGONS, ObjectColumns


def usable_polygons(polygons: list[list[float]]) -> list[list[float]]:
    """Return the polygons of three points or more: the rule of Detectron2's `load_coco_json`."""
    return [polygon for polygon in polygons if len(polygon) % 2 == 0 and len(polygon) >= 6]


def polygon_counts(objects: ObjectColumns) -> tuple[np.ndarray, np.ndarray]:
    """Return how many polygons of each object are usable and how many are not, both (M,) int64; 0 for an RLE."""
    lengths = objects.polygon_lengths()
    usable = np.concatenate([[0], np.cumsum((lengths % 2 == 0) & (lengths >= 6))])
    found = np.where(objects.kind == POLYGONS, np.diff(usable[objects.rings]), 0)
    return found, np.where(objects.kind == POLYGONS, np.diff(objects.rings), 0) - found


def has_outline(thing: ObjectAnnotation) -> bool:
    """Whether Detectron2 loads an object: it leaves one out that has polygons but none that is usable."""
    return not isinstance(thing.segmentation, list) or bool(usable_polygons(thing.segmentation))


def measurable(segmentation: Segmentation) -> Segmentation | None:
    """Return a segmentation as pycocotools takes it: as it is where it does, else what is usable of it, if anything.

    It raises where the first polygon has four numbers or fewer, and draws whatever others are there.
    """
    if isinstance(segmentation, dict) or len(segmentation[0]) > 4:
        return segmentation
    return usable_polygons(segmentation) or None
