"""From a scene to pixels: antialiased by drawing at twice the size, lit, with soft shadows, in NumPy alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from mec_transfer.demo_world.scene import Light, Scene, Thing
from mec_transfer.demo_world.shapes import TABLE_SIZE, diamond_angle, radius_table
from mec_transfer.demo_world.textures import paint

_OVERSAMPLE = 2
_SHADOW_SHIFT = 0.22  # of the radius, for a lamp at 45 degrees
_SHADOW_DEPTH = 0.5

F = np.float32


@dataclasses.dataclass(frozen=True, eq=False)
class Rendering:
    """A drawn scene."""

    image: np.ndarray
    """(H, W, 3) uint8."""
    owner: np.ndarray
    """(H, W) int16: which of the scene's things is seen at the pixel's middle, -1 for the background."""


def render(scene: Scene, width: int, height: int) -> Rendering:
    """Draw `scene` as a picture of `width` x `height` pixels."""
    rows, columns = height * _OVERSAMPLE, width * _OVERSAMPLE
    canvas = _background(scene, rows, columns)
    owner = np.full((rows, columns), -1, dtype=np.int16)
    for index, thing in enumerate(scene.things):
        _draw(canvas, owner, index, thing, scene.light)
    image = canvas[:, 0::2, 0::2] + canvas[:, 0::2, 1::2] + canvas[:, 1::2, 0::2] + canvas[:, 1::2, 1::2]
    image = np.clip(image * F(255 / 4) + F(0.5), 0, 255).astype(np.uint8)
    return Rendering(np.ascontiguousarray(image.transpose(1, 2, 0)), owner[1::2, 1::2].copy())


def silhouette(things: Iterable[Thing], window: tuple[int, int, int, int]) -> np.ndarray:
    """Return which pixels of a window (x0, y0, x1, y1; it may lie outside the picture) `things` alone would cover.

    Every pixel that `render` gives to one of them is in it: (y1 - y0, x1 - x0) bool.
    """
    left, top, right, bottom = window
    covered = np.zeros((bottom - top, right - left), dtype=bool)
    for thing in things:
        corners = thing.polygon()
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, [left, top])
        high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, [right, bottom])
        if (low >= high).any():
            continue
        (x0, y0), (x1, y1) = low.tolist(), high.tolist()
        y, x = _pixel_centres(y0 * _OVERSAMPLE, y1 * _OVERSAMPLE, x0 * _OVERSAMPLE, x1 * _OVERSAMPLE)
        cover, _ = _coverage(thing, *_own_coordinates(thing, x[:, 1::2], y[1::2]), softness=1 / _OVERSAMPLE)
        covered[y0 - top : y1 - top, x0 - left : x1 - left] |= cover > F(0.5)
    return covered


def _background(scene: Scene, rows: int, columns: int) -> np.ndarray:
    """The textured, unevenly lit background: (3, rows, columns) float32."""
    y, x = _pixel_centres(0, rows, 0, columns)
    scale = scene.background_scale
    c, s = F(math.cos(scene.background_rotation) / scale), F(math.sin(scene.background_rotation) / scale)
    u, v = x - F(scene.background_shift[0]), y - F(scene.background_shift[1])
    canvas = paint(scene.background, u * c + v * s, v * c - u * s)
    light = scene.light
    across = light.direction[0] * (x * F(_OVERSAMPLE / columns) - F(0.5))
    down = light.direction[1] * (y * F(_OVERSAMPLE / rows) - F(0.5))
    level = light.ambient + (1 - light.ambient) * light.direction[2]
    return canvas * (F(level) * (1 + F(light.gradient) * (across + down)))


def _draw(canvas: np.ndarray, owner: np.ndarray, index: int, thing: Thing, light: Light) -> None:
    """Lay a thing and its shadow on the canvas, in place, within the box that holds both."""
    box = _box(thing, light, canvas.shape[1], canvas.shape[2])
    if box is None:
        return
    top, bottom, left, right = box
    y, x = _pixel_centres(top, bottom, left, right)
    part = canvas[:, top:bottom, left:right]
    shift = thing.pose.radius * _SHADOW_SHIFT / max(light.direction[2], 0.3)
    u, v = _own_coordinates(thing, x + F(light.direction[0] * shift), y + F(light.direction[1] * shift))
    shade, _ = _coverage(thing, u, v, softness=thing.pose.radius * 0.3)
    part *= 1 - F(_SHADOW_DEPTH * (1 - light.ambient)) * shade
    u, v = _own_coordinates(thing, x, y)
    cover, depth = _coverage(thing, u, v, softness=1 / _OVERSAMPLE)
    seen = np.nonzero(cover)  # a third of the box: the rest is corners and shadow
    at = np.s_[:, seen[0], seen[1]]
    surface = _lit(thing, light, *(field[seen][None] for field in (u, v, depth)))[:, 0]
    part[at] += (surface - part[at]) * cover[seen]
    owner[top:bottom, left:right][cover > F(0.5)] = index


def _pixel_centres(top: int, bottom: int, left: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """The centres of fine pixels in whole pixels: y (rows, 1) and x (1, columns), float32."""
    y = (np.arange(top, bottom, dtype=F) + F(0.5)) / F(_OVERSAMPLE)
    x = (np.arange(left, right, dtype=F) + F(0.5)) / F(_OVERSAMPLE)
    return y[:, None], x[None, :]


def _box(thing: Thing, light: Light, rows: int, columns: int) -> tuple[int, int, int, int] | None:
    polygon = thing.polygon()
    margin = thing.pose.radius * (_SHADOW_SHIFT / max(light.direction[2], 0.3) + 0.2) + 1
    low = np.floor((polygon.min(axis=0) - margin) * _OVERSAMPLE).astype(int)
    high = np.ceil((polygon.max(axis=0) + margin) * _OVERSAMPLE).astype(int)
    left, top = (max(0, int(value)) for value in low)
    right, bottom = min(columns, int(high[0])), min(rows, int(high[1]))
    return (top, bottom, left, right) if top < bottom and left < right else None


def _own_coordinates(thing: Thing, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take pixels to the thing's own coordinates, in which its radius is 1 and its texture is fixed."""
    (a, b), (c, d) = thing.pose.matrix().tolist()
    determinant = a * d - b * c
    x, y = x - F(thing.pose.x), y - F(thing.pose.y)
    u = x * F(d / determinant) - y * F(b / determinant)
    v = y * F(a / determinant) - x * F(c / determinant)
    return u, v


def _coverage(thing: Thing, u: np.ndarray, v: np.ndarray, softness: float) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel the thing covers (0 to 1), and distance from the centre over the outline's."""
    distance = np.sqrt(u * u + v * v)
    place = diamond_angle(u, v) * F(TABLE_SIZE / 4)
    cell = np.minimum(place.astype(np.int32), TABLE_SIZE - 1)
    part = place - cell
    table = radius_table(thing.shape)
    edge = table[cell]
    edge = edge + (table[cell + 1] - edge) * part
    width = F(thing.pose.radius / softness)
    return np.clip((edge - distance) * width + F(0.5), 0, 1), np.minimum(distance / edge, 1)


def _lit(thing: Thing, light: Light, u: np.ndarray, v: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The texture under the light: Lambert's law and a highlight on a surface that falls off towards the edge."""
    (a, b), (c, d) = (thing.pose.matrix() / thing.pose.radius).tolist()
    lx, ly, lz = light.direction
    slope = depth * depth * F(thing.relief)
    outward = slope / np.maximum(np.sqrt(u * u + v * v), F(1e-3))
    nx, ny = (u * F(a) + v * F(b)) * outward, (u * F(c) + v * F(d)) * outward
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, F(0.02)))
    lambert = np.maximum(nx * F(lx) + ny * F(ly) + nz * F(lz), 0)
    half = math.sqrt(lx * lx + ly * ly + (lz + 1) * (lz + 1))
    shine = np.maximum((nx * F(lx) + ny * F(ly) + nz * F(lz + 1)) * F(1 / half), 0)
    for _ in range(5):
        shine = shine * shine
    brightness = F(light.ambient) + F(1 - light.ambient) * lambert
    return paint(thing.texture, u, v) * brightness + F(thing.gloss) * shine
