"""Boxes that are written in another convention than the layout's: every one is sound alone, all of them are wrong."""

from __future__ import annotations

from mec_transfer.datasets.objects import ObjectSplit

_ENOUGH = 3
"""Boxes that must reach out of their images before COCO's are taken for corners."""


def convention_problem(split: ObjectSplit) -> str | None:
    """Say what the boxes of a split are, where they are no pixels in the layout's own form; None for sound ones."""
    boxes = [thing.box for image in split.images for thing in image.objects]
    if boxes and all(max(x1, y1) <= 1 for _, _, x1, y1 in boxes):
        return "no box reaches beyond the first pixel: boxes are needed in pixels, not as fractions of the image"
    if _holds_corners(split):
        return (
            "boxes read as corners (x0, y0, x1, y1) all lie in their images, as COCO's (x, y, width, height) many "
            "reach out; write widths and heights"
        )
    return None


def _holds_corners(split: ObjectSplit) -> bool:
    """Whether half of COCO's boxes or more reach out of their images, and none does that is read as corners."""
    out = total = 0
    for image in split.images:
        for x, y, width, height in (thing.xywh for thing in image.objects if thing.xywh is not None):
            if width <= x or height <= y or width > image.width + 1 or height > image.height + 1:
                return False
            out += x + width > image.width + 1 or y + height > image.height + 1
            total += 1
    return out >= _ENOUGH and 2 * out >= total
