"""The OTB layout: SEQUENCE/img/0001.jpg and SEQUENCE/groundtruth_rect.txt (Wu, Lim, Yang, TPAMI 2015).

A line of the truth is x, y, w, h in pixels counted from 1, a line a frame; commas, semicolons, tabs or blanks stand
between (`annotations.split_fields`). A box with NaN, or without width or height, says that the target is not there.
Split `OTB2015` is the hundred published sequences, `all` is every folder that is a sequence. A folder with several
targets (groundtruth_rect.1.txt, groundtruth_rect.2.txt) is a sequence for each, named as pysot names them: `Jogging-1`,
`Jogging-2`. Copies of the folder under these names are read too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import parse_number, read_text, split_fields
from mec_transfer.datasets.scan import list_folder
from mec_transfer.datasets.videos.data import VideoLayout
from mec_transfer.datasets.videos.frames import Frames, open_frames
from mec_transfer.datasets.videos.video import SHOWN, MissingPart, Video, choose_sequences

_NAMES = """
    Basketball Biker Bird1 Bird2 BlurBody BlurCar1 BlurCar2 BlurCar3 BlurCar4 BlurFace BlurOwl Board Bolt Bolt2 Box
    Boy Car1 Car2 Car24 Car4 CarDark CarScale ClifBar Coke Couple Coupon Crossing Crowds Dancer Dancer2 David David2
    David3 Deer Diving Dog Dog1 Doll DragonBaby Dudek FaceOcc1 FaceOcc2 Fish FleetFace Football Football1 Freeman1
    Freeman3 Freeman4 Girl Girl2 Gym Human2 Human3 Human4-2 Human5 Human6 Human7 Human8 Human9 Ironman Jogging-1
    Jogging-2 Jump Jumping KiteSurf Lemming Liquor Man Matrix Mhyang MotorRolling MountainBike Panda RedTeam Rubik
    Shaking Singer1 Singer2 Skater Skater2 Skating1 Skating2-1 Skating2-2 Skiing Soccer Subway Surfer Suv Sylvester
    Tiger1 Tiger2 Toy Trans Trellis Twinnings Vase Walking Walking2 Woman
"""
OTB2015 = tuple(_NAMES.split())
"""The published sequences."""

_PARTS = {
    "BlurCar1": (247, 988),
    "BlurCar3": (3, 359),
    "BlurCar4": (18, 397),
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
}
"""Which frames the truth is of, where the folder has more (pytracking evaluation/otbdataset.py, got10k otb.py)."""
_LEFT_OUT = {"Tiger1": 5}
"""Frames that are there and have a truth, but are not tracked (pytracking, `initOmit`)."""
_TRUTH = re.compile(r"groundtruth_rect(?:\.(\d+))?\.txt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxVideo(Video):
    """A video with one target."""

    boxes: np.ndarray
    """(frames, 4) float64: x, y, w, h in pixels counted from 1, as the file has them; the first lies in the image."""


class OtbLayout(VideoLayout):
    """Folders of frames with one target, or several, each."""

    def split_names(self, folder: Path) -> list[str]:
        """Return `all` where there is a sequence; the published hundred are a part of it."""
        return ["all"] if folder.is_dir() and _find_targets(folder) else []

    def read_videos(
        self, root: Path, split: str, sequences: Sequence[str], detections: str
    ) -> tuple[list[BoxVideo], list[str]]:
        """Read the videos of a split; return the sound ones, and a line for each thing that is wrong.

        Raises:
            MissingPart: there is no such split or sequence.
        """
        found = _find_targets(root)
        if split not in ("OTB2015", "all"):
            raise MissingPart(f"{root}: has no split '{split}'; there are OTB2015 (the published hundred) and all")
        names = OTB2015 if split == "OTB2015" else tuple(found)
        chosen = choose_sequences(names, sequences, root)
        if missing := [name for name in chosen if name not in found]:
            listed = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
            raise MissingPart(f"{root}: {len(missing)} of {len(chosen)} sequences are not there: {listed}")
        videos, problems = [], list[str]()
        for name in chosen:
            left_out = _LEFT_OUT.get(name, 0) if split == "OTB2015" else 0
            try:
                videos.append(_read_video(name, *found[name], left_out, problems))
            except DataError as error:
                problems.append(str(error))
        return [video for video in videos if video is not None], problems


def read_boxes(path: Path) -> np.ndarray:
    """Read a file of boxes, (lines, 4) float64 as they stand there.

    Raises:
        DataError: it cannot be read, or a line is not four numbers; the first such line is named.
    """
    boxes, problems = _parse(path)
    if problems:
        raise DataError(problems[0])
    return boxes


def _find_targets(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return sequence -> its folder and its truth, sorted; a folder without frames or truth is no sequence."""
    found: dict[str, tuple[Path, Path]] = {}
    for name in list_folder(root)[0]:
        folder = root / name
        files = [match for file in list_folder(folder)[1] if (match := _TRUTH.fullmatch(file))]
        # The published Human4 has an empty groundtruth_rect.1.txt beside the second target's.
        files = [match for match in files if len(files) == 1 or (folder / match.string).stat().st_size]
        copied = next(
            (match for match in files if name in OTB2015 and match[1] and name.endswith(f"-{match[1]}")), None
        )
        if copied:
            found[name] = (folder, folder / copied.string)
        elif files:
            for match in files:
                found.setdefault(f"{name}-{match[1]}" if match[1] else name, (folder, folder / match.string))
        elif (folder / "img").is_dir():
            found[name] = (folder, folder / "groundtruth_rect.txt")
    return found


def _read_video(name: str, folder: Path, truth: Path, left_out: int, problems: list[str]) -> BoxVideo | None:
    """Read one sequence; adds to `problems` and returns None where its truth is broken. Raises DataError."""
    frames = open_frames(folder / "img", name)
    boxes, broken = _parse(truth)
    problems += broken
    if broken:
        return None
    if len(boxes) != len(frames) and name in _PARTS:
        frames = _part(frames, *_PARTS[name])
    if len(boxes) != len(frames):
        problems.append(f"{truth}: {len(boxes)} boxes, but {folder / 'img'} has {len(frames)} frames to be tracked")
        return None
    frames, boxes = _part(frames, frames.numbers[0] + left_out, frames.numbers[-1]), boxes[left_out:]
    if problem := _first_problem(boxes[0], frames):
        problems.append(f"{truth}:{left_out + 1}: {problem}")
        return None
    return BoxVideo(frames=frames, files=(truth,), boxes=boxes, unscored=_why_unscored(truth, boxes))


def _why_unscored(truth: Path, boxes: np.ndarray) -> str:
    """Return why a video says nothing about a tracker: its first box is given, and no other one is there."""
    if (boxes[1:] > 0).all(axis=1).any():
        return ""
    there = f"{len(boxes)} frame{'s' if len(boxes) > 1 else ''}"
    return f"{truth}: nothing to score: no frame after the first has a box with all four numbers above 0 ({there})"


def _part(frames: Frames, first: int, last: int) -> Frames:
    kept = [index for index, number in enumerate(frames.numbers) if first <= number <= last]
    return dataclasses.replace(
        frames,
        paths=tuple(frames.paths[index] for index in kept),
        numbers=tuple(frames.numbers[index] for index in kept),
    )


def _first_problem(box: np.ndarray, frames: Frames) -> str | None:
    x, y, w, h = box.tolist()
    if not (w > 0 and h > 0) or np.isnan(x + y):
        return f"the first frame's box is empty ({w:g}x{h:g}); one-pass evaluation starts from it"
    if x - 1 >= frames.width or y - 1 >= frames.height or x - 1 + w <= 0 or y - 1 + h <= 0:
        return f"the first frame's box {x:g},{y:g},{w:g},{h:g} lies outside the image ({frames.width}x{frames.height})"
    return None


def _parse(path: Path) -> tuple[np.ndarray, list[str]]:
    """Return the boxes and a line for each line that is none."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    text = read_text(path).rstrip()
    if not text:
        raise DataError(f"{path}: empty")
    lines, problems = text.split("\n"), []
    boxes = np.full((len(lines), 4), np.nan)
    for index, line in enumerate(lines):
        try:
            boxes[index] = _box(line)
        except ValueError as error:
            problems.append(f"{path}:{index + 1}: {error}")
    return boxes, problems


def _box(line: str) -> list[float]:
    """Raises ValueError with what is wrong."""
    words = split_fields(line)
    if len(words) != 4:
        raise ValueError(f"{len(words)} values where four are needed (x, y, w, h)")
    values = []
    for word in words:
        try:
            values.append(parse_number(word))
        except ValueError:
            raise ValueError(f"'{word}' is not a number") from None
    if np.isinf(values).any():
        raise ValueError("a box cannot be infinite")
    if values[2] < 0 or values[3] < 0:
        raise ValueError(f"negative size {values[2]:g}x{values[3]:g}")
    return values
