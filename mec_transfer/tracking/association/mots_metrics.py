"""The MOTS metrics of tracked masks, from files as the challenge takes and gives them.

By TrackEval's MOTSChallenge: masks match from an IoU of 0.5 on; a result that matches nothing and lies by more than
half in an ignored region is left out. sMOTSA is (the IoUs of all matches - FP - IDs) / truth, MOTSA has 1 for each IoU,
and MOTSP is the mean IoU of the matches (Voigtlaender et al., MOTS, CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import parse_whole, read_lines
from mec_transfer.datasets.rle import first_overlap, mask_fields, mask_runs, runs_box
from mec_transfer.datasets.videos.detection_files import PEDESTRIAN
from mec_transfer.datasets.videos.mot_sequences import sequence_length
from mec_transfer.datasets.videos.mots import MotsVideo
from mec_transfer.tracking.association.trackeval_metrics import measure_prepared, pooled_prepared, prepare
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files, Measured

METRICS = ("sMOTSA", "IDF1", "IDs", "MOTSA", "MOTSP", "HOTA", "DetA", "AssA", "MT", "ML", "FP", "FN", "Frag")
"""IDs: identity switches. MT, ML: identities tracked in more than 80 % or less than 20 % of their frames. Frag: how
often one is found again."""
_OFFSET = 1000 * PEDESTRIAN
"""The challenge's identities hold the class."""


def result_files(video: MotsVideo, frames: Sequence[TrackedFrame]) -> Files:
    """Return SEQUENCE.txt, the challenge's `frame id class height width rle`.

    Where masks overlap, the pixels are those of the higher score, since the challenge allows no pixel in two masks; a
    mask that has none left is left out.
    """
    lines = []
    for number, frame in zip(video.frames.numbers, frames, strict=True):
        masks = [_text(mask) for mask in frame.masks or ()]
        for identity, (height, width, counts) in zip(frame.identities, _disjoint(masks, frame.scores), strict=True):
            if counts:
                lines.append(f"{number} {identity + _OFFSET} {PEDESTRIAN} {height} {width} {counts}\n")
    return {f"{video.name}.txt": "".join(lines).encode()}


def truth_files(video: MotsVideo) -> Files:
    """Return SEQUENCE/gt/gt.txt (as it is, blanks evened) and SEQUENCE/seqinfo.ini, as TrackEval wants them."""
    rows = (mask_fields(line) for _, line in read_lines(video.ground_truth))
    text = "".join(
        " ".join([*(str(parse_whole(field)) for field in fields[:5]), *fields[5:]]) + "\n" for fields in rows
    )
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
    lengths = {sequence: _length(folder, sequence) for sequence in sequences}
    for sequence, length in lengths.items():
        for path in (folder / TRUTH / sequence / "gt" / "gt.txt", folder / RESULTS / f"{sequence}.txt"):
            _read(path, length)
    return prepare("MOTSChallenge", folder, lengths, {})


def read_results(folder: Path, sequence: str) -> list[TrackedFrame]:
    """Read a written result, a `TrackedFrame` for each of the sequence's frames; the format has no scores: all are 1.

    Raises:
        UserError: a file is missing or damaged.
    """
    frames = []
    for lines in _read(folder / RESULTS / f"{sequence}.txt", _length(folder, sequence)):
        boxes = [runs_box(mask_runs(line.counts, line.height, line.width), line.height) for line in lines]
        frames.append(
            TrackedFrame(
                identities=np.array([line.identity - _OFFSET for line in lines], dtype=np.int64),
                boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
                scores=np.ones(len(lines)),
                masks=tuple({"size": [line.height, line.width], "counts": line.counts.encode()} for line in lines),
            )
        )
    return frames


def _length(folder: Path, sequence: str) -> int:
    return sequence_length(folder / TRUTH / sequence / "seqinfo.ini")


class _Line(NamedTuple):
    identity: int
    height: int
    width: int
    counts: str


def _read(path: Path, length: int) -> list[list[_Line]]:
    """Return the lines of each frame. Raises DataError: TrackEval would not name a damaged one."""
    frames: list[list[_Line]] = [[] for _ in range(length)]
    for number, text in read_lines(path):
        try:
            frame, identity, _, height, width = (int(field) for field in text.split()[:5])
            (counts,) = text.split()[5:]
            if not 1 <= frame <= length:
                raise ValueError(f"there is no frame {frame}")
            mask_runs(counts, height, width)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not a line of `frame id class height width rle` ({error})") from None
        frames[frame - 1].append(_Line(identity, height, width, counts))
    return frames


_Text = tuple[int, int, str]
"""Height, width, RLE."""


def _text(mask: dict[str, Any]) -> _Text:
    counts = mask["counts"]
    return (*mask["size"], counts if isinstance(counts, str) else counts.decode())


def _disjoint(masks: list[_Text], scores: np.ndarray) -> list[_Text]:
    """Return the masks without the pixels that one of a higher score has; the text of an empty one is empty."""
    runs = [mask_runs(counts, height, width) for height, width, counts in masks]
    if not first_overlap(runs):
        return [mask if len(found) else (*mask[:2], "") for mask, found in zip(masks, runs)]
    from pycocotools import mask as coco_mask

    taken, result = None, list(masks)
    for index in np.argsort(-scores, kind="stable"):
        height, width, counts = masks[index]
        pixels = coco_mask.decode({"size": [height, width], "counts": counts.encode()}).astype(bool)
        free = pixels if taken is None else pixels & ~taken
        taken = pixels if taken is None else taken | pixels
        encoded = coco_mask.encode(np.asfortranarray(free, dtype=np.uint8))["counts"].decode()
        result[index] = (height, width, encoded if free.any() else "")
    return result
