"""Videos with one target as tracks: LaSOT's training videos, GOT-10k's, or any other layout of them."""

from __future__ import annotations

import os
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.registry import find_layout
from mec_transfer.datasets.tracks.layout import Reading, TracksLayout
from mec_transfer.datasets.videos.box_video import BoxLayout, BoxVideo

_ENDING = "_tracks"


class VideoTracksLayout(TracksLayout):
    """The layout of videos whose name comes before `_tracks`, with its splits; each video is a track."""

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits of the videos' layout."""
        return self._videos().split_names(folder)

    def read(self, config: TracksDatasetConfig, folder: Path, into: Reading) -> None:
        """Read a split. See `TracksLayout`."""
        videos, problems = self._videos().read_videos(folder, config.split, (), "")
        into.problems += problems
        into.watch(*(base / "list.txt" for base in (folder, folder / config.split)))
        for video in videos:
            if video.withheld:
                raise DataError(f"{video.withheld}; choose a split to learn from")
            read = (*video.files, video.frames.paths[0])
            folders = {parent for path in read for parent in path.parents if parent.is_relative_to(folder)}
            into.watch(*video.files, *folders)
            self._add(video, into)

    def _videos(self) -> BoxLayout[object]:
        layout = find_layout(self.name.removesuffix(_ENDING))
        assert isinstance(layout, BoxLayout)
        return layout

    def _add(self, video: BoxVideo, into: Reading) -> None:
        rows = zip(video.frames.paths, video.boxes.tolist(), video.is_visible().tolist(), strict=True)
        for frame, (path, box, seen) in enumerate(rows):
            image = into.add_image(os.fspath(path.parent), path.name)
            into.add_row(into.tracks, image, frame, box, seen)
        into.tracks += 1
