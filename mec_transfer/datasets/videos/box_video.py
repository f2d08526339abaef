"""Videos with one target that is given as boxes, and what the layouts of them share."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import parse_number, read_lines, read_text, split_fields
from mec_transfer.datasets.videos.data import VideoLayout
from mec_transfer.datasets.videos.frames import Frames
from mec_transfer.datasets.videos.video import SHOWN, MissingPart, Video, choose_sequences

_PLAIN = re.compile(r"[0-9.,+\-eENna \n]*", re.ASCII)
"""What a file holds whose lines need no closer look."""
_DIGITS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxVideo(Video):
    """A video with one target."""

    boxes: np.ndarray
    """(frames, 4) float64: x, y, w, h in pixels as the file has them (OTB's are counted from 1); the first lies in the
    image. NaN where the target is not there, or its box is not public."""
    visible: np.ndarray | None = None
    """(frames,) bool: where the target can be seen by the layout's own files, and has a size. None: nothing says."""

    def is_visible(self) -> np.ndarray:
        """Return `visible`, (frames,) bool; where nothing says, a target with a size can be seen."""
        return has_size(self.boxes) if self.visible is None else self.visible


S = TypeVar("S")


class BoxLayout(VideoLayout, Generic[S]):
    """A layout of such videos: a subclass finds the sequences of a split, and reads one."""

    SPLITS: ClassVar[Mapping[str, str]]
    """Split -> what it is, for a message."""
    PUBLISHED: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Split -> the published sequences, where they do not show in the folder."""

    @abc.abstractmethod
    def find(self, root: Path, split: str) -> dict[str, S]:
        """Return sequence -> where its files lie, in the split's order. Raises DataError."""

    @abc.abstractmethod
    def read_video(self, name: str, split: str, source: S, problems: list[str]) -> BoxVideo | None:
        """Read one sequence; adds to `problems` and returns None where its truth is broken. Raises DataError."""

    def read_videos(
        self, root: Path, split: str, sequences: Sequence[str], detections: str
    ) -> tuple[list[BoxVideo], list[str]]:
        """Read the videos of a split; return the sound ones, and a line for each thing that is wrong.

        Raises:
            MissingPart: there is no such split or sequence.
        """
        if split not in self.SPLITS:
            there = " and ".join(f"{name} ({what})" for name, what in self.SPLITS.items())
            raise MissingPart(f"{root}: has no split '{split}'; there are {there}")
        found = self.find(root, split)
        names = self.PUBLISHED.get(split) or tuple(found)
        if not names:
            raise MissingPart(f"{root}: split '{split}' has no sequence of layout {self.name}")
        chosen = choose_sequences(names, sequences, root)
        if missing := [name for name in chosen if name not in found]:
            listed = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
            raise MissingPart(f"{root}: {len(missing)} of {len(chosen)} sequences are not there: {listed}")
        videos, problems = [], list[str]()
        for name in chosen:
            try:
                videos.append(self.read_video(name, split, found[name], problems))
            except DataError as error:
                problems.append(str(error))
        return [video for video in videos if video is not None], problems


def read_boxes(path: Path) -> np.ndarray:
    """Read a file of boxes, (lines, 4) float64 as they stand there.

    Raises:
        DataError: it cannot be read, or a line is not four numbers; the first such line is named.
    """
    boxes, problems = parse_boxes(path)
    if problems:
        raise DataError(problems[0])
    return boxes


def box_lines(rows: Iterable[np.ndarray]) -> bytes:
    """Return boxes, or other rows of numbers, as `read_boxes` reads them: a line each, numbers that come back as is."""
    return "".join(",".join(repr(value) for value in row.tolist()) + "\n" for row in rows).encode()


def parse_boxes(path: Path, columns: int = 4) -> tuple[np.ndarray, list[str]]:
    """Return the rows of a file, (lines, columns) float64, and a line for each line that is none.

    Args:
        path: the file.
        columns: 4 for x, y, w, h; 8 for the corners of polygons.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    text = read_text(path).rstrip()
    if not text:
        raise DataError(f"{path}: empty")
    lines, problems = text.split("\n"), list[str]()
    if (quick := _parse_plain(text, lines, columns)) is not None:
        return quick, problems
    rows = np.full((len(lines), columns), np.nan)
    for index, line in enumerate(lines):
        try:
            rows[index] = _row(line, columns)
        except ValueError as error:
            problems.append(f"{path}:{index + 1}: {error}")
    return rows, problems


def read_names(path: Path) -> list[str]:
    """Return the sequences that a list names, a line each. Raises DataError, also for one that is listed twice."""
    names: dict[str, int] = {}
    for number, line in read_lines(path):
        name = line.strip()
        if name in names:
            raise DataError(f"{path}:{number}: '{name}' is listed twice, first in line {names[name]}")
        if "/" in name or "\\" in name or name in (".", ".."):
            raise DataError(f"{path}:{number}: '{name}' is not the name of a sequence")
        names[name] = number
    return list(names)


def read_flags(path: Path, count: int, problems: list[str]) -> np.ndarray | None:
    """Read a 0 or 1 for each of `count` frames, on one line or on many.

    Returns:
        (count,) bool; None where something is wrong, of which `problems` gets a line.

    Raises:
        DataError: the file cannot be read.
    """
    numbers = read_numbers(path, count, 1, problems)
    return None if numbers is None else numbers.astype(bool)


def read_numbers(path: Path, count: int, largest: int, problems: list[str]) -> np.ndarray | None:
    """Read a whole number from 0 to `largest` for each of `count` frames; as `read_flags`, but (count,) int64."""
    words = [(line, word) for line, text in read_lines(path) for word in split_fields(text)]
    for line, word in words:
        if not (word.isascii() and word.isdigit() and len(word) < _DIGITS and int(word) <= largest):
            problems.append(f"{path}:{line}: '{word}' is not a whole number from 0 to {largest}")
            return None
    if len(words) != count:
        problems.append(f"{path}: {len(words)} numbers, but there are {count} frames")
        return None
    return np.array([int(word) for _, word in words], dtype=np.int64)


def has_size(boxes: np.ndarray) -> np.ndarray:
    """Return which boxes, (N, 4) of x, y, w, h, have a width and a height, (N,) bool; one of NaN has none."""
    return np.logical_and(boxes[:, 2] > 0, boxes[:, 3] > 0)


def read_box_video(frames: Frames, truth: Path, problems: list[str], first_alone: bool = False) -> BoxVideo | None:
    """Read the truth of a video, a line a frame.

    Args:
        frames: that are tracked.
        truth: the file.
        problems: gets a line for each thing that is wrong.
        first_alone: it may hold the first frame's box alone.

    Returns:
        The video; None where something is wrong.

    Raises:
        DataError: the truth cannot be read.
    """
    boxes, broken = parse_boxes(truth)
    problems += broken
    if broken:
        return None
    if first_alone and len(boxes) == 1 < len(frames):
        boxes = np.concatenate([boxes, np.full((len(frames) - 1, 4), np.nan)])
        why = f"{truth}: holds the first frame's box alone; the data set's own server scores the others"
        return make_box_video(frames, truth, boxes, problems, withheld=why)
    return make_box_video(frames, truth, boxes, problems)


def make_box_video(
    frames: Frames, truth: Path, boxes: np.ndarray, problems: list[str], line: int = 1, withheld: str = ""
) -> BoxVideo | None:
    """Return a video, or None after adding what is wrong with its boxes to `problems`.

    Args:
        frames: that are tracked.
        truth: the file that the boxes are from.
        boxes: (N, 4), of which there must be as many as frames.
        problems: gets a line for each thing that is wrong.
        line: of the first box in the file.
        withheld: why only the first box is there.
    """
    if len(boxes) != len(frames):
        where = frames.paths[0].parent
        problems.append(f"{truth}: {len(boxes)} boxes, but {where} has {len(frames)} frames to be tracked")
        return None
    if problem := _first_problem(boxes[0], frames):
        problems.append(f"{truth}:{line}: {problem}")
        return None
    unscored = "" if withheld else _why_unscored(truth, boxes)
    return BoxVideo(frames=frames, files=(truth,), boxes=boxes, unscored=unscored, withheld=withheld)


def part_of(frames: Frames, first: int, last: int) -> Frames:
    """Return the frames with the numbers from `first` to `last`."""
    kept = slice(max(0, first - frames.numbers[0]), max(0, last + 1 - frames.numbers[0]))
    return dataclasses.replace(frames, paths=frames.paths[kept], numbers=frames.numbers[kept])


def _first_problem(box: np.ndarray, frames: Frames) -> str | None:
    """Say what is wrong with the box, (4,), that a tracker is to begin from; None for nothing."""
    x, y, w, h = box.tolist()
    if not (w > 0 and h > 0) or np.isnan(x + y):
        return f"the first frame's box is empty ({w:g}x{h:g}); one-pass evaluation starts from it"
    if x - 1 >= frames.width or y - 1 >= frames.height or x - 1 + w <= 0 or y - 1 + h <= 0:
        return f"the first frame's box {x:g},{y:g},{w:g},{h:g} lies outside the image ({frames.width}x{frames.height})"
    return None


def _why_unscored(truth: Path, boxes: np.ndarray) -> str:
    """Return why a video says nothing about a tracker: its first box is given, and no other one is there."""
    if (boxes[1:] > 0).all(axis=1).any():
        return ""
    there = f"{len(boxes)} frame{'s' if len(boxes) > 1 else ''}"
    return f"{truth}: nothing to score: no frame after the first has a box with all four numbers above 0 ({there})"


def _parse_plain(text: str, lines: list[str], columns: int) -> np.ndarray | None:
    """Return the rows of a file in which nothing is wrong or unusual, in a fifth of the time; None for another."""
    if not _PLAIN.fullmatch(text) or any(line.count(",") != columns - 1 for line in lines):
        return None
    try:
        numbers = list(map(float, text.replace("\n", ",").split(",")))
    except ValueError:
        return None
    rows = np.array(numbers, dtype=np.float64).reshape(len(lines), columns)
    return None if np.isinf(rows).any() or (columns == 4 and (rows[:, 2:] < 0).any()) else rows


def _row(line: str, columns: int) -> list[float]:
    """Raises ValueError with what is wrong."""
    words = split_fields(line)
    if len(words) != columns:
        needed = "four are needed (x, y, w, h)" if columns == 4 else f"{columns} are needed (x, y of each corner)"
        raise ValueError(f"{len(words)} values where {needed}")
    values = []
    for word in words:
        try:
            values.append(parse_number(word))
        except ValueError:
            raise ValueError(f"'{word}' is not a number") from None
    if np.isinf(values).any():
        raise ValueError("a box cannot be infinite")
    if columns == 4 and (values[2] < 0 or values[3] < 0):
        raise ValueError(f"negative size {values[2]:g}x{values[3]:g}")
    return values
