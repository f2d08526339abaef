"""The DAVIS layout: JPEGImages/480p/SEQUENCE/*.jpg, Annotations/480p/SEQUENCE/*.png, one mask a frame.

Splits are called by the year and the list: `2017/val` is ImageSets/2017/val.txt, and every object of a sequence is
followed. `2016/val` is ImageSets/2016/val.txt or the first release's ImageSets/480p/val.txt, and the objects are one.
`all` is every sequence there is, without a list. Without folders 480p, sequences lie in JPEGImages and Annotations.
A mask's pixels number the objects as the first mask has them, from 1; 255 is void, and what is void or not in the
first mask counts as background, as in DAVIS' own evaluation. Masks in black and white (0 and 255) have one object.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import read_lines
from mec_transfer.datasets.scan import list_folder
from mec_transfer.datasets.videos.data import VideoLayout
from mec_transfer.datasets.videos.frames import Frames, open_frames
from mec_transfer.datasets.videos.index_masks import VOID, read_index_mask
from mec_transfer.datasets.videos.video import MissingPart, Video, choose_sequences

_RESOLUTION, _FULL = "480p", "Full-Resolution"
_LISTED_FRAME = re.compile(r"[^ \t]*?([^/]+)/[^/\s]+\.(?:jpe?g|png)(?:\s|$)", re.IGNORECASE)
"""A line of the first release: a frame's path, and its mask's. Its group is the sequence."""
_IMAGE = re.compile(r"\.(?:jpe?g|png)$", re.IGNORECASE)
_YEARS = ("2016", "2017")
_MEASURABLE = 3  # frames: the first and the last are not measured


@dataclasses.dataclass(frozen=True, kw_only=True)
class DavisVideo(Video):
    """A video with a mask for every frame, `files` being the masks."""

    objects: int
    """How many there are in the first mask; numbered from 1."""
    merged: bool
    """Whether everything that is not background is object 1: DAVIS-2016, and masks in black and white."""

    def mask(self, index: int) -> np.ndarray:
        """Return the mask of frame `index`, (H, W) uint8: object numbers, 0 for the background.

        Raises:
            DataError: it cannot be read.
        """
        pixels, palette = read_index_mask(self.files[index])
        if self.merged:
            return ((pixels > 0) & ~((pixels == VOID) & palette)).astype(np.uint8)
        return np.where(pixels <= self.objects, pixels, 0).astype(np.uint8)


class DavisLayout(VideoLayout):
    """ImageSets, JPEGImages and Annotations."""

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits that have a list, such as 2017/val; `all` where there are frames without lists."""
        lists = sorted(path for year in _YEARS for path in (folder / "ImageSets" / year).glob("*.txt"))
        if not lists and (folder / "JPEGImages").is_dir():
            return ["all"]
        return [f"{path.parent.name}/{path.stem}" for path in lists]

    def read_videos(
        self, root: Path, split: str, sequences: Sequence[str], detections: str
    ) -> tuple[list[DavisVideo], list[str]]:
        """Read a split; return what is sound of it, and a line for each thing that is not."""
        if detections:
            raise DataError(f"{root}: the layout davis takes no detections; leave dataset.detections empty")
        year, _, name = split.partition("/")
        problems: list[str] = []
        if split == "all":
            listed = _folder(root, "JPEGImages")
            names = list_folder(listed)[0]
        elif year in _YEARS and name:
            listed, names = _read_list(root, year, name, problems)
        else:
            raise MissingPart(
                f"{root}: has no split '{split}'; splits are called 2017/val, 2016/val, 2017/train ... or all"
            )
        videos = []
        for sequence in choose_sequences(names, sequences, listed):
            try:
                found = _read_video(root, sequence, year == "2016", problems)
            except DataError as error:
                problems.append(str(error))
            else:
                videos += [found] if found else []
        return videos, problems


def _folder(root: Path, kind: str) -> Path:
    """Raises DataError where the frames are those of another release."""
    folder, large = root / kind / _RESOLUTION, root / kind / _FULL
    if not folder.is_dir() and large.is_dir():
        raise DataError(f"{large}: DAVIS is measured at {_RESOLUTION}, and {folder} is not there; unpack that release")
    return folder if folder.is_dir() else root / kind


def _read_list(root: Path, year: str, name: str, problems: list[str]) -> tuple[Path, list[str]]:
    """Return the list's file and the sequences in it; the first release lists frames, not sequences."""
    candidates = [root / "ImageSets" / year / f"{name}.txt"]
    candidates += [root / "ImageSets" / _RESOLUTION / f"{name}.txt"] if year == "2016" else []
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise DataError(
            f"{root}: has no {' or '.join(str(path.relative_to(root)) for path in candidates)}; a DAVIS folder holds "
            "ImageSets, JPEGImages and Annotations"
        )
    folder = _folder(root, "JPEGImages")
    there = list_folder(folder)[0] if folder.is_dir() else []
    names: dict[str, int] = {}
    for number, line in read_lines(path):
        entry = line.strip().rstrip(",;").rstrip()
        frame = _LISTED_FRAME.match(entry.replace("\\", "/"))
        sequence = frame[1] if frame else entry
        if len(entry.split()) > 1 and not frame and not _IMAGE.search(entry) and entry not in there:
            sequence = entry.split()[0]  # further columns, such as how many frames there are
        if not sequence or "/" in sequence or "\\" in sequence or sequence in (".", "..") or _IMAGE.search(sequence):
            problems.append(f"{path}:{number}: '{sequence}' is not the name of a sequence")
        elif sequence in names and not frame:
            problems.append(f"{path}:{number}: '{sequence}' is listed twice, first in line {names[sequence]}")
        else:
            names.setdefault(sequence, number)
    if not names and not problems:
        problems.append(f"{path}:1: lists no sequence")
    return path, list(names)


def _read_video(root: Path, sequence: str, merged: bool, problems: list[str]) -> DavisVideo | None:
    """Return a video, or None after adding what is wrong with it to `problems`. Raises DataError likewise."""
    frames = open_frames(_folder(root, "JPEGImages") / sequence, sequence)
    folder = _folder(root, "Annotations") / sequence
    said = len(problems)
    if len(frames) < _MEASURABLE:
        problems.append(
            f"{frames.paths[0].parent}: {len(frames)} frames; the first and the last are not measured, so it takes at "
            f"least {_MEASURABLE}"
        )
    masks = _mask_files(folder, frames, problems)
    found = [_check_mask(path, frames, problems) for path in masks]
    if len(problems) > said or found[0] is None:
        return None
    numbers, palette = found[0]
    black_and_white = not palette and numbers == [VOID]
    numbers = numbers if black_and_white else [number for number in numbers if number != VOID]
    if not numbers:
        problems.append(f"{masks[0]}: no object in the first mask; there is nothing to follow")
        return None
    counted = range(1, VOID) if merged and not black_and_white else numbers
    unscored = _why_unscored(masks, [present for present, _ in filter(None, found)], counted)
    if black_and_white or merged:
        return DavisVideo(frames=frames, files=tuple(masks), objects=1, merged=True, unscored=unscored)
    if numbers != list(range(1, len(numbers) + 1)):
        listed = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
        problems.append(f"{masks[0]}: objects must be numbered 1, 2, ... without a gap; it has {listed}")
        return None
    return DavisVideo(frames=frames, files=tuple(masks), objects=len(numbers), merged=False, unscored=unscored)


def _why_unscored(masks: Sequence[Path], found: Sequence[Sequence[int]], objects: Sequence[int]) -> str:
    """Return why nothing is measured, `found` being the numbers in each mask: only the first one has the objects."""
    if any(set(objects) & set(numbers) for numbers in found[1:-1]):
        return ""
    return f"{masks[1]}: nothing to score: no object of the first mask is in any of the {len(masks) - 2} measured masks"


def _mask_files(folder: Path, frames: Frames, problems: list[str]) -> list[Path]:
    """Return the masks of all frames; none, after saying so, where the files do not fit the frames."""
    there = [name for name in list_folder(folder)[1] if name.lower().endswith(".png")]
    wanted = [f"{path.stem}.png" for path in frames.paths]
    missing = [name for name in wanted if name not in set(there)]
    beside = [name for name in there if name not in set(wanted)]
    if missing:
        why = "the first frame has a mask, all need one to be measured" if there == wanted[:1] else "as many as frames"
        problems.append(f"{folder / missing[0]}: no such mask; {len(there)} there, {len(wanted)} needed ({why})")
    elif beside:
        problems.append(f"{folder / beside[0]}: a mask without a frame; {len(there)} masks, {len(wanted)} frames")
    return [] if missing or beside else [folder / name for name in wanted]


def _check_mask(path: Path, frames: Frames, problems: list[str]) -> tuple[list[int], bool] | None:
    """Return the numbers in a mask, 0 left out, and whether it is a palette image."""
    try:
        pixels, palette = read_index_mask(path)
    except DataError as error:
        problems.append(str(error))
        return None
    height, width = pixels.shape
    if (width, height) != (frames.width, frames.height):
        problems.append(f"{path}: {width}x{height} pixels, but the frames have {frames.width}x{frames.height}")
        return None
    counts: Sequence[int] = np.bincount(pixels.ravel(), minlength=256).tolist()
    return [number for number in range(1, 256) if counts[number]], palette
