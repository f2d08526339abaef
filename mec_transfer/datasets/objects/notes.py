"""What of the annotations a detector is not trained on, by the rules of Detectron2's loaders, and how much that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mec_transfer.datasets.objects.columns import POLYGONS
from mec_transfer.datasets.objects.polygons import polygon_counts
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.objects.table import ObjectTable

_EMPTY = 1e-5
"""Pixels of width and height up to which Detectron2's `filter_empty_instances` drops an object."""
_BORDER = 1.0
"""Pixels by which published boxes reach out: COCO's are rounded, and a VOC corner may be counted from 0."""
_NOTES = {
    "flat": ("object", "objects", "without width or height", "not trained on"),
    "bare": ("object", "objects", "without a polygon of three points", "not trained on"),
    "short": ("polygon", "polygons", "of under three points or an odd number of values", "left out"),
    "out": ("box", "boxes", "beyond the border of the image", "clipped in training"),
}
"""One, several, which, and what Detectron2 does with them."""


def training_notes(split: ObjectSplit) -> list[str]:
    """Say, a line each, how many of a split's objects are dropped or clipped in training, with the first such image."""
    lines = []
    for kind, counts in _untrained(split.table).items():
        if not (total := int(counts.sum())):
            continue
        one, several, which, fate = _NOTES[kind]
        subject, verb = (one, "is") if total == 1 else (several, "are")
        what = f"{total} {subject} {which} {verb} {fate}, as Detectron2 does"
        lines.append(f"{split.name}: {what}; the first in {_first_name(split.table, counts)}")
    return lines


def mask_notes(split: ObjectSplit) -> list[str]:
    """Say how many of a split's objects have no mask that can be measured, though they have polygons."""
    objects = split.table.objects
    usable, unusable = polygon_counts(objects)
    bare = (objects.kind == POLYGONS) & (usable == 0) & (unusable > 0)
    # pycocotools draws whatever there is where the first polygon has more than four numbers: see `measurable`
    bare[bare] = objects.polygon_lengths()[objects.rings[:-1][bare]] <= 4
    if not bare.any():
        return []
    what = "without a polygon of three points are left out of the truth of the masks"
    return [f"{split.name}: objects {what}: {bare.sum()}, the first in {_first_name(split.table, bare)}"]


def _first_name(table: ObjectTable, found: np.ndarray) -> str:
    """Return the file name of the image of the first object where `found`, (M,), is not 0."""
    return Path(table.paths[table.image_of_object()[np.flatnonzero(found)[0]]]).name


def _untrained(table: ObjectTable) -> dict[str, np.ndarray]:
    """Return how many things of each kind an object has, (M,) int64, in the order of `_NOTES`."""
    objects = table.objects
    usable, unusable = polygon_counts(objects)
    bare = (objects.kind == POLYGONS) & (usable == 0)
    learnt = ~bare & ~objects.crowd  # crowds are not trained on in any case
    width, height = table.sizes[table.image_of_object()].T
    x0, y0, x1, y1 = objects.box.T
    inside = np.minimum(np.minimum(x1, width) - np.maximum(x0, 0), np.minimum(y1, height) - np.maximum(y0, 0))
    flat = learnt & (inside <= _EMPTY)
    beyond = np.max([-x0, -y0, x1 - width, y1 - height], axis=0)
    return {"flat": flat, "bare": bare, "short": learnt * unusable, "out": learnt & ~flat & (beyond > _BORDER)}
