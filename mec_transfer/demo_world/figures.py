"""Figures of connected limbs that walk or wave: what the demo world's pose videos show."""

from __future__ import annotations

import dataclasses
import math
from random import Random

import numpy as np

from mec_transfer.demo_world.draw import Colour, random_thing
from mec_transfer.demo_world.motion import Place
from mec_transfer.demo_world.scene import CATEGORIES, Pose, Thing
from mec_transfer.demo_world.shapes import outline
from mec_transfer.demo_world.textures import Texture

KEYPOINTS = (
    "nose",
    "head_bottom",
    "head_top",
    "left_ear",
    "right_ear",
    *(
        f"{side}_{part}"
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)
"""In the order of PoseTrack18's category, whose ears are never annotated."""
_HEAD = 0.085
_SIDES = {"left": 1, "right": -1}  # figures face the viewer: their left is the picture's right
_WIDTHS = {"arm": 0.055, "hand": 0.05, "thigh": 0.078, "shin": 0.062, "foot": 0.05}

_Points = dict[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clothes:
    """What a figure looks like."""

    shirt: Thing
    """Its texture and surface clothe the trunk and the upper arms."""
    trousers: Thing
    skin: Thing

    @staticmethod
    def draw(chance: Random, background: tuple[Colour, Colour]) -> Clothes:
        """Choose clothes whose colours are far from the background's."""
        shirt, trousers = (
            random_thing(chance, name, (0, 0, 1), background) for name in chance.sample(list(CATEGORIES), 2)
        )
        tone = chance.uniform(0.45, 1.0)
        pale = (tone, tone * chance.uniform(0.68, 0.8), tone * chance.uniform(0.5, 0.62))
        texture = Texture(pattern="clouds", colours=(pale, tuple(0.85 * c for c in pale)), frequency=1.0)  # type: ignore[arg-type]
        return Clothes(shirt=shirt, trousers=trousers, skin=dataclasses.replace(shirt, texture=texture, gloss=0.1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure at one moment."""

    clothes: Clothes
    place: Place
    """The point between its feet and its height, in pixels."""
    facing: int
    """1 to the picture's right, -1 to its left."""
    phase: float
    """Where it is in its stride, in double steps."""
    waving: bool = False
    """Whether it stands and waves both arms."""

    def joints(self) -> np.ndarray:
        """Return its keypoints, (17, 2) float64 of x and y in pixels, NaN for the ears."""
        points = self._points()
        return np.array([points.get(name, (math.nan, math.nan)) for name in KEYPOINTS])

    def things(self) -> list[Thing]:
        """Return what it is drawn of, from the farthest to the nearest."""
        near, far = ("right", "left") if self.facing > 0 else ("left", "right")
        points = self._points()
        clothes = self.clothes
        trunk = self._trunk(points)
        head_x, head_y = points["head"]
        head = Pose(x=head_x, y=head_y, radius=_HEAD * self.place.size / outline("ball").max())
        nose_x, nose_y = points["nose"]
        nose = Pose(x=nose_x, y=nose_y, radius=0.2 * head.radius)
        neck = self._limb(points["head_bottom"], points["neck"], 0.05, clothes.skin)
        return [
            *self._arm(points, far),
            *self._leg(points, far),
            *self._leg(points, near),
            neck,
            trunk,
            dataclasses.replace(clothes.skin, shape="ball", pose=head, category=None, relief=0.9),
            dataclasses.replace(clothes.skin, shape="ball", pose=nose, category=None, relief=0.9, gloss=0.5),
            *self._arm(points, near),
        ]

    def _points(self) -> _Points:
        """Every joint and the points between, in pixels."""
        points: _Points = {}
        turn = 2 * math.pi * self.phase
        bob = 0.012 * math.cos(2 * turn)
        points["head_bottom"] = (0.012 * self.facing, -0.8 + bob)
        points["neck"] = (0.005 * self.facing, -0.74 + bob)
        points["head"] = (0.02 * self.facing, -0.8 - _HEAD + bob)
        points["nose"] = (0.02 * self.facing + 0.055 * self.facing, -0.79 - _HEAD + bob)
        points["head_top"] = (0.02 * self.facing, -0.8 - 2 * _HEAD + bob)
        for side, sign in _SIDES.items():
            swing = math.sin(turn + (0 if sign > 0 else math.pi))
            lift = max(0.0, math.cos(turn + (0 if sign > 0 else math.pi)))
            hip, shoulder = (0.05 * sign, -0.46 + bob), (0.095 * sign, -0.745 + bob)
            thigh = 0.04 * sign * self.facing if self.waving else 0.5 * swing
            shin = thigh if self.waving else thigh - 0.12 - 0.6 * lift
            knee = self._reach(hip, 0.225, thigh)
            points |= {f"{side}_hip": hip, f"{side}_shoulder": shoulder, f"{side}_knee": knee}
            ankle = points[f"{side}_ankle"] = self._reach(knee, 0.215, shin)
            points[f"{side}_toe"] = self._reach(ankle, 0.06, shin + 1.45)
            outward = sign * self.facing
            arm = outward * (2.2 + 0.35 * math.sin(turn)) if self.waving else -0.5 * swing + 0.1 * outward
            hand = outward * (2.9 + 0.5 * math.sin(turn + 0.6)) if self.waving else arm + 0.45
            elbow = points[f"{side}_elbow"] = self._reach(shoulder, 0.165, arm)
            points[f"{side}_wrist"] = self._reach(elbow, 0.15, hand)
        x, y, height = self.place
        return {name: (x + height * dx, y + height * dy) for name, (dx, dy) in points.items()}

    def _reach(self, start: tuple[float, float], length: float, angle: float) -> tuple[float, float]:
        """Where a bone ends: `angle` from straight down, forward being positive."""
        return start[0] + self.facing * length * math.sin(angle), start[1] + length * math.cos(angle)

    def _arm(self, points: _Points, side: str) -> list[Thing]:
        shoulder, elbow, wrist = (points[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        return [
            self._limb(elbow, wrist, _WIDTHS["hand"], self.clothes.skin),
            self._limb(shoulder, elbow, _WIDTHS["arm"], self.clothes.shirt),
        ]

    def _leg(self, points: _Points, side: str) -> list[Thing]:
        hip, knee, ankle, toe = (points[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "toe"))
        trousers = self.clothes.trousers
        return [
            self._limb(ankle, toe, _WIDTHS["foot"], self.clothes.skin),
            self._limb(knee, ankle, _WIDTHS["shin"], trousers),
            self._limb(hip, knee, _WIDTHS["thigh"], trousers),
        ]

    def _trunk(self, points: _Points) -> Thing:
        left, right = points["left_shoulder"], points["left_hip"]
        height = self.place.size
        tall = right[1] - left[1] + 0.09 * height
        half = float(outline("box")[:, 1].max())
        x, y = self.place.x, (left[1] + right[1]) / 2
        radius = tall / 2 / half
        pose = Pose(x=x, y=y, radius=radius, squeeze=0.225 * height / tall)
        return dataclasses.replace(self.clothes.shirt, shape="box", pose=pose, category=None)

    def _limb(self, start: tuple[float, float], end: tuple[float, float], width: float, like: Thing) -> Thing:
        """A capsule of `width` heights around the bone from `start` to `end`."""
        long, short = outline("limb").max(axis=0)
        across = width * self.place.size
        length = math.dist(start, end) + across
        pose = Pose(
            x=(start[0] + end[0]) / 2,
            y=(start[1] + end[1]) / 2,
            radius=float(length / 2 / long),
            rotation=math.atan2(end[1] - start[1], end[0] - start[0]),
            squeeze=float(across * long / (length * short)),
            squeeze_axis=math.pi / 2,
        )
        return dataclasses.replace(like, shape="limb", pose=pose, category=None)
