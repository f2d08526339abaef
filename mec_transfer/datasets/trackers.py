"""The data of a tracker that is trained: the videos that it is measured on, and the sets that it learns from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.registry import find_layout
from mec_transfer.datasets.tracker_config import TrackerDatasetConfig
from mec_transfer.datasets.tracks import TracksData
from mec_transfer.datasets.videos.data import VideoData
from mec_transfer.datasets.videos.video import Video


class TrackerData(VideoData):
    """Videos to measure on, and tracks to learn from."""

    config: TrackerDatasetConfig

    def __init__(
        self,
        config: TrackerDatasetConfig,
        folder: Path,
        found: tuple[Video, ...],
        training: tuple[TracksData, ...],
    ) -> None:
        super().__init__(config, folder, found)
        self.training = training
        """In the order of the config's training sets."""

    @property
    def splits(self) -> dict[str, int]:
        """Frames of the videos, and images of each training set by its name."""
        parts = zip(self.config.training, self.training, strict=True)
        return super().splits | {part.name: sum(data.splits.values()) for part, data in parts}

    def hash(self) -> tuple[str, str]:
        """Hash the videos and the training sets; the second hash is of the training sets and their weights alone."""
        videos, _ = super().hash()
        parts = zip(self.config.training, self.training, strict=True)
        trained = _digest([[data.fingerprint, part.weight] for part, data in parts])
        return _digest([videos, trained]), trained

    def look(self) -> list[str]:
        """Look at the training sets' files."""
        return [problem for data in self.training for problem in data.problems]

    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield every frame's file, and every image that is trained on."""
        yield from super().image_files()
        for data in self.training:
            yield from data.image_files()

    def describe(self) -> list[str]:
        """Return what there is, a line a sequence and a training set."""
        parts = zip(self.config.training, self.training, strict=True)
        return super().describe() + [
            f"training set {part.name}: {len(data.tracks)} tracks in {sum(data.splits.values())} images"
            for part, data in parts
        ]


def open_tracker_data(config: TrackerDatasetConfig, folder: Path, index: Index) -> TrackerData:
    """Open the videos in `folder` and the training sets beside it.

    Raises:
        DataError: one of them is missing or broken; says which.
    """
    videos = find_layout(config.layout).open(config, folder, index)
    assert isinstance(videos, VideoData)
    training = []
    for part in config.training:
        place = config.training_folder(part, folder)
        try:
            data = find_layout(part.layout).open(part, place, index.beside(place))
        except DataError as error:
            raise DataError(f"training set '{part.name}': {error}") from None
        assert isinstance(data, TracksData)
        training.append(data)
    return TrackerData(config, folder, videos.videos, tuple(training))


def _digest(value: Any) -> str:
    return hashlib.sha256(b"mec-transfer tracker data 1\n" + json.dumps(value).encode()).hexdigest()
