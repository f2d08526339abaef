"""A detector that errs, for the demo world's videos: boxes, masks and poses of a drawn frame with made-up mistakes.

It misses some, sees what is not there, and is a little beside the truth. Its chance is seeded, so a world's
detections are the same every time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from random import Random

import numpy as np

from mec_transfer.demo_world.footage import Body, Frame

_HIDDEN = 0.3  # of a body, what must be seen for it to be found
_MISSED = 0.05
_FALSE = 0.15  # false alarms in a frame
_EDGE = 0.04  # of the box's side, how far an edge may be off
_JOINT = 0.025  # of the box's height
_LOST_JOINT = 0.04

_Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Detected:
    """One detection; the detector does not know who it is."""

    box: _Box
    """x0, y0, x1, y1 in pixels."""
    score: float
    mask: np.ndarray
    """(H, W) bool; no two of a frame overlap."""
    joints: np.ndarray | None
    """A figure's joints, (17, 3) float64: x, y, score; NaN, NaN, 0 for one that was not found."""


def detect(frames: Iterable[Frame], chance: Random) -> list[list[Detected]]:
    """Return each frame's detections, in no telling order."""
    return [_detect(frame, chance) for frame in frames]


def _detect(frame: Frame, chance: Random) -> list[Detected]:
    bodies = [body for body in frame.bodies.values() if body.visibility >= _HIDDEN]
    chance.shuffle(bodies)
    taken = np.zeros(frame.image.shape[:2], dtype=bool)
    found = []
    for body in bodies:
        missed = chance.random() < _MISSED / body.visibility
        one = _see(body, taken, chance)
        if not missed and one.mask.any():
            taken |= one.mask
            found.append(one)
    if chance.random() < _FALSE:
        found.insert(chance.randrange(len(found) + 1), _imagine(bodies, taken, chance))
    return [one for one in found if one.mask.any()]


def _see(body: Body, taken: np.ndarray, chance: Random) -> Detected:
    height, width = taken.shape
    score = 0.99 - 0.4 * (1 - body.visibility) - 0.25 * chance.random() * chance.random()
    mask = _shifted(body.seen, chance.randint(-1, 1), chance.randint(-1, 1))
    around = [_shifted(mask, x, y) for x, y in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    change = chance.random()
    if change < 0.3:
        mask = np.logical_or.reduce([mask, *around])
    elif change < 0.6:
        mask = np.logical_and.reduce([mask, *around])
    x0, y0, x1, y1 = body.box
    off = [(chance.random() + chance.random() - 1) * _EDGE for _ in range(4)]
    box = (
        max(x0 + off[0] * (x1 - x0), 0.0),
        max(y0 + off[1] * (y1 - y0), 0.0),
        min(x1 + off[2] * (x1 - x0), float(width)),
        min(y1 + off[3] * (y1 - y0), float(height)),
    )
    joints = None if body.joints is None else _joints(body.joints, (y1 - y0) * _JOINT, chance)
    return Detected(box=box, score=score, mask=mask & ~taken, joints=joints)


def _joints(joints: np.ndarray, off: float, chance: Random) -> np.ndarray:
    seen = np.full((len(joints), 3), math.nan)
    seen[:, 2] = 0
    for target, (x, y) in zip(seen, joints):
        dx, dy = ((chance.random() + chance.random() - 1) * off for _ in range(2))
        score, lost = chance.uniform(0.55, 0.98), chance.random() < _LOST_JOINT
        if not math.isnan(x) and not lost:
            target[:] = max(x + dx, 0.5), max(y + dy, 0.5), score
    return seen


def _imagine(bodies: list[Body], taken: np.ndarray, chance: Random) -> Detected:
    """A false alarm: an oval where nothing else was found, with the pose of someone who is elsewhere."""
    height, width = taken.shape
    half_height = height * chance.uniform(0.08, 0.16)
    half_width = half_height * chance.uniform(0.5, 1.1)
    x, y = chance.uniform(half_width, width - half_width), chance.uniform(half_height, height - half_height)
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
    oval = ((columns - x) / half_width) ** 2 + ((rows - y) / half_height) ** 2 <= 1
    score = chance.uniform(0.3, 0.65)
    joints = None
    model = next((body for body in bodies if body.joints is not None), None)
    if model is not None and model.joints is not None:
        x0, y0, x1, y1 = model.box
        scale = 2 * half_height / (y1 - y0)
        moved = (model.joints - [(x0 + x1) / 2, (y0 + y1) / 2]) * scale + [x, y]
        joints = _joints(moved, half_height * 0.2, chance)
        joints[:, 2] *= 0.6
    box = (x - half_width, y - half_height, x + half_width, y + half_height)
    return Detected(box=box, score=score, mask=oval & ~taken, joints=joints)


def _shifted(mask: np.ndarray, right: int, down: int) -> np.ndarray:
    """Move a mask by at most one pixel; what enters is empty."""
    height, width = mask.shape
    return np.pad(mask, 1)[1 - down : 1 - down + height, 1 - right : 1 - right + width]
