"""Drawn videos: frames, and what is true of everyone in them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from mec_transfer.demo_world.clips import Clip
from mec_transfer.demo_world.render import render, silhouette
from mec_transfer.demo_world.scene import Thing
from mec_transfer.demo_world.stage import Moment, Stage


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Body:
    """Someone in a frame, hidden or not."""

    seen: np.ndarray
    """(H, W) bool: where it is seen."""
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1, half-open, of all of it that lies in the frame, hidden parts included."""
    inside: float
    """How much of it lies in the frame, as a share."""
    visibility: float
    """How much of it is seen, as a share."""
    joints: np.ndarray | None
    """A figure's joints, (17, 2) float64 in pixels, NaN where one is hidden or never annotated."""
    head: tuple[float, float, float, float] | None
    """The box around a figure's head: x0, y0, x1, y1."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Frame:
    """One drawn frame."""

    image: np.ndarray
    """(H, W, 3) uint8."""
    bodies: dict[int, Body]
    """By identity: of everyone with a pixel in the frame, hidden or not."""


def shoot(clip: Clip, seed: int) -> Iterator[Frame]:
    """Draw a clip's frames in the order of time."""
    stage = Stage(clip, seed)
    for index in range(clip.length):
        moment = stage.moment(index)
        drawn = render(moment.scene, clip.width, clip.height)
        owners = np.array([0, *moment.identities])[drawn.owner + 1]
        bodies = {}
        for identity in sorted({*moment.identities} - {0}):
            body = _body(moment, identity, owners)
            if body is not None:
                bodies[identity] = body
        yield Frame(image=drawn.image, bodies=bodies)


def _body(moment: Moment, identity: int, owners: np.ndarray) -> Body | None:
    things = [thing for thing, owner in zip(moment.scene.things, moment.identities) if owner == identity]
    height, width = owners.shape
    window = _window(things)
    left, top = window[:2]
    full = silhouette(things, window)
    framed = full[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    if not framed.any():
        return None
    seen = owners == identity
    rows, columns = np.flatnonzero(framed.any(axis=1)), np.flatnonzero(framed.any(axis=0))
    x, y = max(left, 0), max(top, 0)
    return Body(
        seen=seen,
        box=(x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1),
        inside=float(framed.sum() / full.sum()),
        visibility=float(seen.sum() / full.sum()),
        joints=_visible_joints(moment.joints[identity], seen) if identity in moment.joints else None,
        head=_head(things) if identity in moment.joints else None,
    )


def _window(things: list[Thing]) -> tuple[int, int, int, int]:
    corners = np.concatenate([thing.polygon() for thing in things])
    (left, top), (right, bottom) = corners.min(axis=0) - 1, corners.max(axis=0) + 1
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


def _visible_joints(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Drop the joints outside the frame or behind someone else: those with none of the figure's pixels around them."""
    height, width = seen.shape
    kept = joints.copy()
    for joint in kept:
        if np.isnan(joint).any():
            continue
        x, y = math.floor(joint[0]), math.floor(joint[1])
        around = seen[max(y - 1, 0) : max(y + 2, 0), max(x - 1, 0) : max(x + 2, 0)]
        if not (0 <= joint[0] < width and 0 <= joint[1] < height and around.any()):
            joint[:] = math.nan
    return kept


def _head(things: list[Thing]) -> tuple[float, float, float, float]:
    corners = next(thing for thing in things if thing.shape == "ball").polygon()
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return float(left), float(top), float(right), float(bottom)
