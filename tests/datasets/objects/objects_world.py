"""Small VOC and COCO folders, written as a test needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image


def voc_object(name: str = "cell", box: tuple[Any, ...] = (1, 1, 10, 20), difficult: Any = 0) -> str:
    corners = "".join(f"<{key}>{v}</{key}>" for key, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
    return f"<object>\n<name>{name}</name>\n<difficult>{difficult}</difficult>\n<bndbox>{corners}</bndbox>\n</object>\n"


def write_voc(
    folder: Path, images: dict[str, str], split: str = "trainval", size: tuple[Any, Any] = (30, 20), head: str = ""
) -> Path:
    """`images`: the objects' XML by image name; the size stands in line 2, the first object begins in line 3."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, objects in images.items():
        Image.new("RGB", (30, 20)).save(folder / "JPEGImages" / f"{name}.jpg")
        said = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
        text = f"{head}<annotation>\n{said}\n{objects}</annotation>"
        (folder / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in images))
    return folder


def coco_data() -> dict[str, Any]:
    """One image with an object and a crowd; classes whose ids are not in the order of the file."""
    return {
        "images": [{"id": 7, "file_name": "x.png", "width": 30, "height": 20}],
        "categories": [{"id": 9, "name": "kite"}, {"id": 4, "name": "ball"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "bbox": [2, 3, 4, 5], "area": 11.0, "iscrowd": 0}
            | {"segmentation": [[2, 3, 6, 3, 6, 8]]},
            {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 30.4, 20], "iscrowd": 1}
            | {"segmentation": {"counts": [600], "size": [20, 30]}},
        ],
    }


def write_coco(root: Path, data: Any, split: str = "train2017") -> Path:
    """Write a JSON (a dict, or text as it is) and the 30x20 images x.png that it may name."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    Image.new("RGB", (30, 20)).save(root / split / "x.png")
    text = data if isinstance(data, str) else json.dumps(data, indent=1)
    (root / "annotations" / f"instances_{split}.json").write_text(text)
    return root


def line_of(path: Path, text: str) -> int:
    """The number of the first line that holds `text`."""
    return next(i for i, line in enumerate(path.read_text().splitlines(), start=1) if text in line)
