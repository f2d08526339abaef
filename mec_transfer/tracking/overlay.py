"""What a tracker found, drawn over its video: boxes, masks and poses, one colour an identity."""

from __future__ import annotations

import colorsys
import dataclasses
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mec_transfer.common.files import write_bytes
from mec_transfer.datasets.videos.frames import Frames

Box = tuple[float, float, float, float]

_SIDE = 480
_FRAMES = 60
_MILLISECONDS = 100
_GOLDEN = 0.618034


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marks:
    """What is drawn over one frame, by identity; the truth is drawn in thin white lines."""

    boxes: Mapping[int, Box] = dataclasses.field(default_factory=dict)
    """x0, y0, x1, y1 in pixels."""
    masks: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)
    """(H, W) bool."""
    points: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)
    """(K, 2) of (x, y) in pixels; a point that is not there is NaN."""
    bones: tuple[tuple[int, int], ...] = ()
    """Pairs of points that a line joins."""
    truth: tuple[Box, ...] = ()


def colour(identity: int) -> tuple[int, int, int]:
    """Return an identity's colour: neighbouring numbers look unlike each other."""
    red, green, blue = colorsys.hsv_to_rgb(identity * _GOLDEN % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_marks(pixels: np.ndarray, marks: Marks, scale: float = 1.0) -> Image.Image:
    """Return a frame, (H, W, 3) uint8, scaled, with `marks` over it."""
    picture = pixels.astype(np.float32)
    for identity, mask in marks.masks.items():
        picture[mask] = 0.5 * picture[mask] + 0.5 * np.array(colour(identity), dtype=np.float32)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    image = Image.fromarray(picture.astype(np.uint8)).resize(size)
    pen = ImageDraw.Draw(image)
    for box in marks.truth:
        pen.rectangle([value * scale for value in box], outline="white", width=1)
    for identity, box in marks.boxes.items():
        corners = [value * scale for value in box]
        pen.rectangle(corners, outline=colour(identity), width=2)
        pen.text((corners[0] + 3, corners[1] + 1), str(identity), fill=colour(identity))
    for identity, points in marks.points.items():
        _draw_pose(pen, points * scale, marks.bones, identity)
    return image


def _draw_pose(pen: ImageDraw.ImageDraw, points: np.ndarray, bones: tuple[tuple[int, int], ...], who: int) -> None:
    there = ~np.isnan(points).any(axis=1)
    for first, second in bones:
        if there[first] and there[second]:
            pen.line([*points[first], *points[second]], fill=colour(who), width=2)
    for x, y in points[there]:
        pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour(who))
    if there.any():
        pen.text(tuple(points[there].min(axis=0)), str(who), fill=colour(who))


def write_animation(path: Path, frames: Frames, marks: Callable[[int], Marks]) -> None:
    """Write an animated GIF: at most 60 frames spread over the video, the longer side at most 480 pixels.

    Raises:
        OSError, RunError: the file cannot be written.
    """
    step = -(-len(frames) // _FRAMES)
    scale = min(1.0, _SIDE / max(frames.width, frames.height))
    drawn = [draw_marks(frames.read(index), marks(index), scale) for index in range(0, len(frames), step)]
    # One palette for all would flicker less, but takes a pass of its own; the median cut of each frame will do.
    palettes = [image.quantize(128, dither=Image.Dither.NONE) for image in drawn]
    stream = io.BytesIO()
    palettes[0].save(
        stream, "GIF", save_all=True, append_images=palettes[1:], duration=_MILLISECONDS * step, loop=0, disposal=1
    )
    write_bytes(path, stream.getvalue())
