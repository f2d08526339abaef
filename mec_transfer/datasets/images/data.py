"""Images with or without labels, opened, and what their layouts share."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.data import Data, Layout
from mec_transfer.datasets.images.fingerprint import fingerprints
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.problems import file_problems
from mec_transfer.datasets.index import Index


class ImageData(Data):
    """The splits of a data set of images."""

    held_out: np.ndarray | None = None
    """Which images of `train` the data set itself keeps for validation, (N,) bool; None where it names none."""

    def __init__(self, config: DatasetConfig, folder: Path, images: Mapping[str, ImageList], index: Index) -> None:
        super().__init__(config, folder)
        self.images, self._index = images, index

    @property
    def splits(self) -> dict[str, int]:
        """Images of each split."""
        return {name: len(images) for name, images in self.images.items()}

    @property
    def classes(self) -> int | None:
        """How many classes; None where there are no labels."""
        return len(next(iter(self.images.values())).classes) or None

    def labelled(self, split: str) -> ImageList:
        """Return the images of a split with their labels. Raises DataError where the layout has none."""
        images = self.images.get(split)
        if images is None or not images.classes:
            raise DataError(f"{self.folder}: layout '{self.config.layout}' has no labels; use 'imagefolder'")
        return images

    def hash(self) -> tuple[str, str]:
        """Hash names, sizes, labels and a sample of the files (`fingerprint.py`). Raises DataError."""
        after = fingerprints(self.images, self.config.layout, self._index)
        if self.held_out is None:
            return after[-1], after[0]
        return mix(after[-1], [self.held_out]), mix(after[0], [self.held_out])

    def look(self) -> list[str]:
        """Look at the names and sizes of all files, and decode a few of each split."""
        return file_problems(self.folder, self.images, self._index)

    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield every image's place and file, or its bytes where it is no file of its own."""
        for images in self.images.values():
            for index in range(len(images)):
                name = images.name(index)
                yield name, Path(name) if images.loose else images.read(index)

    def describe(self) -> list[str]:
        """Return images and classes of each split."""
        classes = f", {self.classes} classes" if self.classes else ""
        return [f"{line}{classes}" for line in super().describe()]


class ImageLayout(Layout):
    """A layout of images: a subclass says which splits a folder has."""

    @abc.abstractmethod
    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return every split by name; `index` knows the folders, or learns them.

        Raises:
            DataError: a split is missing or malformed; says which folder and what to do.
        """

    def open(self, config: DatasetConfig, folder: Path, index: Index) -> ImageData:
        """List the images. Raises DataError where a split is missing or malformed."""
        return ImageData(config, folder, self.open_all(folder, index), index)


def mix(digest: str, arrays: Sequence[np.ndarray]) -> str:
    """Return the sha256 of a digest and of arrays of bool."""
    mixed = hashlib.sha256(digest.encode())
    for array in arrays:
        mixed.update(f" {array.shape} ".encode() + np.packbits(array).tobytes())
    return mixed.hexdigest()
