"""Test images of ImageNet's classes that are of another kind than its own: ImageNet-V2, -A, -R, -Sketch.

Class folders lie in the data set's own folder. Layout `imagenet_classes`: they are called as the training set's
(`n01440764/*.jpg`), and may be a part of them. Layout `imagenet_numbers`: by the classes' numbers, 0 to 999, which are
in another order as text. The training set lies beside, for its classes and its fingerprint alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.data import Layout
from mec_transfer.datasets.images.data import ImageData
from mec_transfer.datasets.images.fingerprint import fingerprints
from mec_transfer.datasets.images.folders import list_classes, open_split
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.shifted_config import ShiftedDatasetConfig
from mec_transfer.datasets.values import few


class ShiftedData(ImageData):
    """Images to measure on, `val`, whose classes are a part of a training set's."""

    def __init__(
        self, config: ShiftedDatasetConfig, folder: Path, images: ImageList, train: ImageList, index: Index
    ) -> None:
        """`index` knows `folder` and what lies beside it; of the training set its classes and fingerprint are kept."""
        super().__init__(config, folder, {"val": images}, index)
        self.train_folder, self.train_classes = train.root.parent, train.classes
        number = {name: place for place, name in enumerate(train.classes)}
        self.numbers = np.array([number[name] for name in images.classes])
        """(C,) int64: the number of each of the images' classes among the training set's."""
        beside = index.beside(self.train_folder)
        self._taught = fingerprints({"train": train}, "imagefolder", beside)[0]

    def hash(self) -> tuple[str, str]:
        """Hash the images together with the training set's own fingerprint, which is the second one."""
        own, _ = super().hash()
        return hashlib.sha256(
            f"mec-transfer shifted data 1\n{own}\n{self._taught}\n".encode()
        ).hexdigest(), self._taught

    def describe(self) -> list[str]:
        """Return images and classes, and where the classes were learnt."""
        return [*super().describe(), f"of the {len(self.train_classes)} classes in {self.train_folder}"]


class ClassFoldersLayout(Layout):
    """Class folders that are called as the training set's."""

    def open(self, config: ShiftedDatasetConfig, folder: Path, index: Index) -> ShiftedData:
        """List the images, and the training set.

        Raises:
            DataError: either is missing or malformed, or has a class that the other lacks; says which and where.
        """
        listed = list_classes(folder, index)
        place = config.train_folder(folder)
        try:
            train = open_split(place, "train", index.beside(place))
        except DataError as error:
            raise DataError(
                f"{error} (its training images taught the classes; --set dataset.train=DIR says where it lies)"
            ) from None
        named = self.name_classes(list(listed), train.classes)
        if strange := [found for found, name in named.items() if name not in set(train.classes)]:
            raise DataError(
                f"{folder}: class folder {few(strange)} is not one of the {len(train.classes)} classes in {train.root}"
            )
        number = {name: place for place, name in enumerate(train.classes)}
        order = sorted(named, key=lambda found: number[named[found]])
        classes = tuple(named[found] for found in order)
        if twice := [name for name in dict.fromkeys(classes) if classes.count(name) > 1]:
            raise DataError(f"{folder}: class {few(twice)} has two folders; bring them together")
        paths = tuple(f"{found}/{path}" for found in order for path in listed[found])
        labels = np.repeat(np.arange(len(order)), [len(listed[found]) for found in order]).astype(np.int64)
        return ShiftedData(config, folder, ImageList(folder, paths, labels, classes), train, index)

    def name_classes(self, folders: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
        """Return each class folder's class, which need not be one of `classes`."""
        return {name: name for name in folders}


class NumberFoldersLayout(ClassFoldersLayout):
    """Class folders that are called by the classes' numbers, from 0, in the order of the training set."""

    def name_classes(self, folders: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
        """Return each class folder's class."""
        known = {name: int(name) for name in folders if name.isascii() and name.isdigit()}
        return {name: classes[known[name]] if known.get(name, len(classes)) < len(classes) else "" for name in folders}
