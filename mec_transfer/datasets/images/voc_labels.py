"""Layouts `voc_labels` and `voc2007_classes`: a VOC folder, read for which classes each photo shows, without boxes.

The labels stand in the class lists, `ImageSets/Main/<class>_<split>.txt`: 1 for a photo that shows the class, -1 for
one that does not, 0 for one that shows it only where it is `difficult` to make out. What a protocol makes of the last
is its own affair: an `ImageList` has -1 there.

`voc_labels` has the splits that a benchmark asks for. Where one of them has no such lists, the labels are worked out
from the objects in `Annotations`. `voc2007_classes` is VOC 2007 alone, in three parts: its `train` and `val` are to
learn from, the latter for validation, and its `test` is what other data sets call `val`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import read_lines
from mec_transfer.datasets.config import DatasetConfig, LabelsDatasetConfig
from mec_transfer.datasets.data import Layout
from mec_transfer.datasets.images.data import ImageData, ImageLayout, mix
from mec_transfer.datasets.images.fingerprint import fingerprints
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.named import check_named, read_or_suggest
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.objects.voc import VocLayout, is_class_list
from mec_transfer.datasets.own_splits import rank_train
from mec_transfer.datasets.scan import file_names, is_image
from mec_transfer.datasets.values import few

_FLAGS = {"1": 1, "+1": 1, "-1": 0, "0": -1}
"""A class list's word -> the label."""
_USUAL: dict[str, Sequence[str]] = {
    "train": ("trainval", "train"),
    "val": ("val", "valid"),
    "test": ("test", "val", "valid"),
}
"""What data of one's own calls a split, the first choice first."""
_DEVKIT = re.compile(r"\d{4}_")
_VOC = VocLayout("voc")


class VocLabels(ImageData):
    """Photos with the classes that they show."""

    def __init__(
        self, config: LabelsDatasetConfig, folder: Path, images: Mapping[str, ImageList], index: Index, labels_from: str
    ) -> None:
        super().__init__(config, folder, images, index)
        self.labels_from = labels_from
        """Where the labels stand, in words."""

    def describe(self) -> list[str]:
        """Return images and classes of each split, and where the labels stand."""
        return [*super().describe(), f"labels from {self.labels_from}"]


class VocLabelsLayout(Layout):
    """A VOC folder or a devkit; its splits are called as those of layout `voc` are."""

    def open(self, config: LabelsDatasetConfig, folder: Path, index: Index) -> VocLabels:
        """Read the labels of every split. Raises DataError for what is missing or malformed, with its place."""
        lists = {role: _VOC.find(folder, split) for role, split in config.splits.items()}
        by_class = [_class_lists(*place) for place in lists.values()]
        if all(by_class):
            images: dict[str, ImageList] = {
                role: _from_lists(*lists[role], found) for role, found in zip(lists, by_class)
            }
            _require_same_classes(folder, config.splits, images)
            check_named(folder, images)
            return VocLabels(config, folder, images, index, "the class lists in ImageSets/Main")
        images = _from_annotations(config, folder, index)
        check_named(folder, images)
        return VocLabels(config, folder, images, index, "the objects in Annotations")

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits, as layout `voc` names them."""
        return _VOC.split_names(folder)

    def adapt(self, config: LabelsDatasetConfig, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Find the splits of a folder that has none of a devkit's. Raises DataError where they cannot be guessed."""
        names, splits = self.split_names(folder), dict(config.splits)
        test = next((name for name in _USUAL["test"] if name in names), None)
        ranked = _USUAL | {"train": rank_train(_USUAL["train"], test)}
        for role, split in config.splits.items():
            if not names or split in names or not _DEVKIT.match(split):
                continue  # `open` says what is wrong with the others
            usual = next((name for name in ranked.get(role, ()) if name in names), None)
            if usual is None:
                raise DataError(
                    f"{folder}: has no split of a usual name to {role} on; it has {', '.join(names)}: name one with "
                    f"--set dataset.splits.{role}=NAME"
                )
            splits[role] = usual
        return dict(settings) | ({} if splits == config.splits else {"splits": splits})


class VocClasses(ImageData):
    """VOC 2007's photos with the classes that they show."""

    def hash(self) -> tuple[str, str]:
        """Hash the photos, then what is for validation and which classes each shows, whatever else is difficult."""
        bare = {
            split: dataclasses.replace(images, labels=np.full(len(images), -1, dtype=np.int64))
            for split, images in self.images.items()
        }
        after = fingerprints(bare, self.config.layout, self._index)
        assert self.held_out is not None
        train, val = (self.images[split].labels == 1 for split in ("train", "val"))
        return mix(after[-1], [self.held_out, train, val]), mix(after[0], [self.held_out, train])


class VocClassesLayout(ImageLayout):
    """`VOC2007/ImageSets/Main/<class>_{train,val,test}.txt` and `VOC2007/JPEGImages`, in the order of the lists."""

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return `train`, with the images for validation at its end, and `val`. Raises DataError."""
        return self._open(folder, index)[0]

    def open(self, config: DatasetConfig, folder: Path, index: Index) -> VocClasses:
        """Read the lists, and mark the images for validation. Raises DataError."""
        images, fitted = self._open(folder, index)
        data = VocClasses(config, folder, images, index)
        data.held_out = np.arange(len(images["train"])) >= fitted
        return data

    def _open(self, folder: Path, index: Index) -> tuple[dict[str, ImageList], int]:
        """Return the splits, and how many images of `train` are not for validation."""
        lists = read_or_suggest(folder, lambda place: _find_lists(place, index))
        classes, names, labels = tuple(lists["train"]), {}, {}
        for part, of_part in lists.items():
            names[part], labels[part] = _read_lists(of_part)
        learnt = [*names["train"], *names["val"]], np.concatenate([labels["train"], labels["val"]])
        images = {
            split: ImageList(folder, tuple(f"VOC2007/JPEGImages/{name}.jpg" for name in own), of_own, classes)
            for split, (own, of_own) in {"train": learnt, "val": (names["test"], labels["test"])}.items()
        }
        check_named(folder, images)
        return images, len(names["train"])


def _find_lists(folder: Path, index: Index) -> dict[str, dict[str, Path]]:
    """Return each class's list of each of VOC 2007's three parts, whether it is there or not.

    Raises:
        DataError: there is no folder of lists, or it has none of two classes or more.
    """
    main = folder / "VOC2007/ImageSets/Main"
    files = [re.fullmatch(r"(.+)_(train|val|test)\.txt", name) for name in index.list_folder(main)[1]]
    classes = sorted({file[1] for file in files if file})
    if len(classes) < 2:
        raise DataError(f"{main}: no lists of classes, such as aeroplane_train.txt")
    return {part: {name: main / f"{name}_{part}.txt" for name in classes} for part in ("train", "val", "test")}


def _class_lists(folder: Path, split_list: Path) -> dict[str, Path]:
    """Return the list of each class beside that of a split, sorted by class; none where there are no such lists."""
    ending, main = f"_{split_list.stem}", split_list.parent
    names = sorted(file[:-4] for file in file_names(main) if file.endswith(f"{ending}.txt"))
    return {name.removesuffix(ending): main / f"{name}.txt" for name in names if is_class_list(folder, name)}


def _from_lists(folder: Path, split_list: Path, lists: Mapping[str, Path]) -> ImageList:
    names, labels = _read_lists(lists)
    order = sorted(range(len(names)), key=names.__getitem__)
    ids = [names[place] for place in order]
    files = {os.path.splitext(file)[0]: file for file in sorted(file_names(folder / "JPEGImages")) if is_image(file)}  # noqa: PTH122
    if lost := [name for name in ids if name not in files]:
        raise DataError(f"{split_list}: {len(lost)} of {len(ids)} images are not in JPEGImages: {few(lost)}")
    return ImageList(folder / "JPEGImages", tuple(files[image] for image in ids), labels[order], tuple(lists))


def _read_lists(lists: Mapping[str, Path]) -> tuple[list[str], np.ndarray]:
    """Return the images of the classes' lists, in the first list's order, and their labels, (N, C) int64.

    Raises DataError where a line is wrong, no image is listed, or two lists have different images.
    """
    flags = {name: _read_flags(path) for name, path in lists.items()}
    first, images = next(iter(lists.values())), list(next(iter(flags.values())))
    for name, path in lists.items():
        if differ := set(images) ^ set(flags[name]):
            raise DataError(
                f"{path}: has other images than {first.name}, such as {min(differ)}; all must have the same"
            )
    if not images:
        raise DataError(f"{first}: lists no image")
    return images, np.array([[flags[name][image] for name in lists] for image in images], dtype=np.int64)


def _read_flags(path: Path) -> dict[str, int]:
    """Return the label of each image in a class's list. Raises DataError with the line that is wrong."""
    labels: dict[str, int] = {}
    for number, line in read_lines(path):
        name, flag = (*line.strip().rsplit(maxsplit=1), "")[:2]  # a name may hold spaces
        if flag not in _FLAGS or name in labels:
            raise DataError(
                f"{path}:{number}: 'IMAGE 1', '-1' or '0' is needed, each image once, found {line.strip()!r}"
            )
        labels[name] = _FLAGS[flag]
    return labels


def _from_annotations(config: LabelsDatasetConfig, folder: Path, index: Index) -> dict[str, ImageList]:
    """Work the labels out from the objects; the classes are those that occur in any of the splits."""
    read = _VOC.read_splits(folder, list(config.splits.values()), kept=index.folder)
    if problems := [line for split in read.values() for line in split.skipped]:
        raise DataError(f"{few(problems, 3)}; mend them")
    found = {}
    for role, name in config.splits.items():
        images = sorted(read[name].images, key=lambda image: str(image.image_id))
        labels = np.zeros((len(images), len(read[name].classes)), dtype=np.int64)
        for row, image in enumerate(images):
            for thing in image.objects:
                if not thing.difficult:
                    labels[row, thing.class_index] = 1
                elif labels[row, thing.class_index] == 0:
                    labels[row, thing.class_index] = -1
        root = _VOC.find(folder, name)[0] / "JPEGImages"
        found[role] = ImageList(root, tuple(image.path.name for image in images), labels, read[name].classes)
    occur = np.flatnonzero(sum(np.any(images.labels != 0, axis=0) for images in found.values()))
    if not len(occur):
        raise DataError(f"{folder}: no object in any annotation of {', '.join(config.splits.values())}")
    classes = tuple(next(iter(found.values())).classes[number] for number in occur)
    return {
        role: ImageList(images.root, images.paths, images.labels[:, occur], classes) for role, images in found.items()
    }


def _require_same_classes(folder: Path, splits: Mapping[str, str], images: Mapping[str, ImageList]) -> None:
    first = next(iter(images))
    for role, listed in images.items():
        if differ := set(listed.classes) ^ set(images[first].classes):
            raise DataError(
                f"{folder}: the class lists of {splits[first]} and {splits[role]} are of different classes: "
                f"{few(sorted(differ))}"
            )
