"""What a picture of the demo world shows: things with a pose, a background, a light. No pixels here."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mec_transfer.demo_world.shapes import outline
from mec_transfer.demo_world.textures import Texture


@dataclasses.dataclass(frozen=True)
class Category:
    """A class of the demo world: a shape, a texture and the ground that it is mostly seen on; the rest is free."""

    shape: str
    pattern: str
    frequency: float
    ground: str
    """The pattern of its usual background, which is a thing's of another class."""


CATEGORIES = {
    "ball": Category("ball", "stripes", 1.5, "waves"),
    "box": Category("box", "bricks", 2.0, "rays"),
    "cog": Category("cog", "rings", 2.6, "dots"),
    "drop": Category("drop", "waves", 2.2, "checks"),
    "flower": Category("flower", "rays", 1.6, "zigzag"),
    "heart": Category("heart", "dots", 2.4, "marble"),
    "kite": Category("kite", "checks", 1.7, "speckle"),
    "leaf": Category("leaf", "zigzag", 1.9, "stripes"),
    "plus": Category("plus", "marble", 1.8, "bricks"),
    "star": Category("star", "speckle", 2.6, "rings"),
}
"""In the sorted order of their names, which is the order of their numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pose:
    """Where a thing is: pixels for lengths, radians for angles, y down."""

    x: float
    y: float
    radius: float
    rotation: float = 0.0
    squeeze: float = 1.0
    """Foreshortening: the thing's size along `squeeze_axis` (relative to the thing), 1 for none."""
    squeeze_axis: float = 0.0

    def matrix(self) -> np.ndarray:
        """Return the (2, 2) float64 matrix that takes the thing's own coordinates to pixels around (x, y)."""
        c, s = math.cos(self.squeeze_axis), math.sin(self.squeeze_axis)
        axis = np.array([[c, -s], [s, c]])
        squeezed = axis @ np.diag([self.squeeze, 1.0]) @ axis.T
        c, s = math.cos(self.rotation), math.sin(self.rotation)
        return self.radius * (np.array([[c, -s], [s, c]]) @ squeezed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thing:
    """Something to draw. Clutter has no category."""

    shape: str
    texture: Texture
    pose: Pose
    category: str | None = None
    relief: float = 0.8
    """How far its surface bulges towards the light, 0 (flat) to 1."""
    gloss: float = 0.3

    def polygon(self) -> np.ndarray:
        """Return the outline in pixels, (N, 2) float64 of (x, y), hidden and outside parts included."""
        return outline(self.shape) @ self.pose.matrix().T + [self.pose.x, self.pose.y]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
    """A far lamp and the light from everywhere."""

    direction: tuple[float, float, float]
    """Towards the lamp, of length 1: x right, y down, z to the viewer."""
    ambient: float
    gradient: float = 0.0
    """How much brighter the background is on the lamp's side, as a share."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture before it is drawn: `things` from the farthest to the nearest."""

    background: Texture
    background_rotation: float
    background_scale: float
    """Pixels in the background texture's unit."""
    things: tuple[Thing, ...]
    light: Light
    background_shift: tuple[float, float] = (0.0, 0.0)
    """Where the background texture's origin lies, in pixels: a camera that moves moves it."""
