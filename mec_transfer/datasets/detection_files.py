"""A detector's output for one sequence: boxes or masks, a text file or a JSON file.

JSON, for both: a list of objects, COCO's results format. `frame` (or `image_id`) is the number in the frame's name,
`bbox` is [x, y, width, height] in pixels from the image's corner, `score` a number. `category_id` may be left out; what
is not 1 (COCO's person) is left out. For masks `segmentation` is {"size": [height, width], "counts": a compressed RLE}
and `bbox` is not needed.

Text, boxes: MOTChallenge's `frame,-1,x,y,width,height,score,...`, of which the columns after the score are not read,
or `frame,x,y,width,height,score`, the six columns of the FairMOT detections that UniTrack gives. x and y count from 1.
Text, masks: `frame id class height width rle` (MOTS, so another tracker's results; every score is 1), or `frame id
class score height width rle`, or TrackR-CNN's `frame x0 y0 x1 y1 score class height width rle ...`, whose frames count
from 0. Class 2 is a pedestrian, and other classes are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from mec_transfer.datasets.annotations import Json, Table, read_table, read_text
from mec_transfer.datasets.boxes import far_outside, split_by_frame
from mec_transfer.datasets.detections import Detections
from mec_transfer.datasets.rle import mask_runs, runs_box
from mec_transfer.datasets.sequences import Frames

PEDESTRIAN = 2
"""MOTS's class."""
_PERSON = 1
"""COCO's category."""
_TRACKRCNN = 10
_NAMES = "frame,id,x,y,width,height,score,..."


def read_box_detections(path: Path, frames: Frames, problems: list[str]) -> tuple[Detections, ...]:
    """Read boxes, a `Detections` a frame in the file's order; `problems` gets a line for each broken one.

    A box may reach out of the image, but is an error if it is empty, or farther out than it is large.

    Raises:
        DataError: the file cannot be read at all.
    """
    rows = _json_boxes(path, frames, problems) if path.suffix == ".json" else _text_boxes(path, frames, problems)
    by_frame = split_by_frame(rows[:, 0], frames.numbers)
    return tuple(Detections(boxes=rows[index, 1:5], scores=rows[index, 5]) for index in by_frame)


def read_mask_detections(path: Path, frames: Frames, problems: list[str]) -> tuple[Detections, ...]:
    """Read masks, a `Detections` a frame in the file's order; `problems` gets a line for each broken one.

    Raises:
        DataError: the file cannot be read at all.
    """
    read = _json_masks if path.suffix == ".json" else _text_masks
    found = read(path, frames, problems)
    by_frame = split_by_frame(numpy.array([number for number, *_ in found]), frames.numbers)
    detections = []
    for index in by_frame:
        mine = [found[position] for position in index]
        detections.append(
            Detections(
                boxes=numpy.array([box for _, box, _, _ in mine], dtype=numpy.float64).reshape(-1, 4),
                scores=numpy.array([score for _, _, score, _ in mine], dtype=numpy.float64),
                masks=tuple(mask for *_, mask in mine),
            )
        )
    return tuple(detections)


def _text_boxes(path: Path, frames: Frames, problems: list[str]) -> numpy.ndarray:
    """Return (N, 6): frame number, x0, y0, x1, y1, score."""
    table = read_table(path, (7, 8, 9, 10, 6), problems, _NAMES)
    start = 1 if table.values.shape[1] == 6 else 2
    number, corner, size = (
        table.values[:, 0],
        table.values[:, start : start + 2] - 1,
        table.values[:, start + 2 :][:, :2],
    )
    score = table.values[:, start + 4]
    rows = numpy.concatenate([number[:, None], corner, corner + size, score[:, None]], axis=1)
    return _check_boxes(Table(path=path, lines=table.lines, values=rows), frames, problems).values


def _check_boxes(table: Table, frames: Frames, problems: list[str]) -> Table:
    """Keep the sound rows of (frame, x0, y0, x1, y1, ...)."""
    number = table.values[:, 0]
    first, last = frames.numbers[0], frames.numbers[-1]
    wrong = (number != numpy.floor(number)) | (number < first) | (number > last)
    table = table.keep(wrong, f"there is no frame {{0:.15g}} in '{frames.name}' ({first} to {last})", problems)
    _, x0, y0, x1, y1 = table.values[:, :5].T
    table = table.keep((x1 <= x0) | (y1 <= y0), "empty box ({1:g}, {2:g}, {3:g}, {4:g})", problems)
    what = f"box ({{1:g}}, {{2:g}}, {{3:g}}, {{4:g}}) lies outside the image ({frames.width}x{frames.height})"
    return table.keep(far_outside(table.values[:, 1:5], frames), what, problems)


def _json_boxes(path: Path, frames: Frames, problems: list[str]) -> numpy.ndarray:
    document, rows = Json(path), []
    known = set(frames.numbers)
    for index, item in enumerate(document.items(None)):
        try:
            number, score = _frame_and_score(item, known, frames.name)
            if item.get("category_id", _PERSON) != _PERSON:
                continue
            x, y, width, height = (float(value) for value in item["bbox"])
            box = (x, y, x + width, y + height)
            if not numpy.isfinite(box).all():
                raise ValueError("a number is not finite")
            if not (width > 0 and height > 0):
                raise ValueError(f"empty box ({x:g}, {y:g}, {x + width:g}, {y + height:g})")
            if far_outside(numpy.array([box]), frames).any():
                raise ValueError(
                    f"box ({x:g}, {y:g}, {x + width:g}, {y + height:g}) lies outside the image "
                    f"({frames.width}x{frames.height})"
                )
            rows.append((number, *box, score))
        except (ValueError, TypeError, KeyError) as error:
            problems.append(document.complain(None, index, _reason(error, "bbox needs [x, y, width, height]")))
    return numpy.array(rows, dtype=numpy.float64).reshape(-1, 6)


def _frame_and_score(item: dict[str, Any], known: set[int], name: str) -> tuple[int, float]:
    """Raises ValueError, TypeError or KeyError."""
    number = item["frame"] if "frame" in item else item.get("image_id")
    if not isinstance(number, int) or number not in known:
        raise ValueError(f"there is no frame {number} in '{name}' ({min(known)} to {max(known)})")
    score = float(item["score"])
    if not numpy.isfinite(score):
        raise ValueError("the score is not finite")
    return number, score


def _reason(error: Exception, otherwise: str) -> str:
    """Return what an item lacks, in words."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return (
        otherwise if isinstance(error, TypeError) or "unpack" in str(error) or "convert" in str(error) else str(error)
    )


_Mask = tuple[int, tuple[int, int, int, int], float, dict[str, Any]]
"""Frame number, box, score, RLE."""


def _json_masks(path: Path, frames: Frames, problems: list[str]) -> list[_Mask]:
    document, found = Json(path), []
    known = set(frames.numbers)
    for index, item in enumerate(document.items(None)):
        try:
            number, score = _frame_and_score(item, known, frames.name)
            if item.get("category_id", _PERSON) != _PERSON:
                continue
            segmentation = item["segmentation"]
            found.append((number, *_mask(segmentation["size"], segmentation["counts"], frames, score)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            needs = "segmentation needs {'size': [height, width], 'counts': a compressed RLE}"
            reason = needs if isinstance(error, AttributeError) else _reason(error, needs)
            problems.append(document.complain(None, index, reason))
    return found


def _mask(size: Sequence[int], counts: str, frames: Frames, score: float) -> tuple[Any, float, dict[str, Any]]:
    """Raises ValueError."""
    height, width = size
    if (height, width) != (frames.height, frames.width):
        raise ValueError(f"a mask of {width}x{height} pixels, but the frames have {frames.width}x{frames.height}")
    runs = mask_runs(counts, height, width)
    if not len(runs):
        raise ValueError("empty mask")
    return runs_box(runs, height), score, {"size": [height, width], "counts": counts.encode()}


def _text_masks(path: Path, frames: Frames, problems: list[str]) -> list[_Mask]:
    known, found = set(frames.numbers), []
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        fields = text.split()
        if not fields:
            continue
        try:
            number, kind, score, height, width, counts = _mask_fields(fields)
            if number not in known:
                raise ValueError(f"there is no frame {number} in '{frames.name}' ({min(known)} to {max(known)})")
            if kind == PEDESTRIAN:
                found.append((number, *_mask((height, width), counts, frames, score)))
        except ValueError as error:
            problems.append(f"{path}:{line}: {error}")
    return found


def _mask_fields(fields: list[str]) -> tuple[int, int, float, int, int, str]:
    """Return frame number, class, score, height, width and RLE. Raises ValueError."""
    try:
        if len(fields) >= _TRACKRCNN:
            number, score, kind, height, width = (fields[place] for place in (0, 5, 6, 7, 8))
            return int(number) + 1, int(kind), _finite(score), int(height), int(width), fields[9]
        if len(fields) == 7:
            number, _, kind, score, height, width, counts = fields
            return int(number), int(kind), _finite(score), int(height), int(width), counts
        number, _, kind, height, width, counts = fields
        return int(number), int(kind), 1.0, int(height), int(width), counts
    except ValueError:
        raise ValueError("not a line of `frame id class [score] height width rle`") from None


def _finite(text: str) -> float:
    value = float(text)
    if not numpy.isfinite(value):
        raise ValueError
    return value
