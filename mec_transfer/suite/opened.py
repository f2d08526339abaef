"""The data sets of a run: each is opened once, and what was found out is kept beside the run."""

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
        """Return the data set, which is opened the first time. Raises DataError as `open_data` does, every time."""
        # What a data set is called changes what is in it only by what the name promises.
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
        """Return where what is known of the folder is kept, for a process that opens it too."""
        return Index.of(folder, self._folder)

    def save(self) -> None:
        """Write what is known; where that cannot be, say so: it would only have saved time."""
        for index in self._indices.values():
            try:
                index.save()
            except RunError as error:
                warn(f"{error}; the folders are listed anew next time")

    def close(self) -> None:
        """Let go of the data: a run holds none of it while its jobs do their work."""
        self.save()
        self._opened.clear()
        self._indices.clear()

    def _index(self, folder: Path) -> Index:
        if folder not in self._indices:
            self._indices[folder] = Index.read(self.index_file(folder))
        return self._indices[folder]
