"""What a tracker found, drawn over its video: boxes, masks and poses, one colour an identity; the truth is white."""

from __future__ import annotations

import colorsys
import dataclasses
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mec_transfer.common.files import write_bytes
from mec_transfer.datasets.videos.frames import Frames

Box = tuple[float, float, float, float]

_SIDE = 480
"""Pixels of an animation's longer side; small videos are enlarged, at most `_ENLARGED` times."""
_ENLARGED = 3.0
_FILLED = 0.35
"""How much of a mask's colour covers what lies under it."""
_BAR = 18
"""Pixels of the line of words under a frame."""
_FRAMES = 60
_MILLISECONDS = 100
_GOLDEN = 0.618034


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marks:
    """What is drawn over one frame, by identity."""

    boxes: Mapping[int, Box] = dataclasses.field(default_factory=dict)
    """x0, y0, x1, y1 in pixels."""
    masks: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)
    """(H, W) bool."""
    points: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)
    """(K, 2) of (x, y) in pixels; a point that is not there is NaN."""
    bones: tuple[tuple[int, int], ...] = ()
    """Pairs of points that a line joins."""
    truth: tuple[Box, ...] = ()
    true_masks: tuple[np.ndarray, ...] = ()
    """(H, W) bool each; outlines are drawn."""

    @property
    def shows_truth(self) -> bool:
        """Whether anything white is drawn."""
        return bool(self.truth or self.true_masks)


def colour(identity: int) -> tuple[int, int, int]:
    """Return an identity's colour: neighbouring numbers look unlike each other."""
    red, green, blue = colorsys.hsv_to_rgb(identity * _GOLDEN % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_marks(pixels: np.ndarray, marks: Marks, scale: float = 1.0) -> Image.Image:
    """Return a frame, (H, W, 3) uint8, scaled, with `marks` over it."""
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    picture = np.array(Image.fromarray(pixels).resize(size), dtype=np.float32)
    for identity, mask in marks.masks.items():
        (inside, edge), own = _mask_and_edge(mask, size, 2), np.array(colour(identity), dtype=np.float32)
        picture[inside] = (1 - _FILLED) * picture[inside] + _FILLED * own
        picture[edge] = own
    for mask in marks.true_masks:
        picture[_mask_and_edge(mask, size, 1)[1]] = 255
    image = Image.fromarray(picture.round().astype(np.uint8))
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


def _mask_and_edge(mask: np.ndarray, size: tuple[int, int], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask, resized, and its outermost pixels; along the picture's own border there is no edge."""
    large = Image.fromarray(mask).convert("L").resize(size, Image.Resampling.NEAREST)
    inner = large.filter(ImageFilter.MinFilter(2 * width + 1))
    inside = np.asarray(large) > 0
    return inside, inside & (np.asarray(inner) == 0)


def _draw_pose(pen: ImageDraw.ImageDraw, points: np.ndarray, bones: tuple[tuple[int, int], ...], who: int) -> None:
    there = ~np.isnan(points).any(axis=1)
    for first, second in bones:
        if there[first] and there[second]:
            pen.line([*points[first], *points[second]], fill=colour(who), width=2)
    for x, y in points[there]:
        pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour(who))
    if there.any():
        pen.text(tuple(points[there].min(axis=0)), str(who), fill=colour(who))


def write_animation(path: Path, frames: Frames, marks: Callable[[int], Marks], caption: str = "") -> None:
    """Write an animated GIF: at most 60 frames spread over the video, the longer side at most 480 pixels.

    Args:
        path: of the file.
        frames: of the video.
        marks: gives what is drawn over a frame, by its index.
        caption: stands under each frame, before the frame's number and what white means.

    Raises:
        OSError, RunError: the file cannot be written.
    """
    step = -(-len(frames) // _FRAMES)
    scale = min(_ENLARGED, _SIDE / max(frames.width, frames.height))
    drawn = []
    for index in range(0, len(frames), step):
        found = marks(index)
        words = [caption, f"frame {index + 1} of {len(frames)}", "white: truth" if found.shows_truth else ""]
        drawn.append(_captioned(draw_marks(frames.read(index), found, scale), ", ".join(filter(None, words))))
    # One palette for all would flicker less, but takes a pass of its own; the median cut of each frame will do.
    palettes = [image.quantize(128, dither=Image.Dither.NONE) for image in drawn]
    stream = io.BytesIO()
    palettes[0].save(
        stream, "GIF", save_all=True, append_images=palettes[1:], duration=_MILLISECONDS * step, loop=0, disposal=1
    )
    write_bytes(path, stream.getvalue())


def _captioned(image: Image.Image, words: str) -> Image.Image:
    sheet = Image.new("RGB", (image.width, image.height + _BAR), "white")
    sheet.paste(image)
    ImageDraw.Draw(sheet).text((4, image.height + 3), words, fill="black", font=ImageFont.load_default(11))
    return sheet
