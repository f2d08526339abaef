"""The demo world's videos of several objects, as MOTChallenge and MOTS hold them: the same frames, boxes or masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mec_transfer.common.files import write_text
from mec_transfer.datasets.rle import mask_text
from mec_transfer.demo_world.detector import Detected
from mec_transfer.demo_world.footage import Frame

_PEDESTRIAN = 2  # MOTS20's number of the class; in MOTChallenge it is 1
_INSIDE = 0.2
"""The share of a person that must lie in the frame for a box."""
_PIXELS = 12
"""How many must be seen for a mask."""
_FRAME_RATE = 6


def write_motchallenge(root: Path, sequence: str, frames: list[Frame], detections: list[list[Detected]]) -> None:
    """Write gt.txt (whole boxes with their visibility, the first pixel being 1), det.txt and seqinfo.ini."""
    truth = sorted(
        (identity, number, body)
        for number, frame in enumerate(frames, start=1)
        for identity, body in frame.bodies.items()
        if body.inside >= _INSIDE
    )
    lines = []
    for identity, number, body in truth:
        x0, y0, x1, y1 = body.box
        lines.append(f"{number},{identity},{x0 + 1},{y0 + 1},{x1 - x0},{y1 - y0},1,1,{body.visibility:.5g}\n")
    folder = root / "train" / sequence
    write_text(folder / "gt" / "gt.txt", "".join(lines))
    lines = []
    for number, found in enumerate(detections, start=1):
        for one in found:
            left, top, right, bottom = one.box
            box = f"{left + 1:.2f},{top + 1:.2f},{right - left:.2f},{bottom - top:.2f}"
            lines.append(f"{number},-1,{box},{one.score:.4f},-1,-1,-1\n")
    write_text(folder / "det" / "det.txt", "".join(lines))
    _write_seqinfo(folder, sequence, frames)


def write_mots(root: Path, sequence: str, frames: list[Frame], detections: list[list[Detected]]) -> None:
    """Write gt.txt and det.txt, a mask a line, and seqinfo.ini. The detections' instance numbers mean nothing."""
    folder = root / "train" / sequence
    lines = [
        _mask_line(number, identity, body.seen)
        for number, frame in enumerate(frames, start=1)
        for identity, body in frame.bodies.items()
        if body.seen.sum() >= _PIXELS
    ]
    write_text(folder / "gt" / "gt.txt", "".join(lines))
    lines = [
        _mask_line(number, place, one.mask)
        for number, found in enumerate(detections, start=1)
        for place, one in enumerate(found, start=1)
    ]
    write_text(folder / "det" / "det.txt", "".join(lines))
    _write_seqinfo(folder, sequence, frames)


def _mask_line(number: int, instance: int, mask: np.ndarray) -> str:
    """Frame, identity (1000 times the class and the instance), class, height, width, COCO's compressed run lengths."""
    height, width = mask.shape
    return f"{number} {1000 * _PEDESTRIAN + instance} {_PEDESTRIAN} {height} {width} {mask_text(mask)}\n"


def _write_seqinfo(folder: Path, sequence: str, frames: list[Frame]) -> None:
    height, width = frames[0].image.shape[:2]
    values = {
        "name": sequence,
        "imDir": "img1",
        "frameRate": _FRAME_RATE,
        "seqLength": len(frames),
        "imWidth": width,
        "imHeight": height,
        "imExt": ".jpg",
    }
    write_text(folder / "seqinfo.ini", "[Sequence]\n" + "".join(f"{key}={value}\n" for key, value in values.items()))
