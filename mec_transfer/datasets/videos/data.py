"""Videos, opened, and what their layouts share."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import VideosDatasetConfig
from mec_transfer.datasets.data import Data, Layout
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.videos.video import SHOWN, Video, fingerprint, remarks


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
        return fingerprint(self.videos), ""

    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield every frame's file."""
        for video in self.videos:
            for path in video.frames.paths:
                yield str(path), path

    def describe(self) -> list[str]:
        """Return length and size of each sequence, and what was left out."""
        lines = [f"{v.name}: {len(v.frames)} frames of {v.frames.width}x{v.frames.height}" for v in self.videos]
        return lines + [f"note: {note}" for note in remarks(self.videos)]


class VideoLayout(Layout):
    """A layout of videos: a subclass reads a split into its own subclass of `Video`, which holds its truth.

    Everything that is broken is collected, with file and line, before anything is computed.
    """

    @abc.abstractmethod
    def read_videos(
        self, root: Path, split: str, sequences: Sequence[str], detections: str
    ) -> tuple[Sequence[Video], list[str]]:
        """Read what is sound of a split, in the order of `sequences` or of the split; and a line for each other thing.

        Args:
            root: the data set's own folder, which is there.
            split: which part of the data set.
            sequences: only these; none: all of the split.
            detections: a path below `root` (or an absolute one) with `{sequence}` in it, where the layout takes some.

        Raises:
            DataError: nothing can be read; as MissingPart where the split or a sequence is not there.
        """

    def open(self, config: VideosDatasetConfig, folder: Path, index: Index) -> VideoData:
        """Read the annotations and list the frames. Raises DataError, as MissingPart where the split is not there."""
        found, problems = self._read(config, folder)
        if problems:
            listed = "; ".join(problems[:SHOWN])
            more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise DataError(f"{listed}{more}")
        if not found:
            raise DataError(f"{folder}: split '{config.split}' has no sequence")
        return VideoData(config, folder, tuple(found))

    def examine(self, config: VideosDatasetConfig, folder: Path, index: Index) -> tuple[Data | None, list[str]]:
        """As every layout, with every broken thing a line of its own; what is sound is opened all the same."""
        try:
            found, problems = self._read(config, folder)
        except DataError as error:
            return None, [str(error)]
        return VideoData(config, folder, tuple(found)), problems

    def _read(self, config: VideosDatasetConfig, folder: Path) -> tuple[Sequence[Video], list[str]]:
        """Do what `read_videos` does.

        A single sequence in which nothing can be scored, or nothing was detected, is sound, and `remarks` tells of it.
        It is a problem where all sequences are like that: the number would be 0 and would say nothing.
        """
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        videos, problems = self.read_videos(folder, config.split, config.sequences, config.detections)
        for reasons in ([video.unscored for video in videos], [video.undetected for video in videos]):
            if reasons and all(reasons):
                problems += reasons
        return videos, list(dict.fromkeys(problems))  # what holds for all sequences is told once
