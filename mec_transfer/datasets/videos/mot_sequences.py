"""What the MOTChallenge and MOTS20 layouts share: SPLIT/SEQUENCE/ with img1/, seqinfo.ini and gt/gt.txt."""

from __future__ import annotations

import abc
import configparser
import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import parse_number, read_text
from mec_transfer.datasets.scan import list_folder
from mec_transfer.datasets.videos.data import VideoLayout
from mec_transfer.datasets.videos.detections import NO_DETECTIONS, Detections, detections_path
from mec_transfer.datasets.videos.frames import Frames, open_frames
from mec_transfer.datasets.videos.video import MissingPart, Video, choose_sequences

_SECTION = "Sequence"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotSequence:
    """A sequence's frames and files; what is in the files has not been read yet."""

    frames: Frames
    frame_rate: float
    ground_truth: Path
    seqinfo: Path
    detections: Path | None
    """None where none are wanted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceVideo(Video):
    """A sequence whose files have been read."""

    frame_rate: float
    detections: tuple[Detections, ...]
    """One a frame; with `masks` where the layout has them."""
    ground_truth: Path
    """gt/gt.txt."""
    seqinfo: Path
    """seqinfo.ini, which the evaluation reads as well."""


class SequencesLayout(VideoLayout):
    """A subclass reads the files of one sequence."""

    @abc.abstractmethod
    def read_sequence(self, sequence: MotSequence, problems: list[str]) -> Video:
        """Make a video of a sequence; `problems` gets a line for each thing that is wrong. Raises DataError."""

    def split_names(self, folder: Path) -> list[str]:
        """Return the folders that hold sequences, such as `train`."""
        folders = list_folder(folder)[0] if folder.is_dir() else []
        return [
            split for split in folders if any(_is_sequence(folder / split / n) for n in list_folder(folder / split)[0])
        ]

    def read_videos(
        self, root: Path, split: str, sequences: Sequence[str], detections: str
    ) -> tuple[list[Video], list[str]]:
        """Read a split's sequences, in the order of `sequences` or of their names. See `VideoLayout`."""
        videos: list[Video] = []
        problems: list[str] = []
        for sequence in _open_all(root, split, sequences, detections, problems):
            before = len(problems)
            try:
                video = self.read_sequence(sequence, problems)
            except DataError as error:
                problems.append(str(error))
            if len(problems) == before:
                videos.append(video)
        return videos, problems


def sequence_length(path: Path) -> int:
    """Return how many frames a seqinfo.ini says that there are. Raises DataError."""
    return int(_SeqInfo(path).number("seqLength"))


def _open_all(
    root: Path, split: str, sequences: Sequence[str], detections: str, problems: list[str]
) -> list[MotSequence]:
    folder = root / split
    if not split or not folder.is_dir():
        there = ", ".join(list_folder(root)[0]) or "no folder"
        raise MissingPart(f"{root}: has no split '{split}'; it has {there}")
    names = choose_sequences(
        [name for name in list_folder(folder)[0] if _is_sequence(folder / name)], sequences, folder
    )
    if detections not in ("", NO_DETECTIONS) and "{sequence}" not in detections and len(names) > 1:
        raise DataError(
            f"detections: '{detections}' is one file for {len(names)} sequences; write {{sequence}} for their name"
        )
    found = []
    for name in names:
        try:
            found.append(_open(root, folder / name, detections))
        except DataError as error:
            problems.append(str(error))
    return found


def _is_sequence(folder: Path) -> bool:
    return (folder / "seqinfo.ini").is_file() or (folder / "img1").is_dir()


def _open(root: Path, folder: Path, detections: str) -> MotSequence:
    path, ground_truth = folder / "seqinfo.ini", folder / "gt" / "gt.txt"
    info = _SeqInfo(path)
    images = folder / (info.text("imDir").replace("\\", "/") or "img1")
    try:
        list_folder(images)
    except DataError as error:
        raise DataError(f"{path}:{info.line('imDir')}: imDir: {error}") from None
    frames = open_frames(images, folder.name)
    if frames.numbers[0] != 1:
        raise DataError(f"{frames.paths[0]}: the first frame must be number 1")
    for key, actual in (("seqLength", len(frames)), ("imWidth", frames.width), ("imHeight", frames.height)):
        said = info.number(key)
        if said != actual:
            raise DataError(
                f"{path}:{info.line(key)}: {key} is {said:g}, but the frames in {frames.paths[0].parent} have {actual}"
            )
    suffix = info.text("imExt").lower().lstrip(".")
    odd = [frame for frame in frames.paths if suffix and frame.suffix.lower() != f".{suffix}"]
    if odd:
        raise DataError(f"{path}:{info.line('imExt')}: imExt is .{suffix}, but there is {odd[0].name}")
    rate = info.number("frameRate")
    if rate <= 0:
        raise DataError(f"{path}:{info.line('frameRate')}: frameRate is {rate:g}")
    if not ground_truth.is_file():
        raise DataError(
            f"{ground_truth}: no such file; only splits with ground truth can be measured (MOTChallenge's "
            "test splits have none)"
        )
    return MotSequence(
        frames=frames,
        frame_rate=rate,
        ground_truth=ground_truth,
        seqinfo=path,
        detections=None if detections == NO_DETECTIONS else detections_path(root, detections, folder.name),
    )


class _SeqInfo:
    """A seqinfo.ini."""

    def __init__(self, path: Path) -> None:
        """Raises DataError."""
        # An indented line would go on with the value above it.
        self.path, self._lines = path, [line.strip() for line in read_text(path).split("\n")]
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string("\n".join(self._lines))
        except (configparser.Error, ValueError, TypeError, AttributeError) as error:
            line = getattr(error, "lineno", None) or next(iter(getattr(error, "errors", [(1,)])))[0]
            raise DataError(f"{path}:{line}: malformed ini file ({str(error).splitlines()[0]})") from None
        if not parser.has_section(_SECTION):
            raise DataError(f"{path}:1: has no section [{_SECTION}]")
        self._values = parser[_SECTION]

    def text(self, key: str) -> str:
        return self._values.get(key, "").strip()

    def number(self, key: str) -> float:
        """Raises DataError."""
        try:
            value = parse_number(self._values[key])
            if not math.isfinite(value):
                raise ValueError
            return value
        except KeyError:
            raise DataError(f"{self.path}:1: {key} is missing") from None
        except ValueError:
            raise DataError(f"{self.path}:{self.line(key)}: {key} is '{self.text(key)}', a number is needed") from None

    def line(self, key: str) -> int:
        start = (number for number, line in enumerate(self._lines, start=1) if _key(line) == key.lower())
        return next(start, 1)


def _key(line: str) -> str:
    """Return the key of a line as the parser takes it: in any case, before "=" or ":"."""
    return re.split("[=:]", line, maxsplit=1)[0].strip().lower()
