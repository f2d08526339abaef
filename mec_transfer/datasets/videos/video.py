"""Videos with something to follow in them: what the tracking tasks run on and are measured against."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.common.files import sha256_file
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.videos.frames import Frames

SHOWN = 5
"""How many of many problems an error names."""
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
    withheld: str = ""
    """Why its truth is not public, with the file, so that its server alone can score it; empty where it is."""
    notes: tuple[str, ...] = ()
    """What was left out of the files on purpose, a line each, with the file."""

    @property
    def name(self) -> str:
        """The sequence's."""
        return self.frames.name


def remarks(videos: Sequence[Video]) -> list[str]:
    """Return what a reader of a number on `videos` should know, a line each: what was left out or cannot be scored."""
    lines = [line for video in videos for line in (video.unscored, video.undetected, *video.notes) if line]
    withheld = [video.withheld for video in videos if video.withheld]
    more = f" (and {len(withheld) - 1} sequences more)" if len(withheld) > 1 else ""
    return lines + [f"{line}{more}" for line in withheld[:1]]


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
    first = list(itertools.accumulate((len(video.frames) for video in videos), initial=0))
    try:
        for video in videos:
            frames = video.frames
            line = [video.name, frames.width, frames.height, frames.names]
            digest.update(json.dumps([*line, [sha256_file(path) for path in video.files]]).encode())
        for index in sample_indices(first[-1], _SAMPLED_FILES):
            place = bisect.bisect_right(first, index) - 1
            digest.update(sha256_file(videos[place].frames.paths[index - first[place]]).encode())
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror or error})") from None
    return digest.hexdigest()
