"""Outlines of the demo world's things: closed curves that every ray from the centre crosses once.

Such an outline is a function r(angle), so coverage, relief and the polygon itself all come from one table. Angles
here are *diamond angles*, a measure in [0, 4) made of +, - and / alone: these round the same on every processor,
which sine and arctangent do not, and the same seed must give the same pixels.
"""

from __future__ import annotations

import functools
import math

import numpy as np

TABLE_SIZE = 1024
_AREA = 2.2  # every outline is scaled to it, so that size tells nothing of the class


def diamond_angle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the angle of each point in [0, 4): 0 along +x, 1 along +y, rising like the true angle."""
    t = y / np.maximum(np.abs(x) + np.abs(y), np.float32(1e-9))
    return np.where(x >= 0, np.where(y >= 0, t, 4 + t), 2 - t)


@functools.cache
def outline(shape: str) -> np.ndarray:
    """Return the outline's corners, (N, 2) float64, around the centre, in the unit of a thing's radius."""
    corners = np.array(_OUTLINES[shape](), dtype=np.float64)
    x, y = corners.T
    area = abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2
    scaled: np.ndarray = corners * math.sqrt(_AREA / area)
    return scaled


@functools.cache
def radius_table(shape: str) -> np.ndarray:
    """Return r at TABLE_SIZE diamond angles from 0 to 4, the first repeated at the end: (TABLE_SIZE + 1,) float32."""
    a = outline(shape)
    edge = np.roll(a, -1, axis=0) - a
    angle = np.arange(TABLE_SIZE) * (4 / TABLE_SIZE)
    ray = np.stack([np.abs(angle - 2) - 1, 1 - np.abs(angle - 1)], axis=1)
    ray[angle > 3, 1] = angle[angle > 3] - 4
    ray[:, 0] = np.where(angle <= 2, 1 - angle, angle - 3)
    ray /= np.sqrt((ray * ray).sum(axis=1, keepdims=True))
    # a + s * edge = r * ray, solved for r and s in [0, 1]; the farthest crossing is the outline's
    cross = ray[:, None, 0] * edge[None, :, 1] - ray[:, None, 1] * edge[None, :, 0]
    cross = np.where(np.abs(cross) < 1e-12, np.nan, cross)
    r = (a[:, 0] * edge[:, 1] - a[:, 1] * edge[:, 0]) / cross
    s = (a[None, :, 0] * ray[:, None, 1] - a[None, :, 1] * ray[:, None, 0]) / cross
    table = np.where((s >= -1e-9) & (s <= 1 + 1e-9) & (r > 0), r, 0.0).max(axis=1)
    return np.append(table, table[0]).astype(np.float32)


Corners = list[tuple[float, float]]


def _polar(radius, count: int = 180) -> Corners:  # type: ignore[no-untyped-def]
    """Corners at `count` equal angles, `radius` being a function of the angle."""
    angles = [2 * math.pi * k / count for k in range(count)]
    return [(radius(t) * math.cos(t), radius(t) * math.sin(t)) for t in angles]


def _regular(sides: int) -> Corners:
    return _polar(lambda t: 1.0, sides)


def _box() -> Corners:
    return _polar(lambda t: (math.cos(t) ** 8 + math.sin(t) ** 8) ** -0.125)


def _cog() -> Corners:
    corners = []
    for tooth in range(9):
        for part, radius in ((0.0, 0.74), (0.30, 0.74), (0.42, 1.0), (0.88, 1.0)):
            t = 2 * math.pi * (tooth + part) / 9
            corners.append((radius * math.cos(t), radius * math.sin(t)))
    return corners


def _drop() -> Corners:
    arc = [math.radians(d) for d in range(35, 326, 5)]
    return [(1.75, 0.0), *[(math.cos(t), math.sin(t)) for t in arc]]


def _flower() -> Corners:
    return _polar(lambda t: 0.62 + 0.38 * abs(math.cos(2.5 * t)) ** 0.8)


def _heart() -> Corners:
    ts = [2 * math.pi * k / 120 for k in range(120)]
    wave = [(16 * math.sin(t) ** 3, 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t)) for t in ts]
    return [(x / 16, -(y - math.cos(4 * t) - 0.5) / 16) for t, (x, y) in zip(ts, wave)]


def _kite() -> Corners:
    return [(0.0, -0.9), (0.72, -0.25), (0.0, 1.25), (-0.72, -0.25)]


def _leaf() -> Corners:
    half = [(math.cos(math.radians(d)), math.sin(math.radians(d)) - 0.5) for d in range(30, 151, 4)]
    return [*half, *[(-x, -y) for x, y in half]]


def _plus() -> Corners:
    w = 0.34
    return [(w, w), (w, 1), (-w, 1), (-w, w), (-1, w), (-1, -w), (-w, -w), (-w, -1), (w, -1), (w, -w), (1, -w), (1, w)]


def _star() -> Corners:
    tips = [(1.0 if k % 2 == 0 else 0.45, math.pi * k / 5 - math.pi / 2) for k in range(10)]
    return [(r * math.cos(t), r * math.sin(t)) for r, t in tips]


def _pebble() -> Corners:
    return _polar(lambda t: 1 + 0.16 * math.cos(2 * t + 1) + 0.09 * math.cos(3 * t))


def _bar() -> Corners:
    return [(2.0, 0.3), (-2.0, 0.3), (-2.0, -0.3), (2.0, -0.3)]


def _limb() -> Corners:
    end = [(3 + math.cos(math.radians(d)), math.sin(math.radians(d))) for d in range(-90, 91, 6)]
    return [*end, *[(-x, -y) for x, y in end]]


_OUTLINES = {
    "ball": lambda: _regular(96),
    "box": _box,
    "cog": _cog,
    "drop": _drop,
    "flower": _flower,
    "heart": _heart,
    "kite": _kite,
    "leaf": _leaf,
    "plus": _plus,
    "star": _star,
    "pebble": _pebble,
    "bar": _bar,
    "triangle": lambda: _regular(3),
    "limb": _limb,
}
