"""Videos with something to follow in them: what the tracking tasks run on and are measured against.

`open_videos` reads any of five layouts. Everything that is broken is collected, with file and line, before anything is
computed. A layout is a module with `read_videos`, which returns subclasses of `Video` that hold the layout's truth.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import DataError
from mec_transfer.common.files import sha256_file
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.videos.frames import Frames

LAYOUTS = {
    "otb": "mec_transfer.datasets.videos.otb",
    "davis": "mec_transfer.datasets.videos.davis",
    "motchallenge": "mec_transfer.datasets.videos.motchallenge",
    "mots": "mec_transfer.datasets.videos.mots",
    "posetrack18": "mec_transfer.datasets.videos.posetrack",
}
"""Layout -> the module that has `read_videos(root, split, sequences, detections)` and `split_names(root)`."""
SHOWN = 5
"""Of many problems, how many an error names."""
_SAMPLED_FILES = 64


class MissingPart(DataError):
    """The folder is a data set, but it has not the split or the sequence that was asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Video:
    """A sequence of frames; what is true of them stands in a layout's subclass."""

    frames: Frames
    files: tuple[Path, ...]
    """Annotations and detections: every byte of them is part of the fingerprint."""
    unscored: str = ""
    """Why nothing in this sequence can be scored, with the file; empty where something can."""
    undetected: str = ""
    """Why there is no detection to follow, with the file; empty where there is one, or none is needed."""
    notes: tuple[str, ...] = ()
    """What was left out of the files on purpose, a line each, with the file."""

    @property
    def name(self) -> str:
        """The sequence's."""
        return self.frames.name


def layout_module(layout: str) -> Any:
    """Return the module of a layout: it has `read_videos` and `split_names`."""
    return importlib.import_module(LAYOUTS[layout])


def read_videos(
    root: Path, layout: str, split: str, sequences: Sequence[str] = (), detections: str = ""
) -> tuple[list[Video], list[str]]:
    """Read what is sound of a split, in the order of `sequences` or of the split; and a line for each other thing.

    Args:
        root: the data set's own folder.
        layout: a key of `LAYOUTS`; each module says what its folders hold and what its splits are called.
        split: which part of the data set.
        sequences: only these; none: all of the split.
        detections: a path below `root` (or an absolute one) with `{sequence}` in it, where a layout takes detections.

    A single sequence in which nothing can be scored, or nothing was detected, is sound, and `remarks` tells of it. It
    is a problem where all sequences are like that: the number would be 0 and would say nothing.

    Raises:
        DataError: the folder is not there; as MissingPart, the split or a sequence.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    found: tuple[list[Video], list[str]]
    found = layout_module(layout).read_videos(root, split, tuple(sequences), detections)
    videos, problems = found
    for reasons in ([video.unscored for video in videos], [video.undetected for video in videos]):
        if reasons and all(reasons):
            problems += reasons
    return found


def remarks(videos: Sequence[Video]) -> list[str]:
    """Return what a reader of a number on `videos` should know, a line each: what was left out or cannot be scored."""
    return [line for video in videos for line in (video.unscored, video.undetected, *video.notes) if line]


def open_videos(
    root: Path, layout: str, split: str, sequences: Sequence[str] = (), detections: str = ""
) -> tuple[Video, ...]:
    """Return `read_videos`' videos where nothing is broken.

    Raises:
        DataError: the split or a sequence is not there, or annotations are broken; file and line are named.
    """
    videos, problems = read_videos(root, layout, split, sequences, detections)
    if problems:
        listed = "; ".join(problems[:SHOWN])
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError(f"{listed}{more}")
    if not videos:
        raise DataError(f"{root}: split '{split}' has no sequence")
    return tuple(videos)


def choose_sequences(names: Sequence[str], sequences: Sequence[str], where: Path) -> list[str]:
    """Return `sequences` as `names` spells them, or all of `names` where there are none.

    Letters with accents may be composed or not: a Mac's file names are not what its keyboard types. A sequence that is
    named twice is taken once.

    Raises:
        MissingPart: one is not there.
    """
    known = {unicodedata.normalize("NFC", name): name for name in names}
    found = {
        name: name if name in names else known.get(unicodedata.normalize("NFC", name.strip())) for name in sequences
    }
    missing = [name for name, there in found.items() if there is None]
    if missing:
        listed = ", ".join(list(names)[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        raise MissingPart(f"{where}: has no sequence '{missing[0]}'; it has {listed or 'none'}")
    return [name for name in found.values() if name is not None] or list(names)


def fingerprint(videos: Sequence[Video]) -> str:
    """Return a sha256 of videos: names, sizes, names of the frames, all annotations' bytes, and those of 64 frames.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256(b"mec-transfer videos fingerprint 1\n")
    paths: list[Path] = []
    try:
        for video in videos:
            frames = video.frames
            line = [video.name, frames.width, frames.height, [path.name for path in frames.paths]]
            digest.update(json.dumps([*line, [sha256_file(path) for path in video.files]]).encode())
            paths += frames.paths
        for index in sample_indices(len(paths), _SAMPLED_FILES):
            digest.update(sha256_file(paths[index]).encode())
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror or error})") from None
    return digest.hexdigest()
