"""The demo world's objects: the same pictures as COCO data, as a VOC devkit, both with masks, and as ImageNet DET."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.files import write_bytes, write_json, write_text
from mec_transfer.datasets.videos.index_masks import encode_index_mask
from mec_transfer.demo_world import ilsvrc
from mec_transfer.demo_world.picture import write_jpeg
from mec_transfer.demo_world.render import Rendering
from mec_transfer.demo_world.scene import CATEGORIES, Scene

SIDE = 96
"""Width and height of the pictures in pixels."""
COUNTS = {"train2017": 80, "val2017": 24}
_VOC_LISTS = {"train2017": "trainval", "val2017": "test"}
_MASK_LISTS = {"train2017": "train", "val2017": "val"}
_VOID = 255
FILES = (
    *(f"coco/annotations/instances_{split}.json" for split in COUNTS),
    *(f"voc/VOC2007/ImageSets/Main/{name}.txt" for name in _VOC_LISTS.values()),
    *(f"voc/VOC2007/ImageSets/Segmentation/{name}.txt" for name in _MASK_LISTS.values()),
    "voc/VOC2007/class_names.txt",
)
"""What is written after the pictures, below the world."""
_HIDDEN = 0.15
"""The share of an object's area that must be visible for it to be annotated."""

Drawn = tuple[Scene, Rendering]


def picture_names() -> list[str]:
    """Return the pictures' paths below the world."""
    return [f"coco/{split}/{index:06d}.jpg" for split, count in COUNTS.items() for index in range(count)]


def write_objects(out: Path, pictures: Iterable[tuple[str, Drawn]]) -> None:
    """Write pictures (path below `out`, what was drawn) and their annotations in every layout."""
    data: dict[str, dict[str, Any]] = {split: _empty() for split in COUNTS}
    names: dict[str, list[str]] = {split: [] for split in COUNTS}
    voc = out / "voc" / "VOC2007"
    for path, (scene, drawn) in pictures:
        _, split, file = path.split("/")
        number = 10_000 * list(COUNTS).index(split) + int(Path(file).stem) + 1
        things = list(_things(scene, drawn))
        height, width = drawn.owner.shape
        write_jpeg(out / path, drawn.image)
        data[split]["images"].append({"id": number, "file_name": file, "width": width, "height": height})
        for category, mask, polygons in things:
            data[split]["annotations"].append(_coco_annotation(data[split], number, category, mask, polygons))
        if split == "train2017":
            boxes = [("", _box(mask), False) for _, mask, _ in things]
            write_jpeg(out / "ILSVRC" / "Data" / ilsvrc.DET / f"{Path(file).stem}.JPEG", drawn.image)
            annotation = out / "ILSVRC" / "Annotations" / ilsvrc.DET / f"{Path(file).stem}.xml"
            ilsvrc.write_annotation(annotation, drawn.owner.shape, boxes)
        name = f"{number:06d}"
        names[split].append(name)
        write_bytes(voc / "SegmentationClass" / f"{name}.png", encode_index_mask(_labels(scene, drawn, things)))
        write_jpeg(voc / "JPEGImages" / f"{name}.jpg", drawn.image)
        objects = "".join(_voc_object(category, mask) for category, mask, _ in things)
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation>\n<filename>{name}.jpg</filename>\n{size}\n{objects}</annotation>\n"
        (voc / "Annotations").mkdir(parents=True, exist_ok=True)
        (voc / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    for split, content in data.items():
        write_json(out / "coco" / "annotations" / f"instances_{split}.json", content)
        listed = "".join(f"{n}\n" for n in names[split])
        for kind, lists in (("Main", _VOC_LISTS), ("Segmentation", _MASK_LISTS)):
            write_text(voc / "ImageSets" / kind / f"{lists[split]}.txt", listed)
    write_text(voc / "class_names.txt", "".join(f"{name}\n" for name in ("background", *CATEGORIES)))


def _empty() -> dict[str, Any]:
    categories = [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, start=1)]
    return {
        "info": {"description": "mec-transfer demo world"},
        "images": [],
        "annotations": [],
        "categories": categories,
    }


def _things(scene: Scene, drawn: Rendering) -> Iterator[tuple[str, np.ndarray, list[list[float]]]]:
    """Yield (category, visible mask (H, W) bool, outline polygons) of every thing that is seen well enough."""
    height, width = drawn.owner.shape
    for index, thing in enumerate(scene.things):
        if thing.category is None:
            continue
        mask = drawn.owner == index
        outline = thing.polygon()
        inside = np.clip(outline, 0, [width, height])
        x, y = outline[:, 0], outline[:, 1]
        area = abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2
        if mask.sum() >= max(_HIDDEN * area, 16):
            yield thing.category, mask, [[round(float(value), 2) for value in inside.reshape(-1)]]


def _labels(scene: Scene, drawn: Rendering, things: Sequence[tuple[str, np.ndarray, Any]]) -> np.ndarray:
    """Return the class of every pixel, (H, W) uint8: 0 where no thing is; what is hardly seen of a thing is void."""
    labels = np.zeros(drawn.owner.shape, dtype=np.uint8)
    for index, thing in enumerate(scene.things):
        if thing.category is not None:
            labels[drawn.owner == index] = _VOID
    for category, mask, _ in things:
        labels[mask] = list(CATEGORIES).index(category) + 1
    return labels


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a mask, half-open."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _coco_annotation(
    data: dict[str, Any], image: int, category: str, mask: np.ndarray, polygons: list[list[float]]
) -> dict[str, Any]:
    x0, y0, x1, y1 = _box(mask)
    return {
        "id": len(data["annotations"]) + 1,
        "image_id": image,
        "category_id": list(CATEGORIES).index(category) + 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": polygons,
    }


def _voc_object(category: str, mask: np.ndarray) -> str:
    x0, y0, x1, y1 = _box(mask)
    corners = f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
    return f"<object>\n<name>{category}</name>\n<difficult>0</difficult>\n<bndbox>{corners}</bndbox>\n</object>\n"
