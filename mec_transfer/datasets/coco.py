"""The COCO layout: annotations/instances_SPLIT.json and the images of a split in a folder of its name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.objects import ObjectAnnotation, ObjectImage, ObjectSplit, box_problem

_SLACK = 1.0
"""Pixels that a published box may reach out: COCO's own are rounded to hundredths and some touch the border."""


def read_split(root: Path, split: str, classes: tuple[str, ...] | None) -> tuple[ObjectSplit, list[str]]:
    """Read a split; return what is sound of it, and a line for each thing that is not. See `open_objects`."""
    path = _annotations(root, split)
    text = _read(path)
    data = _parse(path, text)
    categories = {item["id"]: str(item["name"]) for item in sorted(data["categories"], key=lambda item: item["id"])}
    if classes is None:
        classes = tuple(categories.values())
    faults: dict[str, list[tuple[int, str]]] = {"images": [], "annotations": []}
    folder = _image_folder(root, split, data["images"])
    by_image: dict[Any, list[ObjectAnnotation]] = {}
    known = {}
    for index, item in enumerate(data["images"]):
        if not all(isinstance(item.get(key), int) for key in ("width", "height")) or "file_name" not in item:
            faults["images"].append((index, f"image {item.get('id')}: needs id, file_name, width and height"))
        elif not (folder / item["file_name"]).is_file():
            faults["images"].append((index, f"image {item['id']}: {folder / item['file_name']} is missing"))
        elif item["id"] in known:
            faults["images"].append((index, f"image {item['id']}: is there twice"))
        else:
            known[item["id"]] = item
    ids = {item.get("id") for item in data["images"]}
    for index, item in enumerate(data["annotations"]):
        if item.get("image_id") in ids and item["image_id"] not in known:
            continue  # its image is named already
        try:
            thing = _object(item, known, categories, classes)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            faults["annotations"].append((index, f"annotation {item.get('id')}: {reason}"))
        else:
            by_image.setdefault(item["image_id"], []).append(thing)
    images = tuple(
        ObjectImage(
            path=folder / item["file_name"],
            image_id=image_id,
            width=item["width"],
            height=item["height"],
            objects=tuple(by_image.get(image_id, ())),
        )
        for image_id, item in sorted(known.items())
    )
    problems = [f"{path}:{line}: {what}" for key in faults for line, what in _lines(text, key, faults[key])]
    return ObjectSplit(name=split, classes=classes, images=images), problems


def split_names(root: Path) -> list[str]:
    """Return the splits that `root` has annotations of, sorted."""
    names = (file.stem.removeprefix("instances_") for file in (root / "annotations").glob("*.json"))
    return sorted(name for name in names if not name.startswith(("captions_", "person_keypoints_", "image_info_")))


def to_coco_json(split: ObjectSplit) -> dict[str, Any]:
    """Return a split as COCO's annotation dict: category and image ids from 1 on, in the split's order.

    VOC's difficult objects become crowds, which is how COCO says that an object is not to be counted.
    """
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(split.images, start=1):
        for thing in image.objects:
            x0, y0, x1, y1 = thing.box
            item = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": thing.class_index + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0) if thing.area is None else thing.area,
                "iscrowd": int(thing.crowd or thing.difficult),
            }
            if thing.segmentation is not None:
                item["segmentation"] = thing.segmentation
            annotations.append(item)
    return {
        "info": {},
        "images": [
            {"id": number, "file_name": image.path.name, "width": image.width, "height": image.height}
            for number, image in enumerate(split.images, start=1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(split.classes, start=1)],
        "annotations": annotations,
    }


def _annotations(root: Path, split: str) -> Path:
    for name in (f"instances_{split}.json", f"{split}.json"):
        if (root / "annotations" / name).is_file():
            return root / "annotations" / name
    names = split_names(root)
    there = f"it has {', '.join(names)}" if names else "it is no COCO folder (no annotations/*.json)"
    raise DataError(f"{root}: has no annotations/instances_{split}.json; {there}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{path}:{line}: malformed JSON ({getattr(error, 'msg', error)})") from None
    for key in ("images", "annotations", "categories"):
        items = data.get(key) if isinstance(data, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise DataError(f"{path}:1: '{key}' must be a list of objects; is this a COCO instances file?")
    if not data["categories"] or not all(isinstance(c.get("id"), int) and c.get("name") for c in data["categories"]):
        raise DataError(f"{path}:1: 'categories' needs an id (a number) and a name for each class")
    return dict(data)


def _image_folder(root: Path, split: str, images: list[dict[str, Any]]) -> Path:
    """Where the first image lies, of the usual places."""
    first = str(images[0].get("file_name", "")) if images else ""
    candidates = [root / split, root / "images" / split, root / "images", root]
    return next((folder for folder in candidates if first and (folder / first).is_file()), candidates[0])


def _object(
    item: dict[str, Any], images: dict[Any, dict[str, Any]], categories: dict[int, str], classes: tuple[str, ...]
) -> ObjectAnnotation:
    """Raises ValueError or KeyError with what is wrong."""
    image = images.get(item["image_id"])
    if image is None:
        raise ValueError(f"there is no image {item['image_id']}")
    name = categories.get(item["category_id"], f"number {item['category_id']}")
    if name not in classes:
        raise ValueError(f"unknown class {name}")
    try:
        x, y, width, height = map(float, item["bbox"])
    except (TypeError, ValueError):
        raise ValueError(f"a bbox is four numbers (x, y, width, height), found {item['bbox']}") from None
    box = (x, y, x + width, y + height)
    slack = (x + _SLACK, y + _SLACK, x + width - _SLACK, y + height - _SLACK)
    if problem := box_problem(box, image["width"], image["height"]):
        barely = width > 0 and height > 0 and _within(slack, box, image)
        if not barely:
            raise ValueError(problem)
        box = (max(x, 0.0), max(y, 0.0), min(box[2], image["width"]), min(box[3], image["height"]))
    segmentation = item.get("segmentation")
    if segmentation is not None:
        _check_segmentation(segmentation, [image["height"], image["width"]])
    return ObjectAnnotation(
        class_index=classes.index(name),
        box=box,
        crowd=bool(item.get("iscrowd", 0)),
        segmentation=segmentation,
        area=float(item["area"]) if "area" in item else None,
    )


def _within(slack: tuple[float, ...], box: tuple[float, ...], image: dict[str, Any]) -> bool:
    inside = slack[0] >= 0 and slack[1] >= 0 and slack[2] <= image["width"] and slack[3] <= image["height"]
    return inside and box[0] < image["width"] and box[1] < image["height"] and box[2] > 0 and box[3] > 0


def _check_segmentation(segmentation: Any, size: list[int]) -> None:
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if segmentation.get("size") != size or not isinstance(counts, (list, str)):
            raise ValueError(f"an RLE segmentation needs counts and the image's size, {size} (height, width)")
        if isinstance(counts, list) and not (
            all(isinstance(n, int) for n in counts) and sum(counts) == size[0] * size[1]
        ):
            raise ValueError(
                f"an RLE's counts must be whole numbers that add up to the image's {size[0] * size[1]} pixels"
            )
        return
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("a segmentation is a list of polygons, or an RLE")
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            count = len(polygon) // 2 if isinstance(polygon, list) else 0
            raise ValueError(f"a polygon of {count} points; it needs three or more (x, y, x, y, ...)")
        if not all(isinstance(value, (int, float)) for value in polygon):
            raise ValueError("a polygon holds something that is no number")


def _lines(text: str, key: str, faults: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """Give each fault of the `index`-th item of list `key` its line. Walks the text again, so for faults alone."""
    wanted = dict(faults)
    match = re.search(rf'"{key}"\s*:\s*\[', text) if wanted else None
    if match is None:
        return [(1, what) for what in wanted.values()]
    decoder, at, found = json.JSONDecoder(), match.end(), []
    line, counted = text.count("\n", 0, at) + 1, at
    for index in range(max(wanted) + 1):
        at += len(text[at : at + 10**4]) - len(text[at : at + 10**4].lstrip(" \t\r\n,"))
        line += text.count("\n", counted, at)
        counted = at
        if index in wanted:
            found.append((line, wanted[index]))
        at = decoder.raw_decode(text, at)[1]
    return found
