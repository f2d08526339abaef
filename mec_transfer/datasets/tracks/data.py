"""Tracks, opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.common.files import sha256_file
from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.decode import load_rgb
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.tracks.table import TrackTable
from mec_transfer.datasets.values import few

_SAMPLED_FILES = 64


class TracksData(Data):
    """The tracks of a split."""

    config: TracksDatasetConfig

    def __init__(self, config: TracksDatasetConfig, folder: Path, tracks: TrackTable, index: Index) -> None:
        super().__init__(config, folder)
        self.tracks, self._index = tracks, index

    @property
    def splits(self) -> dict[str, int]:
        """Images with a target in them."""
        return {self.config.split: len(self.tracks.files)}

    @property
    def classes(self) -> None:
        """Nothing is told apart."""
        return None

    def hash(self) -> tuple[str, str]:
        """Hash every track and a sample of the images; all of it is trained on. Raises DataError."""
        digest, files = hashlib.sha256(b"mec-transfer tracks fingerprint 1\n"), self.tracks.files
        digest.update(self.tracks.digest.encode())
        try:
            for index in sample_indices(len(files), _SAMPLED_FILES):
                digest.update(sha256_file(files[index]).encode())
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror or error})") from None
        return digest.hexdigest(), digest.hexdigest()

    def look(self) -> list[str]:
        """Look at the sizes of all images, and decode a few of them."""
        files = self.tracks.files
        folders = [os.path.relpath(folder, self.folder) for folder in files.folders]
        paths = [f"{folders[folder]}/{files.name(index)}" for index, folder in enumerate(files.folder.tolist())]
        sizes, problems = self._index.file_sizes(self.folder, paths), list[str]()
        for what, bad in (("empty (zero bytes)", sizes == 0), ("missing or a broken link", sizes < 0)):
            if bad.any():
                names = [paths[index] for index in np.flatnonzero(bad)]
                problems.append(f"{self.folder}: {len(names)} of {len(paths)} images are {what}: {few(names)}")
        for index in sample_indices(len(files), _SAMPLED_FILES):
            try:
                if sizes[index] > 0:
                    load_rgb(files[index])
            except DataError as error:
                problems.append(str(error))
        return problems

    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield every image's file."""
        for index in range(len(self.tracks.files)):
            path = self.tracks.files[index]
            yield str(path), path

    def describe(self) -> list[str]:
        """Return how many tracks, images and boxes there are."""
        tracks, hidden = self.tracks, int((~self.tracks.visible).sum())
        line = f"{len(tracks)} tracks in {len(tracks.files)} images, {len(tracks.boxes)} boxes"
        return [f"{self.config.split}: {line}" + (f", {hidden} of them hidden or without a size" if hidden else "")]
