"""Images with objects in them, opened: layouts `voc` and `coco`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import ObjectsDatasetConfig
from mec_transfer.datasets.data import Data, Layout
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.objects import splits as objects
from mec_transfer.datasets.objects.notes import training_notes
from mec_transfer.datasets.objects.splits import ObjectSplit, join_splits
from mec_transfer.datasets.registry import find_layout, layout_names

_TRAIN = ("trainval", "train", "train2017")
_TEST = ("test", "val", "val2017", "valid")


class ObjectData(Data):
    """The splits of a data set of images with objects."""

    config: ObjectsDatasetConfig

    def __init__(self, config: ObjectsDatasetConfig, folder: Path, opened: Mapping[str, ObjectSplit]) -> None:
        super().__init__(config, folder)
        self.opened = opened
        skipped = sum(len(split.skipped) for split in opened.values())
        self.note = f"{skipped} broken annotations left out" if skipped else ""

    @property
    def splits(self) -> dict[str, int]:
        """Images of each split."""
        return {name: len(split.images) for name, split in self.opened.items()}

    @property
    def classes(self) -> int:
        """How many classes, of all splits together."""
        return len(next(iter(self.opened.values())).classes)

    @cached_property
    def train(self) -> ObjectSplit:
        """The splits to train on, as one."""
        return join_splits([self.opened[name] for name in self.config.train])

    @property
    def test(self) -> ObjectSplit:
        """The split to measure on."""
        return self.opened[self.config.test]

    def hash(self) -> tuple[str, str]:
        """Hash classes, every annotation, and a sample of the images. Raises DataError."""
        after = objects.fingerprints(dict(self.opened))
        return after[-1], after[len(set(self.config.train)) - 1]

    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield every image's file."""
        for split in self.opened.values():
            for image in split.images:
                yield str(image.path), image.path

    def describe(self) -> list[str]:
        """Return images, objects and classes of each split, and what training leaves out."""
        lines = []
        for name, split in self.opened.items():
            counts = f"{len(split.images)} images, {split.num_objects} objects, {len(split.classes)} classes"
            lines.append(f"{name}: {counts}")
            lines += [f"note: {note}" for note in training_notes(split)]
        return lines


class ObjectLayout(Layout):
    """A layout of images with objects."""

    def open(self, config: ObjectsDatasetConfig, folder: Path, index: Index) -> ObjectData:
        """Read the annotations and look at every image's header. Raises DataError for anything that is broken."""
        names, classes = (*config.train, config.test), config.classes or None
        layout: Any = self.name
        opened = objects.open_splits(
            folder,
            layout,
            names,
            classes,
            config.skip_invalid,
            look="sample",
            kept=index.folder,
            published=config.promised.images if config.promised else None,
        )
        return ObjectData(config, folder, opened)

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits that a folder has."""
        from mec_transfer.datasets.objects import coco, voc

        return {"voc": voc.split_names, "coco": coco.split_names}[self.name](folder)

    def examine(self, config: ObjectsDatasetConfig, folder: Path, index: Index) -> tuple[Data | None, list[str]]:
        """As every layout, with every broken thing a line of its own; what is sound is opened all the same."""
        names: list[str] = list(dict.fromkeys((*config.train, config.test)))
        layout: Any = self.name
        try:
            published = config.promised.images if config.promised else None
            found = objects.read_splits(folder, layout, names, config.classes or None, "sample", None, published)
        except DataError as error:
            return None, [str(error)]
        return ObjectData(config, folder, found), [line for split in found.values() for line in split.skipped]

    def adapt(self, config: ObjectsDatasetConfig, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Find layout and splits of a folder of one's own. Raises DataError where they cannot be guessed."""
        if not settings and {*config.train, config.test} <= set(self.split_names(folder)):
            return {}
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        for layout in sorted(layout_names("objects"), key=lambda name: name != self.name):
            if names := find_layout(layout).split_names(folder):
                return {"layout": layout, **_choose_splits(folder, names, settings)}
        raise DataError(
            f"{folder}: neither a VOC folder (ImageSets/Main/*.txt, Annotations/, JPEGImages/) nor a COCO folder "
            "(annotations/*.json)"
        )


def _choose_splits(folder: Path, names: list[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `train`, `test` and `classes`: those that the user chose, else the splits of usual names."""
    train = settings.get("train") or [name for name in _TRAIN if name in names][:1]
    test = settings.get("test") or next((name for name in _TEST if name in names), None)
    for what, name in (("train", next(iter(train), None)), ("test", test)):
        if name not in names:
            lacking = f"has no split '{name}'" if name else "has no split of a usual name"
            raise DataError(
                f"{folder}: {lacking} to {what} on; it has {', '.join(names)}: name one with --{what}, or with "
                f"dataset.{what} in a suite"
            )
    return {"train": list(train), "test": test, "classes": list(settings.get("classes", ()))}
