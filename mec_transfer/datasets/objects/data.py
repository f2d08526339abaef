"""Images with objects in them, opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from mec_transfer.datasets.config import ObjectsDatasetConfig
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.objects.notes import training_notes
from mec_transfer.datasets.objects.splits import ObjectSplit, fingerprints, join_splits


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
        after = fingerprints(dict(self.opened))
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
