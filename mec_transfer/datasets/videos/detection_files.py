"""A detector's output for one sequence: boxes or masks, a text file or a JSON file.

JSON, for both: a list of objects, COCO's results format. `frame` (or `image_id`) is the number in the frame's name,
`bbox` is [x, y, width, height] in pixels from the image's corner, `score` a number. `category_id` may be left out; what
has another than 1 (COCO's person) is not followed, and counted: a detector that numbers persons 0 has to say 1. For
masks `segmentation` is {"size": [height, width], "counts": a compressed RLE} and `bbox` is not needed.

Text, boxes: MOTChallenge's `frame,-1,x,y,width,height,score,...`, of which the columns after the score are not read,
or `frame,x,y,width,height,score`, the six columns of the FairMOT detections that UniTrack gives, whose scores are at
most 1: six columns are often the first format without its score. x and y count from 1. Tabs, blanks and semicolons will
do for commas.
Text, masks: `frame id class height width rle` (MOTS, so another tracker's results; every score is 1), or `frame id
class score height width rle`, or TrackR-CNN's `frame x0 y0 x1 y1 score class height width rle ...`, whose frames count
from 0. Class 2 is a pedestrian; other classes are not followed, and counted. Commas and tabs will do for blanks.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.datasets import values
from mec_transfer.datasets.annotations import (
    Json,
    Table,
    parse_number,
    parse_whole,
    read_lines,
    read_table,
)
from mec_transfer.datasets.rle import mask_fields, mask_runs, runs_box
from mec_transfer.datasets.videos.boxes import far_outside, split_by_frame
from mec_transfer.datasets.videos.detections import DetectionFile, Detections, detection_file
from mec_transfer.datasets.videos.frames import Frames

PEDESTRIAN = 2
"""MOTS's class."""
_PERSON = 1
"""COCO's category."""
_FAIRMOT, _TRACKRCNN = 6, 10
"""Columns."""
_NAMES = "frame,id,x,y,width,height,score,..."


def read_box_detections(path: Path, frames: Frames, problems: list[str]) -> DetectionFile:
    """Read boxes, a `Detections` a frame in the file's order; `problems` gets a line for each broken one.

    A box may reach out of the image, but is an error if it is empty, or farther out than it is large.

    Raises:
        DataError: the file cannot be read at all.
    """
    others: Counter[str] = Counter()
    if path.suffix.lower() == ".json":
        rows = _json_boxes(path, frames, problems, others)
    else:
        rows = _text_boxes(path, frames, problems)
    by_frame = split_by_frame(rows[:, 0], frames.numbers)
    found = tuple(Detections(boxes=rows[index, 1:5], scores=rows[index, 5]) for index in by_frame)
    return detection_file(path, found, others, f"category_id {_PERSON}")


def read_mask_detections(path: Path, frames: Frames, problems: list[str]) -> DetectionFile:
    """Read masks, a `Detections` a frame in the file's order; `problems` gets a line for each broken one.

    Raises:
        DataError: the file cannot be read at all.
    """
    others: Counter[str] = Counter()
    read, persons = _text_masks, f"class {PEDESTRIAN}"
    if path.suffix.lower() == ".json":
        read, persons = _json_masks, f"category_id {_PERSON}"
    found = read(path, frames, problems, others)
    by_frame = split_by_frame(np.array([number for number, *_ in found]), frames.numbers)
    detections = []
    for index in by_frame:
        mine = [found[position] for position in index]
        detections.append(
            Detections(
                boxes=np.array([box for _, box, _, _ in mine], dtype=np.float64).reshape(-1, 4),
                scores=np.array([score for _, _, score, _ in mine], dtype=np.float64),
                masks=tuple(mask for *_, mask in mine),
            )
        )
    return detection_file(path, tuple(detections), others, persons)


def _text_boxes(path: Path, frames: Frames, problems: list[str]) -> np.ndarray:
    """Return (N, 6): frame number, x0, y0, x1, y1, score."""
    table = read_table(path, (7, 8, 9, 10, 6), problems, _NAMES)
    start = 1 if table.values.shape[1] == _FAIRMOT else 2
    if start == 1 and ((table.values[:, 1] == -1).all() or (table.values[:, 5] > 1).any()) and len(table.values):
        problems.append(
            f"{path}:{table.lines[0]}: six columns are frame,x,y,width,height,score, with scores of at most 1;"
            f" these look like others; write {_NAMES}"
        )
        table = dataclasses.replace(table, lines=table.lines[:0], values=table.values[:0])
    number, corner, size = (
        table.values[:, 0],
        table.values[:, start : start + 2] - 1,
        table.values[:, start + 2 :][:, :2],
    )
    score = table.values[:, start + 4]
    rows = np.concatenate([number[:, None], corner, corner + size, score[:, None]], axis=1)
    return _check_boxes(Table(path=path, lines=table.lines, values=rows), frames, problems).values


def _check_boxes(table: Table, frames: Frames, problems: list[str]) -> Table:
    """Keep the sound rows of (frame, x0, y0, x1, y1, ...)."""
    number = table.values[:, 0]
    first, last = frames.numbers[0], frames.numbers[-1]
    wrong = (number != np.floor(number)) | (number < first) | (number > last)
    table = table.keep(wrong, f"there is no frame {{0:.15g}} in '{frames.name}' ({first} to {last})", problems)
    _, x0, y0, x1, y1 = table.values[:, :5].T
    table = table.keep((x1 <= x0) | (y1 <= y0), "empty box ({1:g}, {2:g}, {3:g}, {4:g})", problems)
    what = f"box ({{1:g}}, {{2:g}}, {{3:g}}, {{4:g}}) lies outside the image ({frames.width}x{frames.height})"
    return table.keep(far_outside(table.values[:, 1:5], frames), what, problems)


def _json_boxes(path: Path, frames: Frames, problems: list[str], others: Counter[str]) -> np.ndarray:
    """Return (N, 6): frame number, x0, y0, x1, y1, score; counts in `others` what is not a person."""
    document, rows = Json(path), []
    known = set(frames.numbers)
    for index, item in enumerate(document.items(None)):
        try:
            number, score = _frame_and_score(item, known, frames.name)
            if _is_other(item, others):
                continue
            x, y, width, height = _four_numbers(item)
            box = (x, y, x + width, y + height)
            if not (width > 0 and height > 0):
                raise ValueError(f"empty box ({x:g}, {y:g}, {x + width:g}, {y + height:g})")
            if far_outside(np.array([box]), frames).any():
                raise ValueError(
                    f"box ({x:g}, {y:g}, {x + width:g}, {y + height:g}) lies outside the image "
                    f"({frames.width}x{frames.height})"
                )
            rows.append((number, *box, score))
        except ValueError as error:
            problems.append(document.complain(None, index, str(error)))
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


def _frame_and_score(item: dict[str, Any], known: set[int], name: str) -> tuple[int, float]:
    """Raises ValueError."""
    key = next((key for key in ("frame", "image_id") if key in item), None)
    if key is None:
        raise ValueError("'frame' is missing")
    number = values.whole(item[key], key)
    if number not in known:
        raise ValueError(f"there is no frame {number} in '{name}' ({min(known)} to {max(known)})")
    if "score" not in item:
        raise ValueError("'score' is missing")
    return number, values.number(item["score"], "the score")


def _is_other(item: dict[str, Any], others: Counter[str]) -> bool:
    """Return whether an item is not a person, and count it where it is not. Raises ValueError."""
    category = values.whole(item.get("category_id", _PERSON), "category_id")
    if category != _PERSON:
        others[f"category_id {category}"] += 1
    return category != _PERSON


def _four_numbers(item: dict[str, Any]) -> list[float]:
    """Raises ValueError."""
    needs = "bbox needs [x, y, width, height]"
    if not isinstance(item.get("bbox"), list) or len(item["bbox"]) != 4:
        raise ValueError(needs)
    return values.numbers(item["bbox"], f"{needs}: a value")


_Mask = tuple[int, tuple[int, int, int, int], float, dict[str, Any]]
"""Frame number, box, score, RLE."""


def _json_masks(path: Path, frames: Frames, problems: list[str], others: Counter[str]) -> list[_Mask]:
    document, found = Json(path), []
    known = set(frames.numbers)
    for index, item in enumerate(document.items(None)):
        try:
            number, score = _frame_and_score(item, known, frames.name)
            if not _is_other(item, others):
                found.append((number, *_mask(*_size_and_counts(item), frames, score)))
        except ValueError as error:
            problems.append(document.complain(None, index, str(error)))
    return found


def _size_and_counts(item: dict[str, Any]) -> tuple[list[int], str]:
    """Raises ValueError."""
    needs = "segmentation needs {'size': [height, width], 'counts': a compressed RLE}"
    segmentation = item.get("segmentation")
    size, counts = (segmentation.get(key) for key in ("size", "counts")) if isinstance(segmentation, dict) else (0, 0)
    if not isinstance(size, list) or len(size) != 2 or not isinstance(counts, str):
        raise ValueError(needs)
    return [values.whole(value, f"{needs}: a side") for value in size], counts


def _mask(size: list[int], counts: str, frames: Frames, score: float) -> tuple[Any, float, dict[str, Any]]:
    """Raises ValueError."""
    height, width = size
    if (height, width) != (frames.height, frames.width):
        raise ValueError(f"a mask of {width}x{height} pixels, but the frames have {frames.width}x{frames.height}")
    runs = mask_runs(counts, height, width)
    if not len(runs):
        raise ValueError("empty mask")
    return runs_box(runs, height), score, {"size": size, "counts": counts.encode()}


def _text_masks(path: Path, frames: Frames, problems: list[str], others: Counter[str]) -> list[_Mask]:
    known, found = set(frames.numbers), []
    for line, text in read_lines(path):
        try:
            number, kind, score, height, width, counts = _mask_fields(mask_fields(text))
            if number not in known:
                raise ValueError(f"there is no frame {number} in '{frames.name}' ({min(known)} to {max(known)})")
            if kind == PEDESTRIAN:
                found.append((number, *_mask([height, width], counts, frames, score)))
            else:
                others[f"class {kind}"] += 1
        except ValueError as error:
            problems.append(f"{path}:{line}: {error}")
    return found


def _mask_fields(fields: list[str]) -> tuple[int, int, float, int, int, str]:
    """Return frame number, class, score, height, width and RLE. Raises ValueError."""
    try:
        if len(fields) >= _TRACKRCNN:
            number, score, kind, height, width = (fields[place] for place in (0, 5, 6, 7, 8))
            frame, counts = parse_whole(number) + 1, fields[9]
        elif len(fields) == 7:
            number, _, kind, score, height, width, counts = fields
            frame = parse_whole(number)
        else:
            (number, _, kind, height, width, counts), score = fields, "1"
            frame = parse_whole(number)
        confidence = parse_number(score)
        if not np.isfinite(confidence):
            raise ValueError
        return frame, parse_whole(kind), confidence, parse_whole(height), parse_whole(width), counts
    except ValueError:
        raise ValueError("not a line of `frame id class [score] height width rle`") from None
