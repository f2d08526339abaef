"""What of the annotations a detector is not trained on, by the rules of Detectron2's loaders, and how much that is."""

from __future__ import annotations

from collections import Counter

from mec_transfer.datasets.objects import ObjectAnnotation, ObjectImage, ObjectSplit
from mec_transfer.datasets.polygons import has_outline, measurable, usable_polygons

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
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for image in split.images:
        for thing in image.objects:
            for kind, count in _of_object(thing, image).items():
                counts[kind] += count
                first.setdefault(kind, image.path.name)
    lines = []
    for kind in (kind for kind in _NOTES if counts[kind]):
        one, several, which, fate = _NOTES[kind]
        subject, verb = (one, "is") if counts[kind] == 1 else (several, "are")
        what = f"{counts[kind]} {subject} {which} {verb} {fate}, as Detectron2 does"
        lines.append(f"{split.name}: {what}; the first in {first[kind]}")
    return lines


def mask_notes(split: ObjectSplit) -> list[str]:
    """Say how many of a split's objects have no mask that can be measured, though they have polygons."""
    names = [
        image.path.name
        for image in split.images
        for thing in image.objects
        if thing.segmentation is not None and measurable(thing.segmentation) is None
    ]
    what = "without a polygon of three points are left out of the truth of the masks"
    return [f"{split.name}: objects {what}: {len(names)}, the first in {names[0]}"] if names else []


def _of_object(thing: ObjectAnnotation, image: ObjectImage) -> dict[str, int]:
    if not has_outline(thing):
        return {"bare": 1}
    if thing.crowd:  # not trained on in any case
        return {}
    found = {}
    if isinstance(thing.segmentation, list):
        found["short"] = len(thing.segmentation) - len(usable_polygons(thing.segmentation))
    x0, y0, x1, y1 = thing.box
    inside = min(x1, image.width) - max(x0, 0.0), min(y1, image.height) - max(y0, 0.0)
    if min(inside) <= _EMPTY:
        found["flat"] = 1
    elif max(-x0, -y0, x1 - image.width, y1 - image.height) > _BORDER:
        found["out"] = 1
    return {kind: count for kind, count in found.items() if count}
