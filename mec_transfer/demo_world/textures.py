"""Procedural textures: a pattern over the plane between two colours.

Patterns are made of +, -, *, /, floor, abs and square root, which round the same on every processor.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from mec_transfer.demo_world.shapes import diamond_angle

_TILE = 512
_CELLS = 8  # cells of the coarsest octave along the tile's side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Texture:
    """A pattern, its two colours, and how it lies on the plane."""

    pattern: str
    """A key of PATTERNS."""
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    """RGB in [0, 1]."""
    frequency: float
    """Periods in the unit of the coordinates (a thing's radius)."""
    offset: tuple[float, float] = (0.0, 0.0)
    grain: float = 0.15
    """How far fine noise mixes the two colours, 0 to 1."""


def paint(texture: Texture, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the texture's colour at the points (u, v), both (H, W) float32: (3, H, W) float32 in [0, 1]."""
    du, dv = texture.offset
    field = PATTERNS[texture.pattern](u, v, np.float32(texture.frequency), np.float32(du), np.float32(dv))
    if texture.grain:
        field = field + np.float32(texture.grain) * (noise(u * 2 + (du + 3), v * 2 + dv) * 2 - 1)
    field = np.clip(field, 0, 1)
    low, high = (np.array(colour, dtype=np.float32) for colour in texture.colours)
    return low[:, None, None] + (high - low)[:, None, None] * field


def noise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return smooth noise in [0, 1] at (u, v), about one blob in a unit of length, repeating every 8 units."""
    step = np.float32(_TILE // _CELLS)
    column = np.floor(u * step).astype(np.int32) & (_TILE - 1)
    row = np.floor(v * step).astype(np.int32) & (_TILE - 1)
    return _noise_tile().ravel().take(row * _TILE + column)  # twice as fast as a pair of indices


@functools.cache
def _noise_tile() -> np.ndarray:
    """A tile of four octaves of value noise, (512, 512) float32, spread over [0, 1]."""
    seed = np.uint32(12345)
    tile = np.zeros((_TILE, _TILE), dtype=np.float64)
    for octave in range(4):
        cells = _CELLS << octave
        lattice = _hash_lattice(cells, seed + np.uint32(octave))
        position = np.arange(_TILE) * (cells / _TILE)
        cell = position.astype(np.int64)
        part = position - cell
        part = part * part * (3 - 2 * part)
        following = (cell + 1) % cells
        rows = lattice[cell] * (1 - part)[:, None] + lattice[following] * part[:, None]
        tile += (rows[:, cell] * (1 - part) + rows[:, following] * part) * 0.5**octave
    low, high = tile.min(), tile.max()
    return ((tile - low) / (high - low)).astype(np.float32)


def _hash_lattice(cells: int, seed: np.uint32) -> np.ndarray:
    """Numbers in [0, 1) from an integer hash: no generator whose stream a library may change."""
    x = np.arange(cells * cells, dtype=np.uint32) * np.uint32(2654435761) + seed * np.uint32(40503)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return ((x ^ (x >> np.uint32(16))) / 2.0**32).reshape(cells, cells)


def _wave(x: np.ndarray) -> np.ndarray:
    """A triangle wave of period 1 between 0 and 1."""
    return np.abs(2 * (x - np.floor(x)) - 1)


def _smooth_wave(x: np.ndarray) -> np.ndarray:
    t = _wave(x)
    return t * t * (3 - 2 * t)


def _steep(x: np.ndarray, gain: float = 5.0) -> np.ndarray:
    """Raise the contrast around one half: bands with soft edges."""
    return np.clip((x - np.float32(0.5)) * np.float32(gain) + np.float32(0.5), 0, 1)


Field = np.ndarray
Pattern = Callable[[Field, Field, np.float32, np.float32, np.float32], Field]


def _stripes(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    return _steep(_wave(u * f + du))


def _checks(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    return _steep((_wave(u * f + du) - 0.5) * (_wave(v * f + dv) - 0.5) * 2 + 0.5, 12)


def _dots(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    y = v * f + dv
    row = np.floor(y)
    x = u * f + du + (row - 2 * np.floor(row / 2)) / 2
    x, y = x - np.floor(x) - np.float32(0.5), y - row - np.float32(0.5)
    return _steep(np.float32(0.6) - (x * x + y * y) * 1.3, 12)


def _rings(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    return _steep(_wave(np.sqrt(u * u + v * v) * f + du))


def _rays(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    return _steep(_wave(diamond_angle(u, v) * np.floor(f + 1) + du), 3)


def _zigzag(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    return _steep(_wave(v * f + dv + _wave(u * f + du)))


def _bricks(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    y = v * f * 1.4 + dv
    row = np.floor(y)
    x = u * f * 0.7 + du + (row - 2 * np.floor(row / 2)) / 2
    return _steep(np.minimum(1 - _wave(y), (1 - _wave(x)) * 2) * 2.2, 4)


def _marble(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    t = _smooth_wave(u * f * 0.7 + du + noise(u * 1.3 + dv, v * 1.3) * 1.6)
    return t * t


def _speckle(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    return _steep(noise(u * f + du, v * f + dv), 9)


def _waves(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    return _smooth_wave(v * f + dv + _smooth_wave(u * f * 0.6 + du) * 0.6)


def _clouds(u: Field, v: Field, f: np.float32, du: np.float32, dv: np.float32) -> Field:
    return noise(u * f * 0.6 + du, v * f * 0.6 + dv)


PATTERNS: dict[str, Pattern] = {
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "rings": _rings,
    "rays": _rays,
    "zigzag": _zigzag,
    "bricks": _bricks,
    "marble": _marble,
    "speckle": _speckle,
    "waves": _waves,
    "clouds": _clouds,
}
