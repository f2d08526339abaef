"""What of the annotations a detector is not trained on, by the rules of Detectron2's loaders, and how much that is."""

from __future__ import annotations

from mec_transfer.datasets.objects import ObjectAnnotation, ObjectImage, ObjectSplit

_EMPTY = 1e-5
"""Pixels of width and height up to which Detectron2's `filter_empty_instances` drops an object."""
_BORDER = 1.0
"""Pixels by which published boxes reach out: COCO's are rounded, and a VOC corner may be counted from 0."""


def usable_polygons(polygons: list[list[float]]) -> list[list[float]]:
    """Return the polygons of three points or more: the rule of Detectron2's `load_coco_json`."""
    return [polygon for polygon in polygons if len(polygon) % 2 == 0 and len(polygon) >= 6]


def has_outline(thing: ObjectAnnotation) -> bool:
    """Whether Detectron2 loads an object: it leaves one out that has polygons but none that is usable."""
    return not isinstance(thing.segmentation, list) or bool(usable_polygons(thing.segmentation))


def training_notes(split: ObjectSplit) -> list[str]:
    """Say, a line each, what of a split's objects is dropped or clipped in training, with the first image of it."""
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for image in split.images:
        for thing in image.objects:
            for what, count in _of_object(thing, image).items():
                first.setdefault(what, image.path.name)
                counts[what] = counts.get(what, 0) + count
    return [f"{split.name}: {number} {what} (the first in {first[what]})" for what, number in sorted(counts.items())]


def _of_object(thing: ObjectAnnotation, image: ObjectImage) -> dict[str, int]:
    found: dict[str, int] = {}
    if not has_outline(thing):
        return {"objects without a polygon of three points are not trained on, as Detectron2 does": 1}
    if thing.crowd:
        return {}
    if isinstance(thing.segmentation, list) and (
        less := len(thing.segmentation) - len(usable_polygons(thing.segmentation))
    ):
        found["polygons of fewer than three points, or an odd number of values, are left out"] = less
    x0, y0, x1, y1 = thing.box
    inside = min(x1, image.width) - max(x0, 0.0), min(y1, image.height) - max(y0, 0.0)
    if min(inside) <= _EMPTY:
        found["objects without width or height are not trained on, as Detectron2 does"] = 1
    elif max(-x0, -y0, x1 - image.width, y1 - image.height) > _BORDER:
        found["boxes reach out of their image and are clipped in training, as Detectron2 does"] = 1
    return found
