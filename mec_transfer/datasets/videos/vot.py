"""The VOT layout: SEQUENCE/color/00000001.jpg, or SEQUENCE/00000001.jpg, and SEQUENCE/groundtruth.txt.

A line of the truth is the corners of a quadrilateral, x1,y1,x2,y2,x3,y3,x4,y4, a line a frame; x,y,w,h stands for the
rectangle's corners. list.txt names the sequences; without it they are all folders. They lie in the folder itself, or in
`data` (MMTracking's converter) or `sequences` (a VOT workspace) below it. The one split is `all`: which year's it is,
such as VOT2018's sixty, does not show in the folder.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import read_lines, split_fields
from mec_transfer.datasets.scan import list_folder
from mec_transfer.datasets.videos.box_video import BoxLayout, BoxVideo, make_box_video, parse_boxes, read_names
from mec_transfer.datasets.videos.frames import open_frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class VotVideo(BoxVideo):
    """A video whose target is a quadrilateral; `boxes` are the upright ones around it."""

    polygons: np.ndarray
    """(frames, 8) float64: x, y of the four corners, as the file has them."""


class VotLayout(BoxLayout[Path]):
    """A folder for each sequence."""

    SPLITS: ClassVar = {"all": "every sequence"}

    def split_names(self, folder: Path) -> list[str]:
        """Return `all` where there is a sequence."""
        return ["all"] if folder.is_dir() and self.find(folder, "all") else []

    def find(self, root: Path, split: str) -> dict[str, Path]:
        """Return sequence -> its folder, in the order of list.txt or sorted. Raises DataError."""
        base = next((root / name for name in ("data", "sequences") if (root / name).is_dir()), root)
        listed = next((path for path in (base / "list.txt", root / "list.txt") if path.is_file()), None)
        if listed is None:
            return {name: base / name for name in list_folder(base)[0] if (base / name / "groundtruth.txt").is_file()}
        return {name: base / name for name in read_names(listed)}

    def read_video(self, name: str, split: str, source: Path, problems: list[str]) -> VotVideo | None:
        """Read one sequence. See `BoxLayout`."""
        truth = source / "groundtruth.txt"
        polygons, broken = _read_polygons(truth)
        problems += broken
        if broken:
            return None
        frames = open_frames(source / "color" if (source / "color").is_dir() else source, name)
        x, y = polygons[:, 0::2], polygons[:, 1::2]
        corner = np.stack([x.min(axis=1), y.min(axis=1)], axis=1)
        boxes = np.concatenate([corner, np.stack([x.max(axis=1), y.max(axis=1)], axis=1) - corner], axis=1)
        video = make_box_video(frames, truth, boxes, problems)
        return None if video is None else VotVideo(**vars(video), polygons=polygons)


def _read_polygons(path: Path) -> tuple[np.ndarray, list[str]]:
    """Return polygons, (lines, 8), and a line for each line that is none. Raises DataError."""
    lines = read_lines(path)
    if not lines:
        raise DataError(f"{path}: empty")
    if len(split_fields(lines[0][1])) != 4:
        polygons, broken = parse_boxes(path, columns=8)
        return polygons, broken + _absent(path, polygons, broken)
    boxes, broken = parse_boxes(path)
    left, top, right, bottom = boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    polygons = np.stack([left, top, right, top, right, bottom, left, bottom], axis=1)
    return polygons, broken + _absent(path, polygons, broken)


def _absent(path: Path, polygons: np.ndarray, broken: list[str]) -> list[str]:
    """Return a line for the first frame without a target: VOT's short-term protocol has no such frame."""
    absent = np.isnan(polygons).any(axis=1)
    if broken or not absent.any():
        return []
    return [f"{path}:{int(absent.argmax()) + 1}: no target in this frame, which the protocol of VOT does not know"]
