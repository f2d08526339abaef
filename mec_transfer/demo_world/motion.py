"""How things and the camera move in the demo world's videos: smooth curves through a few points."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple


class Place(NamedTuple):
    """A point of the world and a length there."""

    x: float
    """In widths of the frame, from the left."""
    y: float
    """In heights of the frame, from the top."""
    size: float
    """In heights of the frame; of a camera, how much it magnifies."""


@dataclasses.dataclass(frozen=True)
class Path:
    """A curve over the time of a video, which runs from 0 to 1: (time, x, y, size) where it passes, times rising."""

    knots: tuple[tuple[float, float, float, float], ...]

    def at(self, time: float) -> Place:
        """Return the place at `time`, on a cubic through the knots; before the first and after the last it rests."""
        knots = self.knots
        if time <= knots[0][0] or len(knots) == 1:
            return Place(*knots[0][1:])
        if time >= knots[-1][0]:
            return Place(*knots[-1][1:])
        index = max(k for k, knot in enumerate(knots) if knot[0] <= time)
        begin, end = knots[index], knots[index + 1]
        step = end[0] - begin[0]
        part = (time - begin[0]) / step
        before, after = self._slope(index), self._slope(index + 1)
        values = []
        for axis in range(3):
            p, q = begin[axis + 1], end[axis + 1]
            m, n = before[axis] * step, after[axis] * step
            a, b = 2 * (p - q) + m + n, 3 * (q - p) - 2 * m - n
            values.append(((a * part + b) * part + m) * part + p)
        return Place(*values)

    def _slope(self, index: int) -> list[float]:
        """The curve's derivative at a knot: that of the line between its neighbours, at an end to its one neighbour."""
        begin, end = self.knots[max(index - 1, 0)], self.knots[min(index + 1, len(self.knots) - 1)]
        return [(end[axis] - begin[axis]) / (end[0] - begin[0]) for axis in (1, 2, 3)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """What a camera shows at one time: from the world to pixels."""

    camera: Place
    """The world's point in the middle of the frame, and the magnification."""
    width: int
    height: int
    mirrored: bool = False

    def pixels(self, place: Place) -> Place:
        """Return `place` in pixels, its size too."""
        x = ((place.x - self.camera.x) * self.camera.size + 0.5) * self.width
        y = ((place.y - self.camera.y) * self.camera.size + 0.5) * self.height
        return Place(self.width - x if self.mirrored else x, y, place.size * self.camera.size * self.height)
