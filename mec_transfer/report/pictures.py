"""The pictures and videos that jobs drew, shrunk to lie within the page, each with a link to its original."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageSequence

_SIDE, _STILL_SIDE = 360, 560
"""The longer side in pixels, of videos and of still pictures."""
_QUALITY = 55
BUDGET_BYTES = 12_000_000
"""What all pictures may add to the page; those beyond it are links alone."""
_PATTERNS = ("best*", "median*", "worst*", "*")
"""In this order pictures get a place in the page."""
_SUFFIXES = (".gif", ".png", ".jpg", ".webp")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a job."""

    column: int
    row: int
    """The row of the number that the picture belongs to."""
    name: str
    href: str
    """The original, as seen from the page."""
    moving: str = ""
    """The video as a data URI; empty for a still picture."""
    still: str = ""
    """The picture, or the first of the video, as a data URI; empty where there was no room for it."""
    width: int = 0
    height: int = 0


def find_pictures(folders: Iterable[tuple[tuple[int, int], Path]], page: Path) -> list[Picture]:
    """Return the pictures of each cell's folder, in the order of the cells.

    Args:
        folders: (column, row) and the job's folder.
        page: the file that they are for.
    """
    places = [(place, path) for place, folder in folders for path in _files(folder / "pictures")]
    order = sorted(range(len(places)), key=lambda at: _urgency(places[at][1]))
    found: dict[int, Picture] = {}
    left = BUDGET_BYTES
    for at in order:
        (column, row), path = places[at]
        plain = Picture(column=column, row=row, name=path.name, href=_link(path, page))
        if left > 0 and (picture := _embedded(plain, path)):
            size = len(picture.still) + len(picture.moving)
            if size <= left:
                left -= size
                found[at] = picture
                continue
        found[at] = plain
    return [found[at] for at in range(len(places))]


def _files(folder: Path) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return
    order = sorted(paths, key=lambda path: (_urgency(path), path.name))
    yield from (path for path in order if path.suffix in _SUFFIXES and not path.name.startswith("."))


def _urgency(path: Path) -> int:
    return next(at for at, pattern in enumerate(_PATTERNS) if path.match(pattern))


def _link(path: Path, page: Path) -> str:
    relative = os.path.relpath(path.resolve(), page.resolve().parent)
    return quote(os.fsencode(relative).replace(os.sep.encode(), b"/"))


def _embedded(plain: Picture, path: Path) -> Picture | None:
    """Return the picture with its pixels; None where it cannot be read, or Pillow was built without WebP."""
    try:
        with Image.open(path) as original:
            seconds = original.info.get("duration") or 100
            side = _SIDE if getattr(original, "is_animated", False) else _STILL_SIDE
            frames = [_shrunk(frame, side) for frame in ImageSequence.Iterator(original)]
        still = _uri(frames[:1], seconds)
        moving = _uri(frames, seconds) if len(frames) > 1 else ""
    except (OSError, ValueError, SyntaxError, KeyError, EOFError, Image.DecompressionBombError):  # lost, cut off, odd
        return None
    width, height = frames[0].size
    return dataclasses.replace(plain, still=still, moving=moving, width=width, height=height)


def _shrunk(frame: Image.Image, side: int) -> Image.Image:
    frame = frame.convert("RGB")
    frame.thumbnail((side, side), Image.Resampling.BILINEAR)
    return frame


def _uri(frames: list[Image.Image], milliseconds: int) -> str:
    data = io.BytesIO()
    more = {"save_all": True, "append_images": frames[1:], "duration": milliseconds, "loop": 0} if frames[1:] else {}
    frames[0].save(data, "WEBP", quality=_QUALITY, method=1, **more)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
