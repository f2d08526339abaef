"""The MOTChallenge layout: SPLIT/SEQUENCE/img1/000001.jpg, seqinfo.ini, gt/gt.txt; MOT16, MOT17, MOT20 or one's own.

A split is a folder below the root (`train`). gt.txt has nine numbers a line: frame, identity, x, y, width, height,
whether it counts (0 or 1), class (1 to 13; 1 is a pedestrian), visibility; x and y count from 1. Visibility may be
missing, and more may follow it (CVAT writes ten columns). Where there is no class, or it is -1 throughout (MOT15),
every box is a pedestrian's. Commas, semicolons, tabs or blanks stand between. A box may reach out of
the image, as MOTChallenge's do; one that counts and is empty, or farther out than it is large, is an error. Detections
are named by a path with `{sequence}` in it, or `none` where none are needed; `detection_files` says what they hold.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mec_transfer.datasets.annotations import Table, read_lines, read_table, split_fields
from mec_transfer.datasets.values import FARTHEST
from mec_transfer.datasets.videos.boxes import far_outside, split_by_frame
from mec_transfer.datasets.videos.detection_files import read_box_detections
from mec_transfer.datasets.videos.detections import nothing_detected
from mec_transfer.datasets.videos.frames import Frames
from mec_transfer.datasets.videos.mot_sequences import MotSequence, SequencesLayout, SequenceVideo

TRUTH_COLUMNS = "frame,identity,x,y,width,height,counts,class,visibility"
"""The columns of gt.txt."""
_COLUMNS, _COUNTS, _CLASS = 9, 6, 7
_CLASSES, _PEDESTRIAN = 13, 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotVideo(SequenceVideo):
    """A sequence with pedestrians in boxes."""

    truth: tuple[np.ndarray, ...]
    """For each frame the boxes that count, (N, 4) float64: x0, y0, x1, y1 in pixels, half-open."""


class MotChallengeLayout(SequencesLayout):
    """Sequences with boxes."""

    def read_sequence(self, sequence: MotSequence, problems: list[str]) -> MotVideo:
        """Read truth and detections. Raises DataError."""
        table = _check(read_truth(sequence.ground_truth, problems), sequence.frames, problems)
        if sequence.detections is None:
            found = nothing_detected(sequence.frames)
        else:
            found = read_box_detections(sequence.detections, sequence.frames, problems)
        boxes, scored = _boxes(table), _scored(table)
        by_frame = split_by_frame(table.values[:, 0], sequence.frames.numbers)
        return MotVideo(
            frames=sequence.frames,
            files=tuple(filter(None, (sequence.ground_truth, sequence.seqinfo, sequence.detections))),
            frame_rate=sequence.frame_rate,
            detections=found.frames,
            ground_truth=sequence.ground_truth,
            seqinfo=sequence.seqinfo,
            truth=tuple(boxes[index[scored[index]]] for index in by_frame),
            unscored=_why_unscored(table),
            undetected=found.undetected,
            notes=found.notes,
        )


def read_truth(path: Path, problems: list[str]) -> Table:
    """Read a gt.txt into nine columns; `problems` gets a line for each row that is left out. Raises DataError."""
    table = read_table(path, (9, 8, 10, 7), problems, TRUTH_COLUMNS)
    rows = len(table.values)
    values = np.concatenate([table.values, np.ones((rows, 2))], axis=1)[:, :_COLUMNS]
    if (values[:, _CLASS] == -1).all():
        values[:, _CLASS] = _PEDESTRIAN
    return dataclasses.replace(table, values=values)


def truth_rows(path: Path) -> list[list[str]]:
    """Return the fields of a sound gt.txt as MOT17 has them: nine, with a class; numbers as the file writes them."""
    rows = []
    for (_, line), values in zip(read_lines(path), read_truth(path, []).values, strict=True):
        fields = [*split_fields(line), "1", "1"][:_COLUMNS]
        for column in (0, 1, _CLASS):
            fields[column] = str(int(values[column]))  # 7, where the file has 7.0
        rows.append(fields)
    return rows


def _scored(table: Table) -> np.ndarray:
    """Return which rows are measured against, (N,) bool."""
    scored: np.ndarray = (table.values[:, _COUNTS] != 0) & (table.values[:, _CLASS] == _PEDESTRIAN)
    return scored


def _why_unscored(table: Table) -> str:
    if _scored(table).any():
        return ""
    rows, ignored = len(table.values), int((table.values[:, _COUNTS] == 0).sum())
    others = int((table.values[:, _CLASS] != _PEDESTRIAN).sum())
    why = (
        f"of its {rows} boxes {ignored} do not count (column 7 is 0), {others} are no pedestrian's (column 8 is not 1)"
    )
    return f"{table.path}: nothing to score: {why if rows else 'no box in it'}"


def _check(table: Table, frames: Frames, problems: list[str]) -> Table:
    """Keep the sound rows."""
    number = table.values[:, 0]
    last = len(frames)
    wrong = (number != np.floor(number)) | (number < 1) | (number > last)
    table = table.keep(wrong, f"there is no frame {{0:.15g}} in '{frames.name}' (1 to {last})", problems)
    identity = table.values[:, 1]
    table = table.keep((identity != np.floor(identity)) | (identity < 0), "{1:g} is no identity", problems)
    counts = table.values[:, _COUNTS]
    table = table.keep((counts != 0) & (counts != 1), "whether it counts is {6:g}; 0 or 1 is needed", problems)
    beyond = (np.abs(table.values[:, 2:6]) > FARTHEST).any(axis=1)
    table = table.keep(beyond, "box {4:g}x{5:g} at ({2:g}, {3:g}) lies outside any image", problems)
    kind = table.values[:, _CLASS]
    wrong = ~np.isin(kind, np.arange(1, _CLASSES + 1))
    table = table.keep(wrong, f"unknown class {{7:g}}; there are 1 to {_CLASSES}", problems)
    table = table.keep(_repeated(table.values[:, :2]), "identity {1:g} is in frame {0:g} twice", problems)
    width, height, counts = table.values[:, 4:7].T
    empty = (counts != 0) & ((width <= 0) | (height <= 0))
    table = table.keep(empty, "empty box {4:g}x{5:g}", problems)
    outside = (table.values[:, 6] != 0) & far_outside(_boxes(table), frames)
    what = f"box {{4:g}}x{{5:g}} at ({{2:g}}, {{3:g}}) lies outside the image ({frames.width}x{frames.height})"
    return table.keep(outside, what, problems)


def _boxes(table: Table) -> np.ndarray:
    corner = table.values[:, 2:4] - 1
    return np.concatenate([corner, corner + table.values[:, 4:6]], axis=1)


def _repeated(rows: np.ndarray) -> np.ndarray:
    """Return which rows, (N, columns), are there above already."""
    first = np.unique(rows, axis=0, return_index=True)[1]
    repeated = np.ones(len(rows), dtype=bool)
    repeated[first] = False
    return repeated
