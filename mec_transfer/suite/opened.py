"""The data sets of a run: each is opened once, and its index is kept beside the run."""

from __future__ import annotations

from pathlib import Path

from mec_transfer.common.errors import DataError, RunError
from mec_transfer.common.progress import warn
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.registry import open_data


class OpenedData:
    """Opens data sets for the jobs of one run, however many of them use the same."""

    def __init__(self, out: Path) -> None:
        self._folder = out / "index"
        self._indices: dict[Path, Index] = {}
        self._opened: dict[tuple[Path, str], Data | DataError] = {}

    def open(self, config: DatasetConfig, folder: Path) -> Data:
        """Return the data set, opened at the first call. Raises DataError as `open_data` does, at every call."""
        # The name of a data set makes a difference only through what it promises.
        promised = config.promised.model_dump_json() if config.promised else ""
        key = folder, config.model_dump_json(exclude={"name", "folder", "expect"}) + promised
        if key not in self._opened:
            try:
                self._opened[key] = open_data(config, folder, self._index(folder))
            except DataError as error:
                self._opened[key] = error
        found = self._opened[key]
        if isinstance(found, DataError):
            raise found
        return found

    def index_file(self, folder: Path) -> Path:
        """Return the file of the folder's index, for other processes that open the same data."""
        return Index.of(folder, self._folder)

    def save(self) -> None:
        """Write the indices; a failure is only a warning, since they do no more than save time."""
        for index in self._indices.values():
            try:
                index.save()
            except RunError as error:
                warn(f"{error}; the folders are listed anew next time")

    def close(self) -> None:
        """Save the indices and release the data, which a run does not need while its jobs run."""
        self.save()
        self._opened.clear()
        self._indices.clear()

    def _index(self, folder: Path) -> Index:
        if folder not in self._indices:
            self._indices[folder] = Index.read(self.index_file(folder))
        return self._indices[folder]
