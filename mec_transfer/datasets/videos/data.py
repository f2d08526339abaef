"""Videos, opened: the five layouts that tracking runs on (`video.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import VideosDatasetConfig
from mec_transfer.datasets.data import Data, Layout
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.videos import video as videos
from mec_transfer.datasets.videos.video import Video


class VideoData(Data):
    """The sequences of a split."""

    config: VideosDatasetConfig

    def __init__(self, config: VideosDatasetConfig, folder: Path, found: tuple[Video, ...]) -> None:
        super().__init__(config, folder)
        self.videos = found
        self.sequences = len(found)

    @property
    def splits(self) -> dict[str, int]:
        """Frames of the split."""
        return {self.config.split: sum(len(video.frames) for video in self.videos)}

    @property
    def classes(self) -> None:
        """Nothing is told apart."""
        return None

    def hash(self) -> tuple[str, str]:
        """Hash names, all annotations and a sample of the frames; nothing is trained. Raises DataError."""
        return videos.fingerprint(self.videos), ""

    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield every frame's file."""
        for video in self.videos:
            for path in video.frames.paths:
                yield str(path), path

    def describe(self) -> list[str]:
        """Return length and size of each sequence, and what was left out."""
        lines = [f"{v.name}: {len(v.frames)} frames of {v.frames.width}x{v.frames.height}" for v in self.videos]
        return lines + [f"note: {note}" for note in videos.remarks(self.videos)]


class VideoLayout(Layout):
    """A layout of videos."""

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits that a folder has."""
        names: list[str] = videos.layout_module(self.name).split_names(folder)
        return names

    def open(self, config: VideosDatasetConfig, folder: Path, index: Index) -> VideoData:
        """Read the annotations and list the frames. Raises DataError, as MissingPart where the split is not there."""
        part = (config.split, config.sequences, config.detections)
        return VideoData(config, folder, videos.open_videos(folder, self.name, *part))

    def examine(self, config: VideosDatasetConfig, folder: Path, index: Index) -> tuple[Data | None, list[str]]:
        """As every layout, with every broken thing a line of its own; what is sound is opened all the same."""
        part = (config.split, config.sequences, config.detections)
        try:
            found, problems = videos.read_videos(folder, self.name, *part)
        except DataError as error:
            return None, [str(error)]
        return VideoData(config, folder, tuple(found)), problems
