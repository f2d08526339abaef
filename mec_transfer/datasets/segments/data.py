"""Images with a class for every pixel, opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from mec_transfer.datasets.config import SegmentsDatasetConfig
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.segments.split import SegmentSplit, join_splits
from mec_transfer.datasets.segments.survey import Survey, survey

_VERSION = "mec-transfer segments fingerprint 1"


class SegmentData(Data):
    """The splits of a data set of images with masks."""

    config: SegmentsDatasetConfig

    def __init__(
        self, config: SegmentsDatasetConfig, folder: Path, opened: Mapping[str, SegmentSplit], index: Index
    ) -> None:
        super().__init__(config, folder)
        self.opened, self._index = opened, index

    @property
    def splits(self) -> dict[str, int]:
        """Images of each split."""
        return {name: len(split) for name, split in self.opened.items()}

    @property
    def classes(self) -> int:
        """How many classes."""
        return len(self.test.classes)

    @cached_property
    def train(self) -> SegmentSplit:
        """The splits to train on, as one."""
        return join_splits([self.opened[name] for name in self.config.train])

    @property
    def test(self) -> SegmentSplit:
        """The split to measure on."""
        return self.opened[self.config.test]

    @cached_property
    def surveys(self) -> dict[str, Survey]:
        """What looking at all masks has shown, by split."""
        return {name: survey(split, self._index) for name, split in self.opened.items()}

    def hash(self) -> tuple[str, str]:
        """Hash classes, all masks, sizes, and a sample of the images. Raises DataError where a file cannot be read."""
        digest = hashlib.sha256(f"{_VERSION}\n".encode())
        for name in dict.fromkeys(self.config.train):
            digest.update(self.surveys[name].digest.encode())
        train = digest.hexdigest()
        digest.update(f"test {self.surveys[self.config.test].digest}".encode())
        return digest.hexdigest(), train

    def look(self) -> list[str]:
        """Return what is wrong with masks and images, a line each."""
        return [problem for found in self.surveys.values() for problem in found.problems]

    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield every image's file."""
        for split in self.opened.values():
            for image in split.images:
                yield str(image), image

    def describe(self) -> list[str]:
        """Return images, classes, and which share of the pixels each class has, a line a split."""
        lines = []
        for name, split in self.opened.items():
            pixels = self.surveys[name].pixels
            whole = max(sum(pixels), 1)
            shares = ", ".join(f"{one} {100 * part / whole:.1f} %" for one, part in zip(split.classes, pixels))
            lines.append(f"{name}: {len(split)} images, {len(split.classes)} classes: {shares}")
        return lines
