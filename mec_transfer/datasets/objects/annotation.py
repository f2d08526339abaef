"""One object and one image with its objects, as plain values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

Segmentation = list[list[float]] | dict[str, Any]
"""Polygons (x, y, x, y, ...) or an RLE, as pycocotools takes them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectAnnotation:
    """One object."""

    class_index: int
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in absolute half-open pixel coordinates: VOC's xmin of 1 is x0 = 0, its xmax of W is x1 = W.
    As the file has it: it may reach out of the image, and have no width or height."""
    xywh: tuple[float, float, float, float] | None = None
    """COCO: the file's own x, y, width, height, from which `box` differs by rounding."""
    difficult: bool = False
    """VOC: not to be counted when measuring."""
    crowd: bool = False
    """COCO: a region of many; what is found in it does not count."""
    segmentation: Segmentation | None = None
    """As the file has it: a polygon may have fewer than three points."""
    area: float | None = None
    """The area of the segmentation in pixels; None stands for the box's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectImage:
    """An image and its objects."""

    path: Path
    image_id: str | int
    width: int
    """In pixels, of the picture turned by its EXIF orientation, which is the one that boxes are laid over."""
    height: int
    objects: tuple[ObjectAnnotation, ...]
