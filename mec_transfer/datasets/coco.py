"""The COCO layout: annotations/instances_SPLIT.json and the images of a split in a folder of its name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import DataError
from mec_transfer.datasets import values
from mec_transfer.datasets.annotations import Json
from mec_transfer.datasets.coco_items import read_object
from mec_transfer.datasets.objects import ObjectAnnotation, ObjectImage, ObjectSplit
from mec_transfer.datasets.scan import file_names, list_folder

_OTHER_TASKS = ("captions_", "person_keypoints_", "image_info_", "stuff_", "panoptic_")
_ROBOFLOW = "_annotations.coco.json"
"""Roboflow's exports: each split is a folder that holds its images and this file."""
_LONG = 300
"""Characters from which on a path is no use in a message."""


class CocoSource:
    """One split's JSON; `read` makes objects of it once the classes are known."""

    def __init__(self, root: Path, split: str) -> None:
        """Raises DataError: there is no such split, or its file is no COCO instances file."""
        self.name = split
        self._json = Json(_annotations(root, split))
        self.path = self._json.path
        data = self._json.data
        if not isinstance(data, dict) or not {"images", "annotations", "categories"} <= data.keys():
            what = "needs 'images', 'annotations' and 'categories'; is this a COCO instances file?"
            raise DataError(f"{self.path}:1: {what}")
        self._images = self._json.items("images")
        self._items = self._json.items("annotations")
        self._categories = self._read_categories()
        self._files = _ImageFiles(
            [root / split, root / "images" / split, root / "images", root, self.path.parent], self._images
        )
        self._index_of: dict[int | str, int] = {}

    def names(self) -> list[str]:
        """Return the classes by the ids of their categories, each once."""
        return list(dict.fromkeys(self._categories.values()))

    def read(self, classes: tuple[str, ...]) -> tuple[ObjectSplit, list[str]]:
        """Return what is sound of the split, and a line for each thing that is not."""
        known, refused, problems = self._read_images()
        by_image: dict[int | str, list[ObjectAnnotation]] = {}
        for index, item in enumerate(self._items):
            try:
                image_id = values.identifier(item.get("image_id"), "its image_id")
                if image_id in refused:
                    continue  # named already
                if image_id not in known:
                    raise ValueError(f"there is no image {values.brief(image_id)}")
                category = values.identifier(item.get("category_id"), "its category_id")
                name = self._categories.get(category)
                if name not in classes:
                    raise ValueError(f"unknown class {f'number {category}' if name is None else name}")
                thing = read_object(item, classes.index(name), known[image_id].width, known[image_id].height)
            except ValueError as error:
                problems.append(self._complain("annotations", index, f"annotation {_label(item)}: {error}"))
            else:
                by_image.setdefault(image_id, []).append(thing)
        images = tuple(
            ObjectImage(
                path=image.path,
                image_id=image_id,
                width=image.width,
                height=image.height,
                objects=tuple(by_image.get(image_id, ())),
            )
            for image_id, image in sorted(known.items(), key=_by_id)
        )
        return ObjectSplit(name=self.name, classes=classes, images=images), problems

    def where(self, image: ObjectImage) -> str:
        """Return file and line of an image."""
        return self._complain("images", self._index_of[image.image_id], f"image {values.brief(image.image_id)}")

    def _complain(self, key: str, index: int, what: str) -> str:
        return self._json.complain(key, index, what)

    def _read_images(self) -> tuple[dict[int | str, ObjectImage], set[int | str], list[str]]:
        """Return the usable images by id, the ids of the others, and what is wrong with these."""
        known: dict[int | str, ObjectImage] = {}
        refused: set[int | str] = set()
        problems = [] if self._images else [f"{self.path}:1: 'images' is empty"]
        for index, item in enumerate(self._images):
            image_id: int | str | None = None
            try:
                image_id = values.identifier(item.get("id"), "its id")
                if image_id in known or image_id in refused:
                    raise ValueError("its id is there twice")
                width, height = (values.size(item.get(key), f"its {key}") for key in ("width", "height"))
                path = self._files.find(values.text(item.get("file_name"), "its file_name"))
            except ValueError as error:
                if image_id is not None and image_id not in known:
                    refused.add(image_id)
                problems.append(self._complain("images", index, f"image {_label(item)}: {error}"))
                continue
            known[image_id] = ObjectImage(path=path, image_id=image_id, width=width, height=height, objects=())
            self._index_of[image_id] = index
        return known, refused, problems

    def _read_categories(self) -> dict[int | str, str]:
        """Return names by id, in the order of the ids. Raises DataError, also for two that are used under one name."""
        found: dict[int | str, str] = {}
        items = self._json.items("categories")
        if not items:
            raise DataError(f"{self.path}:1: 'categories' is empty; it needs an id and a name for each class")
        lines: dict[int | str, int] = {}
        for index, item in enumerate(items):
            try:
                number = values.identifier(item.get("id"), "its id")
                name = values.name(item.get("name"), "its name")
                if not name:
                    raise ValueError("its name is empty")
                if found.get(number, name) != name:
                    raise ValueError(f"its id, {number}, is that of '{found[number]}' too")
            except ValueError as error:
                raise DataError(self._complain("categories", index, f"category {_label(item)}: {error}")) from None
            found[number], lines[number] = name, index
        if len(set(found.values())) < len(found):
            self._refuse_namesakes(found, lines)
        return dict(sorted(found.items(), key=_by_id))

    def _refuse_namesakes(self, categories: dict[int | str, str], lines: dict[int | str, int]) -> None:
        """Two categories of one name are one class where one of them is unused, such as Roboflow's root; else raise."""
        used: dict[str, int | str] = {}
        for item in self._items:
            try:
                number = values.identifier(item.get("category_id"), "its category_id")
            except ValueError:  # told when objects are read
                continue
            name = categories.get(number)
            if name is not None and used.setdefault(name, number) != number:
                what = f"categories {used[name]} and {number} are both called '{name}'; give each a name of its own"
                raise DataError(self._complain("categories", lines[number], what))


def merge_classes(sources: Sequence[CocoSource]) -> tuple[str, ...]:
    """Return the classes of all splits together: the first one's by id, then whatever the others have besides."""
    return tuple(dict.fromkeys(name for source in sources for name in source.names()))


def split_names(root: Path) -> list[str]:
    """Return the splits that `root` has annotations of, sorted."""
    files = sorted(file_names(root / "annotations"))
    names = {name.removesuffix(".json").removeprefix("instances_") for name in files if name.endswith(".json")}
    names = {name for name in names if not name.startswith(_OTHER_TASKS)}
    folders = list_folder(root)[0] if root.is_dir() else []
    return sorted(names | {name for name in folders if (root / name / _ROBOFLOW).is_file()})


def _annotations(root: Path, split: str) -> Path:
    places = (f"annotations/instances_{split}.json", f"annotations/{split}.json", f"{split}/{_ROBOFLOW}")
    for path in (root / place for place in places):
        if path.is_file():
            return path
    names = split_names(root)
    there = f"it has {', '.join(names)}" if names else "it is no COCO folder (no annotations/*.json)"
    raise DataError(f"{root}: has no annotations/instances_{split}.json; {there}")


class _ImageFiles:
    """Where a split's images lie: in the first of the usual folders that one of them is found in."""

    def __init__(self, folders: Sequence[Path], images: Sequence[dict[str, Any]]) -> None:
        self._listed: dict[str, frozenset[str]] = {}
        names = [name for item in images[:20] if isinstance(name := item.get("file_name"), str)]
        tries = ((folder, variant) for name in names for variant in _variants(name) for folder in folders)
        self._folder = next((folder for folder, variant in tries if self._has(folder / variant)), folders[0])

    def find(self, name: str) -> Path:
        """Return the path of an image. Raises ValueError."""
        if not name:
            raise ValueError("its file_name is empty")
        for variant in _variants(name):
            if self._has(self._folder / variant):
                return self._folder / variant
        path = str(self._folder / name)
        raise ValueError(f"{path if path.isprintable() and len(path) < _LONG else values.brief(name)} is missing")

    def _has(self, path: Path) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._listed:
            self._listed[folder] = file_names(Path(folder))
        return name in self._listed[folder]


def _variants(name: str) -> list[str]:
    """Return the paths a file_name may mean: itself, with Windows' backslashes turned, without its folders."""
    turned = name.replace("\\", "/")
    return list(dict.fromkeys((name, turned, re.sub(r"^.*/", "", turned))))


def _by_id(item: tuple[int | str, Any]) -> tuple[bool, int, str]:
    """Numbers first, in their order, then strings in theirs."""
    key = item[0]
    return (True, 0, key) if isinstance(key, str) else (False, key, "")


def _label(item: dict[str, Any]) -> str:
    """Return what names an item in a message: its id, or a file's name."""
    return values.brief(item.get("file_name") if item.get("id") is None else item["id"])
