"""The image files of a detection data set, looked at before anything is trained.

Detectron2 turns a picture by its EXIF orientation before boxes are laid over it. A size here is that of the turned
picture, and boxes that were drawn on the unturned one are found by it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from mec_transfer.common.errors import DataError, disk_failed, one_line
from mec_transfer.common.runtime import usable_cores
from mec_transfer.datasets.decode import load_rgb
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.objects.table import ObjectTable
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.scan import look_at_all

SAMPLED = 64
"""Images of a split that are decoded before training, beside those whose files end too early."""
EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED = (5, 6, 7, 8)
"""Orientations that exchange width and height."""
_ENDS = {"JPEG": (b"\xff\xd9", 2), "PNG": (b"IEND", 12)}
"""How a whole file of a format ends, and in how many last bytes that stands."""
_PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_DEEP = ("I;16", "I;16B", "I;16L", "I", "F")
_DROP = "drop the tag (exiftool -Orientation= FILE)"
_TURN = "turn the pixels (Pillow: ImageOps.exif_transpose)"

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an image file say, and its last ones."""

    width: int
    """The width of the turned picture in pixels, and below it the height."""
    height: int
    orientation: int = 1
    whole: bool = True
    """Whether the file ends as its format does; some sound ones have bytes after that."""
    deep: bool = False
    """More than 8 bits a channel, which Detectron2 does not read."""


class _Seen(Generic[T]):
    """What was found out of files, as long as their size and time of change stay: a job opens its data repeatedly."""

    def __init__(self, look: Callable[[str], T]) -> None:
        self._look = look
        self._found: dict[str, tuple[tuple[int, int], T]] = {}

    def __call__(self, path: str) -> T | str:
        try:
            stat = os.stat(path)  # noqa: PTH116  # a Path object's takes twice as long
        except (OSError, ValueError) as error:
            self._found.pop(path, None)
            return f"cannot be read ({getattr(error, 'strerror', None) or error})"
        state = (stat.st_size, max(stat.st_mtime_ns, stat.st_ctime_ns))
        known = self._found.get(path)
        if known is None or known[0] != state:
            known = self._found[path] = (state, self._look(path))
        return known[1]

    def state(self, path: str) -> tuple[int, int]:
        """Return size and time of change of a file as they were when it was looked at; -1 for one that was missing."""
        return self._found[path][0] if path in self._found else (-1, -1)


def _read_header(path: str) -> Header | str:
    try:
        with Path(path).open("rb") as file, Image.open(file) as image:
            width, height = image.size
            orientation = _orientation(image, path)
            if image.format == "TIFF" and orientation != 1:  # by Pillow when it decodes, and by Detectron2 once more
                return f"has the TIFF orientation {orientation}, which would be applied twice; turn its pixels instead"
            if orientation in _SWAPPED:
                width, height = height, width
            mark, last = _ENDS.get(image.format or "", (b"", 0))
            file.seek(-last, os.SEEK_END)
            whole = mark in file.read(last)
            return Header(width, height, orientation, whole, image.mode in _DEEP)
    except Image.UnidentifiedImageError:
        return "not a readable image (in no known format, or empty)"
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        if disk_failed(error):
            return f"cannot be read ({one_line(error)})"
        return f"not a readable image ({str(error).splitlines()[0] if str(error) else type(error).__name__})"


def _orientation(image: Image.Image, path: str) -> int:
    """Return the EXIF orientation that Detectron2 turns the picture by, 1 for none."""
    if image.format == "PNG" and not any(word in Path(path).read_bytes() for word in _PNG_EXIF):
        return 1  # to be sure, Pillow would decode the whole file
    try:
        found = image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # whatever Pillow raises on a broken tag; Detectron2 then does not turn the picture
        return 1
    return found if found in _TURNS else 1


def _decode(path: str) -> str:
    """Return what keeps an image from being decoded, or nothing."""
    try:
        load_rgb(Path(path))
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


_header_of = _Seen(_read_header)
_decoded = _Seen(_decode)


def read_headers(paths: Sequence[str]) -> list[Header | str]:
    """Return each file's header, or what is wrong with the file, in the order of `paths`."""
    with _without_warnings():
        return look_at_all(_header_of, paths)


def decode_problems(paths: Sequence[str]) -> list[str]:
    """Decode images; return for each what is wrong, or an empty string."""
    with _without_warnings(), ThreadPoolExecutor(usable_cores()) as pool:  # decoding works in threads, without waiting
        return list(pool.map(_decoded, paths))


def image_problems(
    splits: Sequence[ObjectSplit], thorough: bool = False, trusted: bool = False
) -> list[dict[int, str]]:
    """Look at the image files of a data set's splits: all headers, and of some whether they can be decoded.

    Args:
        splits: all that belong together, since one of them may show in which frame the boxes were drawn.
        thorough: decode every image, not a sample.
        trusted: boxes are known to fit the turned pictures, also where no size tells.

    Returns:
        For each split, what is wrong with which of its images, by index.
    """
    headers = [read_headers(split.table.paths) for split in splits]
    frames = {
        _frame(size, header)
        for split, found in zip(splits, headers)
        for size, header in zip(_sizes(split.table), found)
        if isinstance(header, Header)
    }
    shown = trusted or ("shown" in frames and "stored" not in frames)
    return [_split_problems(split, found, shown, thorough) for split, found in zip(splits, headers)]


def file_states(table: ObjectTable) -> np.ndarray:
    """Return size and time of change, (N, 2) int64, of image files as they were when their headers were read."""
    return np.array([_header_of.state(path) for path in table.paths], dtype=np.int64).reshape(-1, 2)


def _sizes(table: ObjectTable) -> Iterator[tuple[int, int]]:
    return map(tuple, table.sizes.tolist())


def _split_problems(split: ObjectSplit, headers: Sequence[Header | str], shown: bool, thorough: bool) -> dict[int, str]:
    problems = {}
    sampled = set(range(len(headers)) if thorough else sample_indices(len(headers), SAMPLED))
    busy = (np.diff(split.table.first) > 0).tolist()
    for index, (size, header) in enumerate(zip(_sizes(split.table), headers)):
        problem = header if isinstance(header, str) else _header_problem(size, header, shown, busy[index])
        if problem:
            problems[index] = problem
        elif isinstance(header, Header) and not header.whole:
            sampled.add(index)
    chosen = sorted(sampled - problems.keys())
    found = decode_problems([split.table.paths[index] for index in chosen])
    problems |= {index: problem for index, problem in zip(chosen, found) if problem}
    return {index: f"{split.images[index].path.name}: {problem}" for index, problem in sorted(problems.items())}


def _header_problem(said: tuple[int, int], header: Header, shown: bool, busy: bool) -> str:
    """Say what is wrong, or nothing.

    Args:
        said: width and height by the annotation.
        header: of the file.
        shown: images with a telling size have their boxes in the turned picture.
        busy: the image has objects.
    """
    frame = _frame(said, header)
    turned = f"EXIF orientation {header.orientation}, by which Detectron2 turns it"
    if header.deep:
        return "has more than 8 bits a channel, which Detectron2 would cut off; convert it to 8 bits"
    if frame == "wrong":
        after = f" (with {turned})" if header.orientation != 1 else ""
        return (
            f"has {header.width}x{header.height} pixels{after}, its annotation says {said[0]}x{said[1]}; "
            "correct the size, or put the right image there"
        )
    if frame == "stored":
        return (
            f"has {turned}, but its annotation's size, {said[0]}x{said[1]}, is that of the stored pixels, so "
            f"its boxes would lie elsewhere; {_DROP}, or annotate the turned picture"
        )
    if frame == "either" and busy and not shown:
        return (
            f"has {turned}, and no size tells whether its boxes were drawn on the turned picture or on the stored "
            f"pixels; {_TURN} if they fit what viewers show, {_DROP} if they fit the stored pixels"
        )
    return ""


def _frame(said: tuple[int, int], header: Header) -> str:
    """Return the picture whose size is said: `shown` or `stored`, `either`; `same` for an unturned one, or `wrong`."""
    size = header.width, header.height
    stored = size[::-1] if header.orientation in _SWAPPED else size
    if header.orientation == 1:
        return "same" if said == size else "wrong"
    if said == size:
        return "either" if said == stored else "shown"
    return "stored" if said == stored else "wrong"


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of broken tags, which Detectron2 passes over
        yield


def load_shown(path: Path) -> Image.Image:
    """Decode an image to RGB and turn it by its EXIF orientation, as Detectron2 does. Raises DataError."""
    header = _header_of(os.fspath(path))
    image = load_rgb(path)
    turn = _TURNS.get(header.orientation) if isinstance(header, Header) else None
    return image if turn is None else image.transpose(turn)
