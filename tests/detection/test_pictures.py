"""Pictures: the right images are best and worst, and masks are drawn where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection.pictures import draw_best_and_worst, to_mask

SQUARE = [[10.0, 10, 30, 10, 30, 30, 10, 30]]


def make_split(folder: Path, number: int = 4) -> ObjectSplit:
    thing = ObjectAnnotation(class_index=0, box=(10.0, 10.0, 30.0, 30.0), segmentation=SQUARE)
    images = []
    for i in range(number):
        Image.new("RGB", (60, 40), "white").save(folder / f"{i}.png")
        images.append(ObjectImage(path=folder / f"{i}.png", image_id=i, width=60, height=40, objects=(thing,)))
    return ObjectSplit(name="t", classes=("cat", "dog"), images=tuple(images))


def found(image: int, box: list[float], score: float, label: int = 1) -> dict:
    x, y, w, h = box
    outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return {"image_id": image, "category_id": label, "bbox": box, "score": score, "segmentation": outline}


@pytest.mark.parametrize("score", [0.9, 0.12])
def test_the_best_and_the_worst_are_drawn_however_low_the_scores(tmp_path, score):
    split = make_split(tmp_path)
    predictions = [
        found(3, [10, 10, 20, 20], score),
        found(1, [10, 10, 20, 20], score),
        found(1, [35, 5, 10, 10], score),
        found(4, [10, 10, 20, 20], score, label=2),
        found(4, [35, 5, 10, 10], score),
    ]
    paths = draw_best_and_worst(split, predictions, tmp_path / "pictures", number=2)
    assert [path.name for path in paths] == ["best_1_2.png", "best_2_0.png", "worst_1_3.png", "worst_2_1.png"]
    picture = np.asarray(Image.open(paths[0]).convert("RGB")).astype(int)
    assert picture.shape == (320 + 18, 2 * 480 + 6, 3)
    for left in (0, 486):  # the square is tinted on both sides, its surroundings are not
        inside, outside = picture[18 + 200, left + 200], picture[18 + 200, left + 400]
        assert outside.tolist() == [255, 255, 255] and inside[0] > inside[1] + 50


def test_masks_are_read_in_every_form():
    image = ObjectImage(path=Path("a"), image_id=1, width=60, height=40, objects=())
    polygons = to_mask(SQUARE, image)
    assert polygons.shape == (40, 60) and polygons[10:30, 10:30].all() and polygons.sum() == 400
    column = [10 * 40 + 10] + [20, 20] * 19 + [20, 40 * 30 + 10]
    assert (to_mask({"size": [40, 60], "counts": column}, image) == polygons).all()
