"""Pictures of a test split: truth on the left, predictions on the right; the best and the worst images."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from PIL import Image, ImageDraw

from mec_transfer.datasets.images import load_rgb
from mec_transfer.datasets.objects import ObjectImage, ObjectSplit
from mec_transfer.detection.coco_ap import pairs

CONFIDENT = 0.5
"""Score from which on a prediction is drawn and counted here."""
_SIDE = 480


def draw_best_and_worst(
    split: ObjectSplit, predictions: Sequence[dict[str, Any]], folder: Path, number: int = 3
) -> list[Path]:
    """Write best_N_NAME.png and worst_N_NAME.png by F1 at IoU 0.5 of confident predictions; return their paths."""
    by_image: dict[int, list[dict[str, Any]]] = {}
    for item in predictions:
        if item["score"] >= CONFIDENT:
            by_image.setdefault(item["image_id"], []).append(item)
    scored = []
    for place, image in enumerate(split.images, start=1):
        mine = sorted(by_image.get(place, []), key=lambda item: -item["score"])
        if image.objects or mine:
            scored.append((_f1(image, mine), place, image, mine))
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    number = min(number, len(scored) // 2)
    chosen = [("best", i, entry) for i, entry in enumerate(scored[:number], start=1)]
    chosen += [("worst", i, entry) for i, entry in enumerate(reversed(scored[len(scored) - number :]), start=1)]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, i, (f1, _, image, mine) in chosen:
        paths.append(folder / f"{kind}_{i}_{image.path.stem}.png")
        _draw(image, mine, split.classes, f"{kind} {i}: F1 {100 * f1:.0f} %").save(paths[-1])
    return paths


def _corners(items: Sequence[dict[str, Any]]) -> numpy.ndarray:
    boxes = numpy.array([item["bbox"] for item in items], dtype=float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _f1(image: ObjectImage, mine: Sequence[dict[str, Any]]) -> float:
    truth = numpy.array([thing.box for thing in image.objects], dtype=float).reshape(-1, 4)
    labels = numpy.array([item["category_id"] - 1 for item in mine], dtype=int)
    matched = pairs(_corners(mine), labels, truth, numpy.array([thing.class_index for thing in image.objects]), 0.5)
    right = sum(index >= 0 for index in matched)
    return 2 * right / (len(mine) + len(truth))


def _draw(image: ObjectImage, mine: Sequence[dict[str, Any]], classes: tuple[str, ...], title: str) -> Image.Image:
    photo = load_rgb(image.path)
    scale = _SIDE / max(photo.size)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)))
    truth = [(thing.box, thing.class_index, classes[thing.class_index]) for thing in image.objects]
    found = [
        (tuple(box), item["category_id"] - 1, f"{classes[item['category_id'] - 1]} {100 * item['score']:.0f}")
        for box, item in zip(_corners(mine), mine)
    ]
    sheet = Image.new("RGB", (2 * photo.width + 6, photo.height + 18), "white")
    for left, head, boxes in ((0, f"{image.path.name}: truth", truth), (photo.width + 6, title, found)):
        part = photo.copy()
        pen = ImageDraw.Draw(part)
        for box, label, text in boxes:
            colour = _colour(label, len(classes))
            corners = [value * scale for value in box]
            pen.rectangle(corners, outline=colour, width=2)
            pen.text((corners[0] + 3, corners[1] + 1), text, fill=colour)
        sheet.paste(part, (left, 18))
        ImageDraw.Draw(sheet).text((left + 3, 3), head, fill="black")
    return sheet


def _colour(label: int, classes: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label / max(classes, 1), 1.0, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)
