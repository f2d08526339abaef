"""A data set that has been opened, and what every layout offers."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.index import Index


class Data(abc.ABC):
    """A data set that lies open: listed and parsed once, then shared by whoever plans, checks and runs a job."""

    sequences: int | None = None
    """How many; None where the data is not videos."""
    note: str = ""
    """What makes it other than the folder's whole content, such as annotations that were left out."""

    def __init__(self, config: DatasetConfig, folder: Path) -> None:
        self.config, self.folder = config, folder

    @property
    @abc.abstractmethod
    def splits(self) -> dict[str, int]:
        """Images of each split, or frames of the one that is tracked in."""

    @property
    @abc.abstractmethod
    def classes(self) -> int | None:
        """How many there are to tell apart; None where there are no labels."""

    @abc.abstractmethod
    def hash(self) -> tuple[str, str]:
        """Compute the sha256 of the data, and that of the part to train on alone ("" where nothing is trained)."""

    @cached_property
    def _hashes(self) -> tuple[str, str]:
        return self.hash()

    @property
    def fingerprint(self) -> str:
        """Changes with the data, not with where it lies. Raises DataError where a file cannot be read."""
        return self._hashes[0]

    @property
    def train_fingerprint(self) -> str:
        """The same of what is trained on alone; "" where nothing is."""
        return self._hashes[1]

    @cached_property
    def problems(self) -> list[str]:
        """What is wrong with the images as far as sizes, headers and a sample tell, a line each."""
        return self.look()

    def look(self) -> list[str]:
        """Look at the files of images for `problems`."""
        return []

    @abc.abstractmethod
    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield every image: where it lies, and its file or its encoded bytes."""

    def describe(self) -> list[str]:
        """Return what there is, a line a split or a sequence."""
        return [f"{name or 'images'}: {count} images" for name, count in self.splits.items()]


class Layout(abc.ABC):
    """How data sets of one kind lie on the disk."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abc.abstractmethod
    def open(self, config: Any, folder: Path, index: Index) -> Data:
        """Open a data set. Raises DataError where it is not one, or is broken."""

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits that a folder has, sorted; none where it is not of this layout."""
        return []

    def adapt(self, config: Any, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of a benchmark's data set that data of one's own asks for; none where `folder` fits.

        Args:
            config: the benchmark's.
            folder: the data set's own.
            settings: keys that the user chose.

        Raises:
            DataError: it cannot be found out what the user wants.
        """
        return dict(settings)

    def examine(self, config: Any, folder: Path, index: Index) -> tuple[Data | None, list[str]]:
        """Open a data set and look at its files: what could be opened, and a line for each thing that is wrong."""
        try:
            data = self.open(config, folder, index)
        except DataError as error:
            return None, [str(error)]
        return data, data.problems
