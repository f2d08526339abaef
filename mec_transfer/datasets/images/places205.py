"""Places205 as its archives unpack: 2.4 million images of 205 kinds of places, and a list of each split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import read_lines
from mec_transfer.datasets.images.data import ImageLayout
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.named import check_named, read_or_suggest
from mec_transfer.datasets.index import Index

_LISTS = "trainvalsplit_places205"
_IMAGES = "data/vision/torralba/deeplearning/images256"


class Places205Layout(ImageLayout):
    """`trainvalsplit_places205/{train,val}_places205.csv`, `data/vision/torralba/deeplearning/images256/a/abbey/*.jpg`.

    Lines are an image's path and the number of its class: `a/abbey/gsun_7d6d.jpg 0`. A class is called as its folder
    without the letter, `abbey` or `field/wild`. Images and labels are those of mmselfsup's reader, in the lists' order.
    """

    @staticmethod
    def holds(folder: Path) -> bool:
        """Whether the lists lie in `folder`."""
        return (folder / _LISTS).is_dir()

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return `train` and `val`. Raises DataError where a list is missing or malformed; says which line."""
        read_or_suggest(folder, _require_images)
        root = folder / _IMAGES
        names: dict[int, str] = {}
        parts = {split: _read(folder / _LISTS / f"{split}_places205.csv", names) for split in ("train", "val")}
        trained = set(parts["train"][1].tolist())
        if trained != set(range(len(names))):
            lost = min(set(range(max(names) + 1)) - trained)
            raise DataError(f"{folder / _LISTS}/train_places205.csv: no image of class {lost}; the list is not whole")
        classes = tuple(names[number] for number in range(len(names)))
        splits = {split: ImageList(root, paths, labels, classes) for split, (paths, labels) in parts.items()}
        check_named(folder, splits)
        return splits


def _require_images(folder: Path) -> None:
    if not (folder / _IMAGES).is_dir():
        raise DataError(f"{folder}: no folder {_IMAGES}; unpack imagesPlaces205_resize.tar.gz there")


def _read(file: Path, names: dict[int, str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return a list's paths and labels, (N,) int64, and add the classes' names by their numbers to `names`."""
    paths, labels = [], []
    for line, text in read_lines(file):
        path, _, number = text.strip().rpartition(" ")
        name = path.strip("/").partition("/")[2].rpartition("/")[0]
        if not name or not number.isascii() or not number.isdigit():
            raise DataError(f"{file}:{line}: {text.strip()!r:.80} is not an image, such as a/abbey/1.jpg, and a number")
        label = int(number)
        if names.setdefault(label, name) != name:
            raise DataError(f"{file}:{line}: class {label} is both '{names[label]}' and '{name}'")
        paths.append(path.strip("/"))
        labels.append(label)
    if not paths:
        raise DataError(f"{file}: names no image")
    return tuple(paths), np.array(labels, dtype=np.int64)
