"""Pictures of test images: the photo, the truth, what was predicted, and which colour is which class."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mec_transfer.common.files import atomic_writer
from mec_transfer.datasets.segments.split import VOID, SegmentSplit
from mec_transfer.segmentation.counts import Counts

_SIDE, _GAP, _LINE = 360, 6, 18
_VEIL = 0.6
"""How much of a class's colour covers the photo."""
_GOLDEN = 0.618034


def draw_examples(
    split: SegmentSplit, counts: Counts, predict: Callable[[int], np.ndarray], folder: Path, number: int = 2
) -> list[Path]:
    """Write best_N_NAME.png, median_N_NAME.png and worst_N_NAME.png, by the image's own mIoU; return their paths.

    Args:
        split: the test images.
        counts: of each of them.
        predict: gives the labels, (H, W) uint8, of the image at a place.
        folder: for the files.
        number: of each kind, where there are enough.
    """
    scores = counts.image_scores()
    order = [int(at) for at in np.argsort(-scores, kind="stable") if np.isfinite(scores[at])]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, places in _choose(order, number).items():
        for rank, at in enumerate(places, start=1):
            image = split.images[at]
            path = folder / f"{kind}_{rank}_{image.stem}.png"
            sheet = draw(*split.load(at), predict(at), split.classes, f"{image.name}, {kind}: mIoU {scores[at]:.1f} %")
            with atomic_writer(path) as handle:
                sheet.save(handle, "PNG")
            paths.append(path)
    return paths


def _choose(order: list[int], number: int) -> dict[str, list[int]]:
    """Pick from the places of images, best first, so that none is picked twice."""
    number = min(number, max(len(order) // 3, 1))
    middle = max((len(order) - number) // 2, number)
    return {
        "best": order[:number],
        "median": order[middle : middle + number] if len(order) > 2 * number else [],
        "worst": order[: -number - 1 : -1] if len(order) > number else [],
    }


def draw(pixels: np.ndarray, truth: np.ndarray, found: np.ndarray, classes: Sequence[str], title: str) -> Image.Image:
    """Return a sheet: photo, truth and prediction beside each other under a line each, and the colours below.

    Args:
        pixels: (H, W, 3) uint8.
        truth: (H, W) uint8; VOID is white.
        found: (H, W) uint8.
        classes: their names.
        title: for the photo.
    """
    photo = Image.fromarray(pixels)
    scale = _SIDE / max(photo.size)
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    photo = photo.resize(size, Image.Resampling.BILINEAR)
    parts = [(title, photo), ("truth", _veiled(photo, truth, classes)), ("predicted", _veiled(photo, found, classes))]
    shown = np.union1d(np.unique(truth), np.unique(found))
    sheet_width = len(parts) * (size[0] + _GAP) - _GAP
    legend = _legend([int(label) for label in shown], classes, sheet_width)
    sheet = Image.new("RGB", (sheet_width, _LINE + size[1] + legend.height), "white")
    for number, (words, part) in enumerate(parts):
        left = number * (size[0] + _GAP)
        sheet.paste(part, (left, _LINE))
        ImageDraw.Draw(sheet).text((left + 3, 3), words, fill="black")
    sheet.paste(legend, (0, _LINE + size[1]))
    return sheet


def colour(label: int, classes: Sequence[str]) -> tuple[int, int, int]:
    """Return a class's colour: neighbours look unlike each other; a first class that is a background is black."""
    if label == VOID:
        return 255, 255, 255
    if label == 0 and "background" in classes[0].lower():
        return 0, 0, 0
    values = colorsys.hsv_to_rgb(label * _GOLDEN % 1.0, 0.9 if label % 2 else 0.65, 1.0 if label % 3 else 0.8)
    red, green, blue = (round(255 * value) for value in values)
    return red, green, blue


def _veiled(photo: Image.Image, labels: np.ndarray, classes: Sequence[str]) -> Image.Image:
    palette = np.zeros((VOID + 1, 3), dtype=np.float32)
    for label in (*range(len(classes)), VOID):
        palette[label] = colour(label, classes)
    small = np.asarray(Image.fromarray(labels).resize(photo.size, Image.Resampling.NEAREST))
    mixed = (1 - _VEIL) * np.asarray(photo, dtype=np.float32) + _VEIL * palette[small]
    return Image.fromarray(mixed.round().astype(np.uint8))


def _legend(labels: Sequence[int], classes: Sequence[str], width: int) -> Image.Image:
    """Return a strip with a square of each label's colour and its name, in as many lines as it takes."""
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, left, top = [], _GAP, 3
    for label in labels:
        name = "void" if label == VOID else classes[label]
        needed = _LINE + round(pen.textlength(name)) + 2 * _GAP
        if left > _GAP and left + needed > width:
            left, top = _GAP, top + _LINE
        places.append((left, top, label, name))
        left += needed
    strip = Image.new("RGB", (width, top + _LINE + 3), "white")
    pen = ImageDraw.Draw(strip)
    for left, top, label, name in places:
        pen.rectangle([left, top + 1, left + 12, top + 13], fill=colour(label, classes), outline="black")
        pen.text((left + _LINE, top + 1), name, fill="black")
    return strip
