"""The COCO layout: annotations/instances_SPLIT.json and the images of a split in a folder of its name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets import values
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.coco_items import read_object
from mec_transfer.datasets.objects.coco_rows import AnnotationRows
from mec_transfer.datasets.objects.columns import ObjectColumns, pack_objects
from mec_transfer.datasets.objects.json_lists import Items, JsonLists
from mec_transfer.datasets.objects.layout import ObjectLayout
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.objects.table import ObjectTable
from mec_transfer.datasets.scan import file_names, list_folder
from mec_transfer.datasets.states import State, state_of

_OTHER_TASKS = ("captions_", "person_keypoints_", "image_info_", "stuff_", "panoptic_")
_ROBOFLOW = "_annotations.coco.json"
"""Roboflow's exports: each split is a folder that holds its images and this file."""
_LONG = 300
"""Characters from which on a path is no use in a message."""


class CocoSource:
    """One split's JSON; `read` makes objects of it once the classes are known."""

    def __init__(self, root: Path, split: str, path: Path) -> None:
        """Raises DataError: the file is no COCO instances file."""
        self.name, self.path = split, path
        self.seen = {os.fspath(self.path): state_of(os.fspath(self.path))}
        self._json = JsonLists(self.path, {"images": Items, "annotations": AnnotationRows, "categories": Items})
        if len(self._json.lists) < 3:
            what = "needs 'images', 'annotations' and 'categories'; is this a COCO instances file?"
            raise DataError(f"{self.path}:1: {what}")
        self._images = self._json.items("images").kept
        rows = self._json.items("annotations")
        assert isinstance(rows, AnnotationRows)
        self._rows = rows
        self._categories = self._read_categories()
        self._files = _ImageFiles(
            [root / split, root / "images" / split, root / "images", root, self.path.parent], self._images, self.seen
        )
        self._index_of: dict[int | str, int] = {}
        self.order = np.zeros(0, dtype=np.int64)
        """(M,) int64: where each object of what `read` has returned stands among the file's annotations."""

    def names(self) -> list[str]:
        """Return the classes by the ids of their categories, each once."""
        return list(dict.fromkeys(self._categories.values()))

    def read(self, classes: tuple[str, ...]) -> tuple[ObjectSplit, list[str]]:
        """Return what is sound of the split, and a line for each thing that is not."""
        known, refused, problems = self._read_images()
        ids = sorted(known, key=_by_id)
        sizes = np.array([known[image_id][1:] for image_id in ids], dtype=np.int64).reshape(-1, 2)
        places = {image_id: place for place, image_id in enumerate(ids)}
        numbers = {key: classes.index(name) for key, name in self._categories.items() if name in classes}
        index, place, objects, again = self._rows.sort_out(places, sizes, numbers)
        found: list[tuple[int, int, ObjectAnnotation]] = []
        for number in again.tolist():
            item = self._json.parse(self._rows.offsets[number])
            try:
                if (at := self._place(item, places, refused)) is not None:
                    thing = read_object(item, self._class_of(item, numbers), *sizes[at].tolist())
                    found.append((number, at, thing))
            except ValueError as error:
                problems.append(self._complain("annotations", number, f"annotation {_label(item)}: {error}"))
        if found:
            index = np.concatenate([index, [number for number, _, _ in found]])
            place = np.concatenate([place, [at for _, at, _ in found]])
            objects = ObjectColumns.join([objects, pack_objects([thing for _, _, thing in found])])
        order = np.lexsort((index, place))  # by image, those of one in the file's order
        objects, self.order = objects.take(order), np.asarray(index)[order]
        first = np.searchsorted(np.sort(place), np.arange(len(ids) + 1))
        table = ObjectTable([known[image_id][0] for image_id in ids], ids, sizes, first, objects)
        return ObjectSplit(name=self.name, classes=classes, images=table), problems

    def where(self, image: ObjectImage) -> str:
        """Return file and line of an image."""
        return self._complain("images", self._index_of[image.image_id], f"image {values.brief(image.image_id)}")

    @staticmethod
    def _place(item: dict[str, Any], places: dict[int | str, int], refused: set[int | str]) -> int | None:
        """Return the place of an annotation's image, or None for one that is named already. Raises ValueError."""
        image_id = values.identifier(item.get("image_id"), "its image_id")
        if image_id in refused:
            return None
        if image_id not in places:
            raise ValueError(f"there is no image {values.brief(image_id)}")
        return places[image_id]

    def _class_of(self, item: dict[str, Any], numbers: dict[int | str, int]) -> int:
        """Return the index of an annotation's class. Raises ValueError."""
        category = values.identifier(item.get("category_id"), "its category_id")
        if category not in numbers:
            raise ValueError(f"unknown class {self._categories.get(category, f'number {category}')}")
        return numbers[category]

    def _complain(self, key: str, index: int, what: str) -> str:
        return self._json.complain(key, index, what)

    def _read_images(self) -> tuple[dict[int | str, tuple[str, int, int]], set[int | str], list[str]]:
        """Return the usable images' path, width and height by id, the ids of the others, and what is wrong there."""
        known: dict[int | str, tuple[str, int, int]] = {}
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
            known[image_id] = path, width, height
            self._index_of[image_id] = index
        return known, refused, problems

    def _read_categories(self) -> dict[int | str, str]:
        """Return names by id, in the order of the ids. Raises DataError, also for two that are used under one name."""
        found: dict[int | str, str] = {}
        items = self._json.items("categories").kept
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
        return {number: found[number] for number in sorted(found, key=_by_id)}

    def _refuse_namesakes(self, categories: dict[int | str, str], lines: dict[int | str, int]) -> None:
        """Two categories of one name are one class where one of them is unused, such as Roboflow's root; else raise."""
        used: dict[str, int | str] = {}
        for number in self._rows.categories:
            name = categories.get(number)
            if name is not None and used.setdefault(name, number) != number:
                what = f"categories {used[name]} and {number} are both called '{name}'; give each a name of its own"
                raise DataError(self._complain("categories", lines[number], what))


class CocoLayout(ObjectLayout[CocoSource]):
    """The folder that holds annotations/, with images in SPLIT/ or images/SPLIT/ or images/; or a Roboflow export.

    A split is annotations/instances_SPLIT.json or annotations/SPLIT.json.
    """

    holds = "a COCO folder (annotations/*.json)"

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits that a folder has annotations of, sorted."""
        files = sorted(file_names(folder / "annotations"))
        names = {name.removesuffix(".json").removeprefix("instances_") for name in files if name.endswith(".json")}
        names = {name for name in names if not name.startswith(_OTHER_TASKS)}
        folders = list_folder(folder)[0] if folder.is_dir() else []
        return sorted(names | {name for name in folders if (folder / name / _ROBOFLOW).is_file()})

    def annotation_file(self, root: Path, split: str) -> Path:
        """Return a split's JSON. Raises DataError where there is none."""
        places = (f"annotations/instances_{split}.json", f"annotations/{split}.json", f"{split}/{_ROBOFLOW}")
        for path in (root / place for place in places):
            if path.is_file():
                return path
        names = self.split_names(root)
        there = f"it has {', '.join(names)}" if names else "it is no COCO folder (no annotations/*.json)"
        raise DataError(f"{root}: has no annotations/instances_{split}.json; {there}")

    def source(self, root: Path, split: str) -> CocoSource:
        """Parse a split's JSON. Raises DataError where it is no COCO instances file."""
        return CocoSource(root, split, self.annotation_file(root, split))

    def merge_classes(self, sources: Sequence[CocoSource]) -> tuple[str, ...]:
        """Return the classes of all splits: the first one's by id, then whatever the others have besides."""
        return tuple(dict.fromkeys(name for source in sources for name in source.names()))


class _ImageFiles:
    """Where a split's images lie: in the first of the usual folders that one of them is found in."""

    def __init__(self, folders: Sequence[Path], images: Sequence[dict[str, Any]], seen: dict[str, State]) -> None:
        """`seen` gets the state of each folder that is looked into."""
        self._seen = seen
        self._listed: dict[str, frozenset[str]] = {}
        names = [name for item in images[:20] if isinstance(name := item.get("file_name"), str)]
        bases = [os.fspath(folder) for folder in folders]
        tries = ((base, variant) for name in names for variant in _variants(name) for base in bases)
        self._base = next((base for base, variant in tries if self._has(_below(base, variant))), bases[0])

    def find(self, name: str) -> str:
        """Return the path of an image. Raises ValueError."""
        if not name:
            raise ValueError("its file_name is empty")
        for variant in _variants(name):
            path = _below(self._base, variant)
            if self._has(path):
                return path
        path = _below(self._base, name)
        raise ValueError(f"{path if path.isprintable() and len(path) < _LONG else values.brief(name)} is missing")

    def _has(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._listed:
            self._seen[folder or "."] = state_of(folder or ".")
            self._listed[folder] = file_names(Path(folder))
        return name in self._listed[folder]


def _below(base: str, name: str) -> str:
    """Return what `Path(base, name)` is, which for each of a hundred thousand plain names takes too long."""
    plain = "/" not in name and name not in ("", ".")
    return f"{base}/{name}" if plain else os.fspath(Path(base, name))


def _variants(name: str) -> list[str]:
    """Return the paths a file_name may mean: itself, with Windows' backslashes turned, without its folders."""
    if "/" not in name and "\\" not in name:
        return [name]
    turned = name.replace("\\", "/")
    return list(dict.fromkeys((name, turned, re.sub(r"^.*/", "", turned))))


def _by_id(key: int | str) -> tuple[bool, int, str]:
    """Numbers first, in their order, then strings in theirs."""
    return (True, 0, key) if isinstance(key, str) else (False, key, "")


def _label(item: dict[str, Any]) -> str:
    """Return what names an item in a message: its id, or a file's name."""
    return values.brief(item.get("file_name") if item.get("id") is None else item["id"])
