"""The MOTS20 layout: SPLIT/SEQUENCE/img1/000001.jpg, seqinfo.ini, gt/gt.txt with masks.

A split is a folder below the root (`train`). A line of gt.txt is `frame id class height width rle`: frames count from
1, class 2 is a pedestrian, class 10 a region in which nothing counts, and the RLE is COCO's compressed. No two masks of
a frame share a pixel, and none is empty. Detections are named by a path with `{sequence}` in it, and `detection_files`
says what they hold.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import parse_whole, read_lines
from mec_transfer.datasets.rle import first_overlap, mask_fields, mask_runs
from mec_transfer.datasets.videos.detection_files import PEDESTRIAN, read_mask_detections
from mec_transfer.datasets.videos.frames import Frames
from mec_transfer.datasets.videos.mot_sequences import MotSequence, SequencesLayout, SequenceVideo

_IGNORED = 10
_CLASSES = {1: "car", PEDESTRIAN: "pedestrian", _IGNORED: "ignored"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotsVideo(SequenceVideo):
    """A sequence with pedestrians in masks."""


class MotsLayout(SequencesLayout):
    """Sequences with masks."""

    def read_sequence(self, sequence: MotSequence, problems: list[str]) -> MotsVideo:
        """Read truth and detections. Raises DataError."""
        kinds = _check_ground_truth(sequence.ground_truth, sequence.frames, problems)
        if sequence.detections is None:
            raise DataError(f"{sequence.ground_truth}: masks are followed by a detector's output; name it")
        found = read_mask_detections(sequence.detections, sequence.frames, problems)
        return MotsVideo(
            frames=sequence.frames,
            files=(sequence.ground_truth, sequence.seqinfo, sequence.detections),
            frame_rate=sequence.frame_rate,
            detections=found.frames,
            ground_truth=sequence.ground_truth,
            seqinfo=sequence.seqinfo,
            unscored=_why_unscored(sequence.ground_truth, kinds),
            undetected=found.undetected,
            notes=found.notes,
        )


def _why_unscored(path: Path, kinds: Counter[int]) -> str:
    if kinds[PEDESTRIAN]:
        return ""
    others = ", ".join(f"{count} of class {kind} ({_CLASSES[kind]})" for kind, count in sorted(kinds.items()))
    return f"{path}: nothing to score: no mask is a pedestrian's (class {PEDESTRIAN}); it has {others or 'no mask'}"


def _check_ground_truth(path: Path, frames: Frames, problems: list[str]) -> Counter[int]:
    """Return how many masks there are of each class."""
    by_frame: dict[int, list[tuple[int, int, np.ndarray]]] = {}
    seen: set[tuple[int, int]] = set()
    for line, text in read_lines(path):
        try:
            number, identity, kind, runs = _parse(mask_fields(text), frames)
            if kind != _IGNORED and (number, identity) in seen:
                raise ValueError(f"identity {identity} is in frame {number} twice")
        except ValueError as error:
            problems.append(f"{path}:{line}: {error}")
            continue
        seen.add((number, identity))
        by_frame.setdefault(number, []).append((line, kind, runs))
    for number, masks in by_frame.items():
        # Ignored regions are united before they are used, so they alone may overlap one another.
        ignored = [runs for _, kind, runs in masks if kind == _IGNORED]
        others = [(line, runs) for line, kind, runs in masks if kind != _IGNORED]
        pools = [others] + [[*others, (0, region)] for region in ignored]
        clash = next((pair for pool in pools if (pair := _clash(pool))), None)
        if clash:
            problems.append(f"{path}:{clash}: frame {number}: the mask shares pixels with another one's")
    return Counter(kind for masks in by_frame.values() for _, kind, _ in masks)


def _clash(pool: list[tuple[int, np.ndarray]]) -> int | None:
    pair = first_overlap([runs for _, runs in pool])
    return max(pool[pair[0]][0], pool[pair[1]][0]) if pair else None


def _parse(fields: list[str], frames: Frames) -> tuple[int, int, int, np.ndarray]:
    """Return frame number, identity, class and runs. Raises ValueError."""
    try:
        number, identity, kind, height, width = (parse_whole(field) for field in fields[:5])
        (counts,) = fields[5:]
    except ValueError:
        raise ValueError("not a line of `frame id class height width rle`") from None
    if not 1 <= number <= len(frames):
        raise ValueError(f"there is no frame {number} in '{frames.name}' (1 to {len(frames)})")
    if kind not in _CLASSES or identity < 0:
        raise ValueError(
            f"unknown class {kind} or identity {identity}; classes are "
            + ", ".join(f"{number} ({name})" for number, name in _CLASSES.items())
        )
    if (height, width) != (frames.height, frames.width):
        raise ValueError(f"a mask of {width}x{height} pixels, but the frames have {frames.width}x{frames.height}")
    runs = mask_runs(counts, height, width)
    if not len(runs) and kind != _IGNORED:
        raise ValueError("empty mask")
    return number, identity, kind, runs
