"""Boxes that are written in another convention than the layout's: every one is sound alone, all of them are wrong."""

from __future__ import annotations

import numpy as np

from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.objects.table import ObjectTable

_ENOUGH = 3
"""Boxes that must reach out of their images before COCO's are taken for corners."""


def convention_problem(split: ObjectSplit) -> str | None:
    """Say what the boxes of a split are, where they are no pixels in the layout's own form; None for sound ones."""
    objects = split.table.objects
    if len(objects) and objects.box[:, 2:].max() <= 1:
        return "no box reaches beyond the first pixel: boxes are needed in pixels, not as fractions of the image"
    if _holds_corners(split.table):
        return (
            "boxes read as corners (x0, y0, x1, y1) all lie in their images, as COCO's (x, y, width, height) many "
            "reach out; write widths and heights"
        )
    return None


def _holds_corners(table: ObjectTable) -> bool:
    """Whether half of COCO's boxes or more reach out of their images, and none does that is read as corners."""
    image_width, image_height = table.sizes[table.image_of_object()].T
    x, y, width, height = table.objects.xywh.T  # NaN, of which nothing is true, where the layout is another
    if ((width <= x) | (height <= y) | (width > image_width + 1) | (height > image_height + 1)).any():
        return False
    out = np.count_nonzero((x + width > image_width + 1) | (y + height > image_height + 1))
    return bool(out >= _ENOUGH and 2 * out >= np.count_nonzero(x == x))
