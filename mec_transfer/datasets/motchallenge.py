"""The MOTChallenge layout: SPLIT/SEQUENCE/img1/000001.jpg, seqinfo.ini, gt/gt.txt; MOT16, MOT17, MOT20 or one's own.

A split is a folder below the root (`train`). gt.txt has nine numbers a line: frame, identity, x, y, width, height,
whether it counts (0 or 1), class (1 to 13; 1 is a pedestrian), visibility; x and y count from 1. A box may reach out of
the image, as MOTChallenge's do; one that counts and is empty, or farther out than it is large, is an error. Detections
are named by a path with `{sequence}` in it, and `detection_files` says what they hold.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy

from mec_transfer.datasets.annotations import Table, read_table
from mec_transfer.datasets.boxes import far_outside, split_by_frame
from mec_transfer.datasets.detection_files import read_box_detections
from mec_transfer.datasets.detections import Detections
from mec_transfer.datasets.mot_sequences import MotSequence, read_mot_sequences
from mec_transfer.datasets.sequences import Frames
from mec_transfer.datasets.videos import Video

TRUTH_COLUMNS = "frame,identity,x,y,width,height,counts,class,visibility"
"""Of gt.txt."""
_CLASSES = 13


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotVideo(Video):
    """A sequence with pedestrians in boxes."""

    frame_rate: float
    detections: tuple[Detections, ...]
    """One a frame."""
    ground_truth: Path
    """gt/gt.txt."""
    seqinfo: Path
    """seqinfo.ini, which the evaluation reads as well."""
    truth: tuple[numpy.ndarray, ...]
    """For each frame the boxes that count, (N, 4) float64: x0, y0, x1, y1 in pixels, half-open."""


def read_videos(
    root: Path, split: str, sequences: tuple[str, ...], detections: str
) -> tuple[list[MotVideo], list[str]]:
    """Read a split's sequences; return the sound ones, and a line for each thing that is wrong. See `open_videos`."""
    return read_mot_sequences(root, split, sequences, detections, _read)


def _read(sequence: MotSequence, problems: list[str]) -> MotVideo:
    truth = _read_ground_truth(sequence.ground_truth, sequence.frames, problems)
    return MotVideo(
        frames=sequence.frames,
        files=(sequence.ground_truth, sequence.seqinfo, sequence.detections),
        frame_rate=sequence.frame_rate,
        detections=read_box_detections(sequence.detections, sequence.frames, problems),
        ground_truth=sequence.ground_truth,
        seqinfo=sequence.seqinfo,
        truth=truth,
    )


def _read_ground_truth(path: Path, frames: Frames, problems: list[str]) -> tuple[numpy.ndarray, ...]:
    table = _check(read_table(path, (9,), problems, TRUTH_COLUMNS), frames, problems)
    number, counts, kind = table.values[:, 0], table.values[:, 6], table.values[:, 7]
    boxes, wanted = _boxes(table), (counts != 0) & (kind == 1)
    return tuple(boxes[index[wanted[index]]] for index in split_by_frame(number, frames.numbers))


def _check(table: Table, frames: Frames, problems: list[str]) -> Table:
    """Keep the sound rows."""
    number = table.values[:, 0]
    last = len(frames)
    wrong = (number != numpy.floor(number)) | (number < 1) | (number > last)
    table = table.keep(wrong, f"there is no frame {{0:.15g}} in '{frames.name}' (1 to {last})", problems)
    identity = table.values[:, 1]
    table = table.keep((identity != numpy.floor(identity)) | (identity < 0), "{1:g} is no identity", problems)
    kind = table.values[:, 7]
    wrong = ~numpy.isin(kind, numpy.arange(1, _CLASSES + 1))
    table = table.keep(wrong, f"unknown class {{7:g}}; there are 1 to {_CLASSES}", problems)
    table = table.keep(_repeated(table.values[:, :2]), "identity {1:g} is in frame {0:g} twice", problems)
    width, height, counts = table.values[:, 4:7].T
    empty = (counts != 0) & ((width <= 0) | (height <= 0))
    table = table.keep(empty, "empty box {4:g}x{5:g}", problems)
    outside = (table.values[:, 6] != 0) & far_outside(_boxes(table), frames)
    what = f"box {{4:g}}x{{5:g}} at ({{2:g}}, {{3:g}}) lies outside the image ({frames.width}x{frames.height})"
    return table.keep(outside, what, problems)


def _boxes(table: Table) -> numpy.ndarray:
    corner = table.values[:, 2:4] - 1
    return numpy.concatenate([corner, corner + table.values[:, 4:6]], axis=1)


def _repeated(rows: numpy.ndarray) -> numpy.ndarray:
    """Return which rows, (N, columns), are there above already."""
    first = numpy.unique(rows, axis=0, return_index=True)[1]
    repeated = numpy.ones(len(rows), dtype=bool)
    repeated[first] = False
    return repeated
