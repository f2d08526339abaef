"""The PoseTrack18 layout: annotations/SPLIT/SEQUENCE.json, and the frames at the paths that these name.

A split is a folder below annotations/ (`val`). `pose_files` says what a file holds; ground truth needs `track_id` and
`bbox_head`. The frames are those that a file lists, labelled or not (images/SPLIT/SEQUENCE/000000.jpg), in the order of
their numbers; frames of the folder that it does not list are not followed, and measuring leaves out those without a
person. Detections are a file of the same form for each sequence, or of PoseTrack17's (`pose_files_2017`), with as many
images of the same names, named by a path with `{sequence}` in it; a person without a joint is left out.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import Json
from mec_transfer.datasets.scan import list_folder
from mec_transfer.datasets.videos.data import VideoLayout
from mec_transfer.datasets.videos.detections import Detections, detection_file, detections_path
from mec_transfer.datasets.videos.frames import Frames, open_frames
from mec_transfer.datasets.videos.pose_files import PoseFrame, pose_box, read_pose_file, without_ignored
from mec_transfer.datasets.videos.pose_files_2017 import read_annolist
from mec_transfer.datasets.videos.video import MissingPart, Video, choose_sequences

_FRAME_RATE = 6.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoseVideo(Video):
    """A sequence with persons as poses."""

    frame_rate: float = _FRAME_RATE
    """The files do not say; UniTrack's settings have 6."""
    detections: tuple[Detections, ...]
    """One a frame, with `poses`; the boxes are `pose_box`es, and the masks `tracking.association.skeleton` draws."""
    ground_truth: Path
    """The annotations' file."""


class PoseTrackLayout(VideoLayout):
    """annotations/SPLIT and the frames that its files name."""

    def split_names(self, folder: Path) -> list[str]:
        """Return the folders of annotations, such as `val`."""
        return list_folder(folder / "annotations")[0] if (folder / "annotations").is_dir() else []

    def read_videos(
        self, root: Path, split: str, sequences: Sequence[str], detections: str
    ) -> tuple[list[PoseVideo], list[str]]:
        """Read a split's sequences; return the sound ones, and a line for each thing that is wrong."""
        folder = root / "annotations" / split
        if not split or not folder.is_dir():
            there = ", ".join(list_folder(root / "annotations")[0]) or "no folder"
            raise MissingPart(f"{root / 'annotations'}: has no split '{split}'; it has {there}")
        files = {Path(name).stem: folder / name for name in list_folder(folder)[1] if name.endswith(".json")}
        names = choose_sequences(list(files), sequences, folder)
        if detections and "{sequence}" not in detections and len(names) > 1:
            raise DataError(
                f"detections: '{detections}' is one file for {len(names)} sequences; write {{sequence}} for their name"
            )
        videos: list[PoseVideo] = []
        problems: list[str] = []
        for name in names:
            before = len(problems)
            try:
                path = detections_path(root, detections, name)
                truth = read_pose_file(files[name], problems, identified=True, heads=True)
                frames = _open_frames(root, files[name], name, truth)
                found = _read_detections(path, problems)
                if len(problems) == before:
                    _check_names(path, found, truth)
            except DataError as error:
                problems.append(str(error))
            if len(problems) > before:
                continue
            seen = detection_file(path, tuple(_detections(frame) for frame in found), Counter(), "a pose with a joint")
            videos.append(
                PoseVideo(
                    frames=frames,
                    files=(files[name], path),
                    detections=seen.frames,
                    ground_truth=files[name],
                    unscored=_why_unscored(files[name], truth),
                    undetected=seen.undetected,
                )
            )
        return videos, problems


def _why_unscored(path: Path, truth: tuple[PoseFrame, ...]) -> str:
    """Return why nothing is measured: no person has a joint outside the ignored regions."""
    if any(not np.isnan(without_ignored(frame, frame.regions).poses).all() for frame in truth):
        return ""
    persons = sum(len(frame.identities) for frame in truth)
    return f"{path}: nothing to score: none of its {persons} persons has a keypoint outside the ignored regions"


def _read_detections(path: Path, problems: list[str]) -> tuple[PoseFrame, ...]:
    """Raises DataError."""
    document = Json(path)
    if isinstance(document.data, dict) and "annolist" in document.data:
        return read_annolist(document, problems)
    return read_pose_file(path, problems, identified=False, heads=False)


def _open_frames(root: Path, path: Path, name: str, truth: tuple[PoseFrame, ...]) -> Frames:
    """Return the listed frames. Raises DataError."""
    if not truth:
        raise DataError(f"{path}:1: lists no image")
    files = [root / frame.image["file_name"] for frame in truth]
    every = open_frames(files[0].parent, name)
    numbers = dict(zip(every.paths, every.numbers))
    for index, file in enumerate(files):
        if file not in numbers:
            what = f"its frame {file} is missing; the frames must lie below {root}, in one folder"
            raise DataError(Json(path).complain("images", index, what))
    listed = tuple(numbers[file] for file in files)
    for index in range(1, len(listed)):
        if listed[index] <= listed[index - 1]:
            raise DataError(Json(path).complain("images", index, f"{files[index].name} after {files[index - 1].name}"))
    return dataclasses.replace(every, paths=tuple(files), numbers=listed)


def _check_names(path: Path, found: tuple[PoseFrame, ...], truth: tuple[PoseFrame, ...]) -> None:
    """Raises DataError."""
    if len(found) != len(truth):
        raise DataError(f"{path}:1: lists {len(found)} images, the ground truth {len(truth)}")
    for mine, theirs in zip(found, truth):
        one, other = Path(mine.image["file_name"]).name, Path(theirs.image["file_name"]).name
        if one != other:
            raise DataError(f"{path}:1: lists image {one}, where the ground truth has {other}")


def _detections(frame: PoseFrame) -> Detections:
    there = ~np.isnan(frame.poses[:, :, 0]).all(axis=1)
    poses = frame.poses[there]
    boxes = np.array([pose_box(pose) for pose in poses], dtype=np.float64).reshape(-1, 4)
    return Detections(boxes=boxes, scores=frame.scores[there], poses=poses)
