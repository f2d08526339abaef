"""What a detector saw in a frame of a video: boxes, masks or poses, with scores. Association joins them to tracks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.videos.frames import Frames

NO_DETECTIONS = "none"
"""In place of a path where what is done with the videos needs no detector's output."""
_LISTED = 4
"""How many categories a line names, where there are many."""
JOINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("head_bottom", "nose", "head_top"),
)
"""The K = 15 joints of a pose in their order here: PoseTrack's, as its evaluation numbers them from 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detections:
    """The detections of one frame."""

    boxes: np.ndarray
    """(N, 4) float64: x0, y0, x1, y1 in pixels from the image's corner, half-open; of masks and poses, around them."""
    scores: np.ndarray
    """(N,) float64."""
    masks: tuple[dict[str, Any], ...] | None = None
    """N compressed RLEs as pycocotools takes them (`size`: [height, width], `counts`: bytes), of the frame's size."""
    poses: np.ndarray | None = None
    """(N, K, 3) float64: x, y, score of each of `JOINTS`; all three are NaN where a joint is absent."""

    def __len__(self) -> int:
        return len(self.scores)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionFile:
    """What was read from a detector's output for one sequence."""

    frames: tuple[Detections, ...]
    """One for each frame of the sequence."""
    undetected: str
    """Why there is no detection in any of them, with the file; empty where there is one."""
    notes: tuple[str, ...]
    """What was left out, a line each, with the file."""


def nothing_detected(frames: Frames) -> DetectionFile:
    """Return what there is where no detections are wanted."""
    nothing = Detections(boxes=np.empty((0, 4)), scores=np.empty(0))
    return DetectionFile(frames=(nothing,) * len(frames), undetected="", notes=())


def detection_file(path: Path, frames: tuple[Detections, ...], others: Counter[str], persons: str) -> DetectionFile:
    """Say what became of a file's detections.

    Args:
        path: the file.
        frames: what is followed.
        others: what was left out for not being a person, as `category_id 3`: how often.
        persons: what a person has instead.
    """
    kept, dropped = sum(map(len, frames)), sum(others.values())
    listed = ", ".join(f"{name} ({count})" for name, count in others.most_common(_LISTED))
    listed += ", ..." if len(others) > _LISTED else ""
    undetected, notes = "", list[str]()
    if not kept and dropped:
        why = f"none of its {dropped} detections is a person's, which has {persons}; they have {listed}"
        undetected = f"{path}: nothing to follow: {why}"
    elif not kept:
        undetected = f"{path}: nothing to follow: no detection in it"
    elif dropped:
        of = f"{dropped} of {dropped + kept} detections"
        notes.append(f"{path}: {of} are not followed, since a person's has {persons}; they have {listed}")
    return DetectionFile(frames=frames, undetected=undetected, notes=tuple(notes))


def detections_path(root: Path, template: str, sequence: str) -> Path:
    """Return the file with a sequence's detections: `template` below `root`, or absolute, `{sequence}` its name.

    Raises:
        DataError: no template, or no such file.
    """
    example = "for instance --detections 'detections/{sequence}.txt'"
    if not template:
        raise DataError(f"{root}: association needs a detector's output, and none is named: {example}")
    path = root / template.replace("{sequence}", sequence)
    if not path.is_file():
        raise DataError(f"{path}: no such file; say where the detections of '{sequence}' are, {example}")
    return path
