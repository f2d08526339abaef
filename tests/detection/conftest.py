"""A tiny data set of coloured boxes in both layouts, and networks small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

COLOURS = {"blue": (40, 60, 220), "red": (220, 50, 40)}
SHORT = {
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 3,
    "SOLVER.STEPS": [2],
    "SOLVER.WARMUP_ITERS": 1,
    "INPUT.MIN_SIZE_TRAIN": [64],
    "INPUT.MIN_SIZE_TEST": 64,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 16,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 100,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 50,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 10,
    "TEST.PRECISE_BN.NUM_ITER": 2,
}
"""Detectron2 keys of a run of seconds."""


def draw(seed: int, size: tuple[int, int]) -> tuple[Image.Image, list[tuple[str, tuple[int, int, int, int]]]]:
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(90, 160, (size[1], size[0], 3), dtype=np.uint8))
    things = []
    for name in COLOURS:
        x, y = int(random.integers(size[0] - 24)), int(random.integers(size[1] - 24))
        box = (x, y, x + int(random.integers(12, 24)), y + int(random.integers(12, 24)))
        ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=COLOURS[name])
        things.append((name, box))
    return image, things


def write_both(root: Path, split: str, seeds: range) -> None:
    """The same images and boxes as VOC (root/voc) and as COCO with polygons (root/coco)."""
    voc, coco = root / "voc", root / "coco"
    for folder in (voc / "Annotations", voc / "JPEGImages", voc / "ImageSets/Main", coco / "annotations", coco / split):
        folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for seed in seeds:
        size = (80, 64) if seed % 3 else (64, 80)
        image, things = draw(seed, size)
        name = f"{seed:03d}"
        image.save(voc / "JPEGImages" / f"{name}.jpg", quality=95)
        image.save(coco / split / f"{name}.jpg", quality=95)
        images.append({"id": seed + 1, "file_name": f"{name}.jpg", "width": size[0], "height": size[1]})
        objects = ""
        for label, (x0, y0, x1, y1) in things:
            corners = f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            objects += f"<object><name>{label}</name><bndbox>{corners}</bndbox></object>\n"
            item = {"id": len(annotations) + 1, "image_id": seed + 1, "category_id": 1 + list(COLOURS).index(label)}
            item |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            annotations.append({**item, "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]})
        (voc / "Annotations" / f"{name}.xml").write_text(f"<annotation>\n{objects}</annotation>")
    (voc / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{seed:03d}\n" for seed in seeds))
    categories = [{"id": i, "name": name} for i, name in enumerate(COLOURS, start=1)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (coco / "annotations" / f"{split}.json").write_text(json.dumps(data))


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`voc` and `coco`, each with splits train (8 images) and test (4)."""
    root = tmp_path_factory.mktemp("boxes")
    write_both(root, "train", range(8))
    write_both(root, "test", range(8, 12))
    return root
