"""What the layouts of images with masks share: splits are opened together and fitted to data of one's own."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import SegmentsDatasetConfig
from mec_transfer.datasets.data import Layout
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.own_splits import choose_splits
from mec_transfer.datasets.registry import find_layout, layout_names
from mec_transfer.datasets.segments.data import SegmentData
from mec_transfer.datasets.segments.split import MOST_CLASSES, SegmentSplit

_TRAIN = ("train_aug", "trainaug", "train", "trainval")
_TEST = ("val", "test", "valid")


def require_classes(classes: Sequence[str], where: str) -> None:
    """Raise DataError, beginning with `where` they are named, unless there are 2 to 255 different classes."""
    if twice := [name for at, name in enumerate(classes) if name in classes[:at]]:
        raise DataError(f"{where}: names the class '{twice[0]}' twice; each label has one of its own, from 0 on")
    if "" in classes:
        raise DataError(f"{where}: the class of label {list(classes).index('')} has no name")
    if not 2 <= len(classes) <= MOST_CLASSES:
        named = f"{len(classes)} class{'' if len(classes) == 1 else 'es'}"
        what = f"2 to {MOST_CLASSES} are needed, one for each label from 0 on, which is often the background"
        raise DataError(f"{where}: names {named}; {what}")


class SegmentLayout(Layout):
    """A layout of images with masks: a subclass says which splits there are, and opens one."""

    holds: str
    """What a folder of this layout is called and holds, for a message."""

    @abc.abstractmethod
    def open_split(self, root: Path, split: str, classes: tuple[str, ...]) -> SegmentSplit:
        """List the images and masks of a split. Raises DataError where it is not there, or a file is missing."""

    @abc.abstractmethod
    def find_classes(self, root: Path) -> tuple[str, ...]:
        """Return the classes that the folder names, or the published ones. Raises DataError where there are none."""

    def open(self, config: SegmentsDatasetConfig, folder: Path, index: Index) -> SegmentData:
        """List every split's files. Raises DataError for a split or a file that is missing."""
        names = dict.fromkeys((*config.train, config.test))
        self.require_splits(folder, list(names))
        if config.classes:
            require_classes(config.classes, "--classes (dataset.classes)")
        classes = config.classes or self.find_classes(folder)
        return SegmentData(config, folder, {name: self.open_split(folder, name, classes) for name in names}, index)

    def require_splits(self, root: Path, names: list[str]) -> None:
        """Raise DataError where one of the splits is not there."""
        if not root.is_dir():
            raise DataError(f"{root}: no such folder")
        there = self.split_names(root)
        for name in names:
            if name not in there:
                what = f"it has {', '.join(there)}" if there else f"it is not {self.holds}"
                raise DataError(f"{root}: has no split '{name}'; {what}")

    def adapt(self, config: SegmentsDatasetConfig, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Find layout and splits of a folder of one's own. Raises DataError where they cannot be guessed."""
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        if not settings and {*config.train, config.test} <= set(self.split_names(folder)):
            return {}
        layouts = [
            layout for name in layout_names("segments") if isinstance(layout := find_layout(name), SegmentLayout)
        ]
        for layout in sorted(layouts, key=lambda layout: layout.name != self.name):
            if names := layout.split_names(folder):
                return {"layout": layout.name, **choose_splits(folder, names, settings, _TRAIN, _TEST)}
        raise DataError(f"{folder}: is neither {' nor '.join(layout.holds for layout in layouts)}")
