"""Pictures of a test split: truth on the left, predictions on the right; the best and the worst images."""

from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from pycocotools import mask as coco_mask

from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage, Segmentation
from mec_transfer.datasets.objects.headers import load_shown
from mec_transfer.datasets.objects.polygons import measurable
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection.coco_ap import pairs

LEVELS = (0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
"""Scores from which on predictions may be drawn and counted here: the level with the best mean F1 is taken."""
_SIDE = 480
_VEIL = 0.3
"""How much of a mask's colour covers the photograph."""


@dataclasses.dataclass(frozen=True)
class _Scored:
    """An image with its predictions by falling score, and for each whether it is right (IoU 0.5, the right class)."""

    image: ObjectImage
    mine: list[dict[str, Any]]
    right: list[bool]

    def f1(self, level: float) -> float:
        kept = sum(item["score"] >= level for item in self.mine)
        return 2 * sum(self.right[:kept]) / max(kept + len(self.image.objects), 1)


def draw_best_and_worst(
    split: ObjectSplit, predictions: Sequence[dict[str, Any]], folder: Path, number: int = 3
) -> list[Path]:
    """Write best_N_NAME.png and worst_N_NAME.png, by F1 at IoU 0.5, boxes and masks; return their paths."""
    by_image: dict[int, list[dict[str, Any]]] = {}
    for item in predictions:
        if item["score"] >= LEVELS[-1]:
            by_image.setdefault(item["image_id"], []).append(item)
    scored = [_score(image, by_image.get(place, [])) for place, image in enumerate(split.images, start=1)]
    scored = [entry for entry in scored if entry.image.objects or entry.mine]
    level = max(LEVELS, key=lambda one: sum(entry.f1(one) for entry in scored))
    scored.sort(key=lambda entry: -entry.f1(level))  # stable: equals stay in the split's order
    number = min(number, len(scored) // 2)
    chosen = [("best", i, entry) for i, entry in enumerate(scored[:number], start=1)]
    chosen += [("worst", i, entry) for i, entry in enumerate(reversed(scored[len(scored) - number :]), start=1)]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, i, entry in chosen:
        paths.append(folder / f"{kind}_{i}_{entry.image.path.stem}.png")
        title = f"{kind} {i}: F1 {100 * entry.f1(level):.0f} %, scores from {100 * level:.0f} %"
        mine = [item for item in entry.mine if item["score"] >= level]
        _draw(entry.image, mine, split.classes, title).save(paths[-1])
    return paths


def _score(image: ObjectImage, mine: list[dict[str, Any]]) -> _Scored:
    mine = sorted(mine, key=lambda item: -item["score"])
    truth = np.array([thing.box for thing in image.objects], dtype=float).reshape(-1, 4)
    truth_labels = np.array([thing.class_index for thing in image.objects], dtype=int)
    labels = np.array([item["category_id"] - 1 for item in mine], dtype=int)
    matched = pairs(_corners(mine), labels, truth, truth_labels, 0.5)
    return _Scored(image, mine, [index >= 0 for index in matched])


def _corners(items: Sequence[dict[str, Any]]) -> np.ndarray:
    boxes = np.array([item["bbox"] for item in items], dtype=float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _draw(image: ObjectImage, mine: Sequence[dict[str, Any]], classes: tuple[str, ...], title: str) -> Image.Image:
    photo = load_shown(image.path)
    scale = _SIDE / max(photo.size)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)))
    truth = [(o.box, o.class_index, classes[o.class_index], _outline(o)) for o in image.objects]
    found = [
        (tuple(box), label, f"{classes[label]} {100 * item['score']:.0f}", item.get("segmentation"))
        for box, item in zip(_corners(mine), mine)
        for label in [item["category_id"] - 1]
    ]
    sheet = Image.new("RGB", (2 * photo.width + 6, photo.height + 18), "white")
    for left, head, things in ((0, f"{image.path.name}: truth", truth), (photo.width + 6, title, found)):
        part = photo.copy()
        for _, label, _, segmentation in things:
            if segmentation is not None:
                mask = Image.fromarray(255 * to_mask(segmentation, image)).resize(part.size)
                edge = ImageChops.subtract(mask, mask.filter(ImageFilter.MinFilter(3)))
                veil = ImageChops.lighter(mask.point(lambda value: round(_VEIL * value)), edge)
                part.paste(_colour(label, len(classes)), mask=veil)
        pen = ImageDraw.Draw(part)
        for box, label, text, _ in things:
            colour, corners = _colour(label, len(classes)), [value * scale for value in box]
            pen.rectangle(corners, outline=colour, width=2)
            at = (corners[0] + 3, corners[1] + 1)
            pen.rectangle(pen.textbbox(at, text), fill="white")
            pen.text(at, text, fill=colour)
        sheet.paste(part, (left, 18))
        ImageDraw.Draw(sheet).text((left + 3, 3), head, fill="black")
    return sheet


def _outline(thing: ObjectAnnotation) -> Segmentation | None:
    return None if thing.segmentation is None else measurable(thing.segmentation)


def to_mask(segmentation: Segmentation, image: ObjectImage) -> np.ndarray:
    """Return polygons or an RLE as (height, width) uint8, 1 inside."""
    if isinstance(segmentation, list) or isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, image.height, image.width)
    mask: np.ndarray = coco_mask.decode(segmentation)
    return mask.max(axis=2) if mask.ndim == 3 else mask


def _colour(label: int, classes: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label / max(classes, 1), 1.0, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)
