"""iNaturalist 2018 as its archives unpack: the images of both splits in one tree, and a COCO-like list of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import Json
from mec_transfer.datasets.images.data import ImageLayout
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.named import check_named, read_or_suggest
from mec_transfer.datasets.index import Index

_IMAGES = "train_val2018"


class INat2018Layout(ImageLayout):
    """`train_val2018/<group>/<number>/*.jpg`, with `train2018.json` and `val2018.json` beside it or in `annotations`.

    A class is called by its number, as in the competition's lists. Images are in the lists' order.
    """

    @staticmethod
    def holds(folder: Path) -> bool:
        """Whether the images lie in `folder` as they unpack."""
        return (folder / _IMAGES).is_dir()

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return `train` and `val`. Raises DataError where a list is missing or malformed; says what and where."""
        read_or_suggest(folder, _require_images)
        parts = {split: _read(_list_file(folder, split)) for split in ("train", "val")}
        numbers = sorted(set(parts["train"][1]))
        label = {number: at for at, number in enumerate(numbers)}
        if strange := set(parts["val"][1]) - set(numbers):
            raise DataError(f"{_list_file(folder, 'train')}: no image of class {min(strange)}, which 'val' has")
        classes = tuple(str(number) for number in numbers)
        splits = {
            split: ImageList(folder, paths, np.array([label[number] for number in own], dtype=np.int64), classes)
            for split, (paths, own) in parts.items()
        }
        check_named(folder, splits)
        return splits


def _require_images(folder: Path) -> None:
    if not INat2018Layout.holds(folder):
        raise DataError(f"{folder}: no folder {_IMAGES}; unpack train_val2018.tar.gz there")


def _list_file(folder: Path, split: str) -> Path:
    beside, below = folder / f"{split}2018.json", folder / "annotations" / f"{split}2018.json"
    return below if below.exists() and not beside.exists() else beside


def _read(file: Path) -> tuple[tuple[str, ...], list[int]]:
    """Return the paths and the classes' numbers of a list."""
    listed = Json(file)
    names = _by_key(listed, "images", "id", "file_name", str)
    numbers = _by_key(listed, "annotations", "image_id", "category_id", int)
    if lost := names.keys() ^ numbers.keys():
        image = next(iter(lost))
        has = "has no annotation" if image in names else "is annotated, but no image of the list"
        raise DataError(f"{file}: image {image} {has}; {len(lost)} are such, and each image needs one class")
    if not names:
        raise DataError(f"{file}: names no image")
    return tuple(names.values()), [numbers[image] for image in names]


def _by_key(listed: Json, items: str, key: str, value: str, kind: type) -> dict[Any, Any]:
    """Return `value` by `key` of a list of objects, each key once."""
    found: dict[Any, Any] = {}
    for at, item in enumerate(listed.items(items)):
        own, wanted = item.get(key), item.get(value)
        if type(own) not in (int, str) or type(wanted) is not kind:
            what = "text" if kind is str else "a whole number"
            raise DataError(listed.complain(items, at, f"needs '{key}', and '{value}' as {what}"))
        if own in found:
            raise DataError(listed.complain(items, at, f"'{key}' {own} stands twice in '{items}'"))
        found[own] = wanted
    return found
