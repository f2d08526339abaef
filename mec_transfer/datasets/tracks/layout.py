"""What the layouts of tracks share: a split is read once, kept for the next process, and refused where it is broken."""

from __future__ import annotations

import abc
import os
import time
from collections.abc import Sequence
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.data import Data, Layout
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.kept import Kept
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.states import State, state_of
from mec_transfer.datasets.tracks.data import TracksData
from mec_transfer.datasets.tracks.table import TableBuilder, TrackTable

_VERSION = "mec-transfer tracks 1"
SHOWN = 5
"""How many of many problems an error names."""
_SAMPLED = 256
"""Annotation files whose own states are looked at: that of a million would take as long as to read them."""


class Reading(TableBuilder):
    """A split that is being read: what is sound of it, what is not, and what it is read from."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        """A line for each thing that is wrong."""
        self.seen: dict[str, State] = {}
        """Files and folders, and when they changed."""
        self.tracks = 0
        """How many there are so far."""
        self._began = time.time_ns()

    @property
    def lasting(self) -> bool:
        """Whether nothing of what was read has changed since reading began."""
        return all(state is None or int(state[1]) < self._began for state in self.seen.values())

    def watch(self, *paths: Path | str) -> None:
        """Note the states of files or folders that are read; one that is not there may come."""
        self.seen |= {os.fspath(path): state_of(os.fspath(path)) for path in paths}

    def watch_some(self, paths: Sequence[str]) -> None:
        """Note the states of a sample of many files; of the others their folder tells what was added or removed."""
        self.watch(*(paths[index] for index in sample_indices(len(paths), _SAMPLED)))


class TracksLayout(Layout):
    """A layout of tracks: a subclass reads a split."""

    @abc.abstractmethod
    def read(self, config: TracksDatasetConfig, folder: Path, into: Reading) -> None:
        """Read a split; whatever is wrong in it becomes one of its problems.

        Raises:
            DataError: nothing can be read of it.
        """

    def open(self, config: TracksDatasetConfig, folder: Path, index: Index) -> TracksData:
        """Read the annotations. Raises DataError where anything in them is broken, or there is none."""
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        places = [os.fspath(folder), os.fspath(folder.absolute())]
        stamp = {"layout": self.name, "root": places, "split": config.split, **self.asked(config)}
        kept = Kept(index.folder, "tracks", _VERSION) if index.folder else None
        if kept and (found := kept.read(stamp)):
            meta, arrays = found
            return TracksData(config, folder, TrackTable.from_arrays(arrays, meta["digest"]), index)
        reading = Reading()
        self.read(config, folder, reading)
        if problems := reading.problems:
            more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise DataError(f"{'; '.join(problems[:SHOWN])}{more}")
        table = reading.build()
        if not len(table):
            raise DataError(f"{folder}: split '{config.split}' has no target to follow")
        if kept and reading.lasting:
            kept.write(stamp, reading.seen, {"digest": table.digest}, table.arrays())
        return TracksData(config, folder, table, index)

    def asked(self, config: TracksDatasetConfig) -> dict[str, object]:
        """Return what else of a config decides what is read (JSON)."""
        return {}

    def examine(self, config: TracksDatasetConfig, folder: Path, index: Index) -> tuple[Data | None, list[str]]:
        """As every layout, with every broken thing a line of its own; what is sound is opened all the same."""
        reading = Reading()
        try:
            self.read(config, folder, reading)
        except DataError as error:
            return None, [*reading.problems, str(error)]
        table = reading.build()
        if not len(table):
            return None, reading.problems or [f"{folder}: split '{config.split}' has no target to follow"]
        data = TracksData(config, folder, table, index)
        return data, [*reading.problems, *data.problems]
