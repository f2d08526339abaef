"""The GOT-10k layout: train/GOT-10k_Train_000001/00000001.jpg and groundtruth.txt beside it (Huang et al., TPAMI 2021).

A line of the truth is x,y,w,h, a line a frame. absence.label holds a 1 where the target is not there, cover.label how
much of it is seen, from 0 to 8; it is visible where it is there, something of it is seen and its box has a size. Splits
are the folders `train`, `val` and `test`, their sequences those of SPLIT/list.txt, or all where there is no list. Of
`test` only the first frame's box is public: its server scores the rest.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from mec_transfer.datasets.scan import list_folder
from mec_transfer.datasets.videos.box_video import (
    BoxLayout,
    BoxVideo,
    has_size,
    read_box_video,
    read_flags,
    read_names,
    read_numbers,
)
from mec_transfer.datasets.videos.frames import open_frames

_COVERED = 8
"""cover.label where the whole target is seen."""


class Got10kLayout(BoxLayout[Path]):
    """A folder for each split, and in it one for each sequence."""

    SPLITS: ClassVar = {"train": "with truth", "val": "with truth", "test": "the 180 that are measured on"}

    def split_names(self, folder: Path) -> list[str]:
        """Return the folders that hold a sequence."""
        return [name for name in sorted(self.SPLITS) if any((folder / name).glob("*/groundtruth.txt"))]

    def find(self, root: Path, split: str) -> dict[str, Path]:
        """Return sequence -> its folder, sorted."""
        folder, listed = root / split, root / split / "list.txt"
        there = list_folder(folder)[0] if folder.is_dir() else []
        names = read_names(listed) if listed.is_file() else there
        return {name: folder / name for name in sorted(names)}

    def read_video(self, name: str, split: str, source: Path, problems: list[str]) -> BoxVideo | None:
        """Read one sequence. See `BoxLayout`."""
        frames = open_frames(source, name)
        video = read_box_video(frames, source / "groundtruth.txt", problems, first_alone=split == "test")
        if video is None or split == "test":
            return video
        labels = source / "absence.label", source / "cover.label"
        absent = read_flags(labels[0], len(frames), problems)
        cover = read_numbers(labels[1], len(frames), _COVERED, problems)
        if absent is None or cover is None:
            return None
        visible = has_size(video.boxes) & ~absent & (cover > 0)
        return dataclasses.replace(video, files=(*video.files, *labels), visible=visible)
