"""MOTChallenge's metrics of tracked boxes, from files as the challenge takes and gives them.

By TrackEval's MotChallenge2DBox: boxes match from an IoU of 0.5 on; a result that matches a distractor (a person on a
vehicle, a static person, a distractor, a reflection; in MOT20 also a non-motorised vehicle) is left out, and so is
truth that is marked 0 or is of another class than a pedestrian. Which sequences are MOT20's, their names say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError, UserError
from mec_transfer.datasets.annotations import read_table
from mec_transfer.datasets.videos.boxes import split_by_frame
from mec_transfer.datasets.videos.mot_sequences import sequence_length
from mec_transfer.datasets.videos.motchallenge import TRUTH_COLUMNS, MotVideo, truth_rows
from mec_transfer.tracking.association.trackeval_metrics import measure_prepared, pooled_prepared, prepare
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files, Measured

METRICS = ("IDF1", "IDs", "MOTA", "HOTA", "DetA", "AssA", "MT", "ML", "FP", "FN", "Frag")
"""IDs: identity switches. MT, ML: identities tracked in more than 80 % or less than 20 % of their frames. Frag: how
often one is found again."""
_NAMES = "frame,identity,x,y,width,height,score,-1,-1,-1"


def result_files(video: MotVideo, frames: Sequence[TrackedFrame]) -> Files:
    """Return SEQUENCE.txt, MOTChallenge's `frame,identity,x,y,width,height,score,-1,-1,-1`; x and y count from 1."""
    lines = []
    for number, frame in zip(video.frames.numbers, frames, strict=True):
        for identity, (x0, y0, x1, y1), score in zip(frame.identities, frame.boxes, frame.scores, strict=True):
            box = f"{x0 + 1:.4f},{y0 + 1:.4f},{x1 - x0:.4f},{y1 - y0:.4f}"
            lines.append(f"{number},{identity},{box},{score:.6g},-1,-1,-1\n")
    return {f"{video.name}.txt": "".join(lines).encode()}


def truth_files(video: MotVideo) -> Files:
    """Return SEQUENCE/gt/gt.txt (nine columns between commas) and SEQUENCE/seqinfo.ini, as TrackEval wants them."""
    text = "".join(",".join(fields) + "\n" for fields in truth_rows(video.ground_truth))
    return {
        f"{video.name}/gt/gt.txt": text.encode(),
        f"{video.name}/seqinfo.ini": video.seqinfo.read_bytes(),
    }


def measure(folder: Path, sequences: Sequence[str]) -> Measured:
    """Compute `METRICS` of each sequence and of all together.

    Raises:
        UserError: a file is missing or damaged.
    """
    return measure_prepared(_prepared(folder, sequences), METRICS)


def pooled(folder: Path, sequences: Sequence[str], metric: str) -> Callable[[Sequence[int]], float]:
    """Return a function that measures one of `METRICS` on a sample of the sequences, by their places.

    Raises:
        UserError: a file is missing or damaged.
        KeyError: there is no such metric.
    """
    return pooled_prepared(_prepared(folder, sequences), metric)


def _prepared(folder: Path, sequences: Sequence[str]) -> dict[str, Any]:
    data = {}
    for benchmark in ("MOT20", "MOT17"):
        mine = [sequence for sequence in sequences if sequence.startswith("MOT20") == (benchmark == "MOT20")]
        lengths = {sequence: _check(folder, sequence) for sequence in mine}
        if lengths:
            data.update(prepare("MotChallenge2DBox", folder, lengths, {"BENCHMARK": benchmark}))
    return {sequence: data[sequence] for sequence in sequences}


def _check(folder: Path, sequence: str) -> int:
    """Return how many frames a sequence has. Raises UserError for a damaged line, which TrackEval would not name."""
    problems: list[str] = []
    read_table(folder / TRUTH / sequence / "gt" / "gt.txt", (9,), problems, TRUTH_COLUMNS)
    if problems:
        raise DataError(problems[0])
    return len(read_results(folder, sequence))


def read_results(folder: Path, sequence: str) -> list[TrackedFrame]:
    """Read a written result, a `TrackedFrame` for each of the sequence's frames.

    Raises:
        UserError: a file is missing or damaged.
    """
    path = folder / RESULTS / f"{sequence}.txt"
    problems: list[str] = []
    length = sequence_length(folder / TRUTH / sequence / "seqinfo.ini")
    table = read_table(path, (10, 9, 8, 7), problems, _NAMES)
    number, identity = table.values[:, 0], table.values[:, 1]
    wrong = (number != np.floor(number)) | (number < 1) | (number > length)
    table.keep(wrong, f"there is no frame {{0:.15g}} in '{sequence}' (1 to {length})", problems)
    table.keep((identity != np.floor(identity)) | (identity < 0), "{1:g} is no identity", problems)
    if problems:
        raise DataError(problems[0])
    frames = []
    for index, mine in enumerate(split_by_frame(number, range(1, length + 1)), start=1):
        rows = table.values[mine]
        identities = rows[:, 1].astype(np.int64)
        if len(set(identities.tolist())) < len(identities):
            raise UserError(f"{path}: an identity is in frame {index} twice")
        corner = rows[:, 2:4] - 1
        boxes = np.concatenate([corner, corner + rows[:, 4:6]], axis=1)
        frames.append(TrackedFrame(identities=identities, boxes=boxes, scores=rows[:, 6]))
    return frames
