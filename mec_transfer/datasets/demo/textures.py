"""Procedural textures: a pattern over the plane between two colours.

Patterns are made of +, -, *, /, floor, abs and square root, which round the same on every processor.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy

from mec_transfer.datasets.demo.shapes import diamond_angle

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


def paint(texture: Texture, u: numpy.ndarray, v: numpy.ndarray) -> numpy.ndarray:
    """Return the texture's colour at the points (u, v), both (H, W) float32: (3, H, W) float32 in [0, 1]."""
    du, dv = texture.offset
    field = PATTERNS[texture.pattern](u, v, numpy.float32(texture.frequency), numpy.float32(du), numpy.float32(dv))
    if texture.grain:
        field = field + numpy.float32(texture.grain) * (noise(u * 2 + (du + 3), v * 2 + dv) * 2 - 1)
    field = numpy.clip(field, 0, 1)
    low, high = (numpy.array(colour, dtype=numpy.float32) for colour in texture.colours)
    return low[:, None, None] + (high - low)[:, None, None] * field


def noise(u: numpy.ndarray, v: numpy.ndarray) -> numpy.ndarray:
    """Return smooth noise in [0, 1] at (u, v), about one blob in a unit of length, repeating every 8 units."""
    step = numpy.float32(_TILE // _CELLS)
    column = numpy.floor(u * step).astype(numpy.int32) & (_TILE - 1)
    row = numpy.floor(v * step).astype(numpy.int32) & (_TILE - 1)
    return _noise_tile()[row, column]


@functools.cache
def _noise_tile() -> numpy.ndarray:
    """A tile of four octaves of value noise, (512, 512) float32, spread over [0, 1]."""
    seed = numpy.uint32(12345)
    tile = numpy.zeros((_TILE, _TILE), dtype=numpy.float64)
    for octave in range(4):
        cells = _CELLS << octave
        lattice = _hash_lattice(cells, seed + numpy.uint32(octave))
        position = numpy.arange(_TILE) * (cells / _TILE)
        cell = position.astype(numpy.int64)
        part = position - cell
        part = part * part * (3 - 2 * part)
        following = (cell + 1) % cells
        rows = lattice[cell] * (1 - part)[:, None] + lattice[following] * part[:, None]
        tile += (rows[:, cell] * (1 - part) + rows[:, following] * part) * 0.5**octave
    low, high = tile.min(), tile.max()
    return ((tile - low) / (high - low)).astype(numpy.float32)


def _hash_lattice(cells: int, seed: numpy.uint32) -> numpy.ndarray:
    """Numbers in [0, 1) from an integer hash: no generator whose stream a library may change."""
    x = numpy.arange(cells * cells, dtype=numpy.uint32) * numpy.uint32(2654435761) + seed * numpy.uint32(40503)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> numpy.uint32(shift))) * numpy.uint32(factor)
    return ((x ^ (x >> numpy.uint32(16))) / 2.0**32).reshape(cells, cells)


def _wave(x: numpy.ndarray) -> numpy.ndarray:
    """A triangle wave of period 1 between 0 and 1."""
    return numpy.abs(2 * (x - numpy.floor(x)) - 1)


def _smooth_wave(x: numpy.ndarray) -> numpy.ndarray:
    t = _wave(x)
    return t * t * (3 - 2 * t)


def _steep(x: numpy.ndarray, gain: float = 5.0) -> numpy.ndarray:
    """Raise the contrast around one half: bands with soft edges."""
    return numpy.clip((x - numpy.float32(0.5)) * numpy.float32(gain) + numpy.float32(0.5), 0, 1)


Field = numpy.ndarray
Pattern = Callable[[Field, Field, numpy.float32, numpy.float32, numpy.float32], Field]


def _stripes(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    return _steep(_wave(u * f + du))


def _checks(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    return _steep((_wave(u * f + du) - 0.5) * (_wave(v * f + dv) - 0.5) * 2 + 0.5, 12)


def _dots(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    y = v * f + dv
    row = numpy.floor(y)
    x = u * f + du + (row - 2 * numpy.floor(row / 2)) / 2
    x, y = x - numpy.floor(x) - numpy.float32(0.5), y - row - numpy.float32(0.5)
    return _steep(numpy.float32(0.6) - (x * x + y * y) * 1.3, 12)


def _rings(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    return _steep(_wave(numpy.sqrt(u * u + v * v) * f + du))


def _rays(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    return _steep(_wave(diamond_angle(u, v) * numpy.floor(f + 1) + du), 3)


def _zigzag(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    return _steep(_wave(v * f + dv + _wave(u * f + du)))


def _bricks(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    y = v * f * 1.4 + dv
    row = numpy.floor(y)
    x = u * f * 0.7 + du + (row - 2 * numpy.floor(row / 2)) / 2
    return _steep(numpy.minimum(1 - _wave(y), (1 - _wave(x)) * 2) * 2.2, 4)


def _marble(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    t = _smooth_wave(u * f * 0.7 + du + noise(u * 1.3 + dv, v * 1.3) * 1.6)
    return t * t


def _speckle(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    return _steep(noise(u * f + du, v * f + dv), 9)


def _waves(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
    return _smooth_wave(v * f + dv + _smooth_wave(u * f * 0.6 + du) * 0.6)


def _clouds(u: Field, v: Field, f: numpy.float32, du: numpy.float32, dv: numpy.float32) -> Field:
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
