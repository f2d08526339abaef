"""The frames of a video, as the tracking data sets hold them: one folder, one image a frame, numbered."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.decode import image_errors, load_rgb
from mec_transfer.datasets.scan import file_sizes, is_image, list_folder

_NUMBER = re.compile(r"(\d+)$")


@dataclasses.dataclass(frozen=True)
class FramePaths(Sequence[Path]):
    """Files of one folder, each made a path when it is asked for: LaSOT has three million frames."""

    folder: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> FramePaths: ...
    def __getitem__(self, index: int | slice) -> Path | FramePaths:
        if isinstance(index, slice):
            return FramePaths(self.folder, self.names[index])
        return self.folder / self.names[index]


T = TypeVar("T")


def read_ahead(read: Callable[[int], T], count: int) -> Iterator[T]:
    """Yield `read` of 0 to `count` - 1; a thread reads the next one while the caller works on this one."""
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, 0)
        for following in range(1, count + 1):
            found = ahead.result()
            if following < count:
                ahead = reader.submit(read, following)
            yield found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames:
    """A video's frames in the order of time."""

    name: str
    """The sequence's name."""
    paths: Sequence[Path]
    numbers: tuple[int, ...]
    """As the files' names have them; consecutive."""
    width: int
    height: int
    """Width of the first frame in pixels; `read` refuses a frame of another size."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> tuple[str, ...]:
        """The files' names without their folder."""
        return self.paths.names if isinstance(self.paths, FramePaths) else tuple(path.name for path in self.paths)

    def read(self, index: int) -> np.ndarray:
        """Return frame `index`, (height, width, 3) uint8 RGB; a greyscale file gives three equal channels.

        Raises:
            DataError: it cannot be decoded or is not of the first frame's size.
        """
        path = self.paths[index]
        pixels = np.array(load_rgb(path))
        if pixels.shape[:2] != (self.height, self.width):
            raise DataError(
                f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, but the first frame of '{self.name}' has "
                f"{self.width}x{self.height}"
            )
        return pixels

    def read_all(self) -> Iterator[np.ndarray]:
        """Yield every frame as `read` does; the next one is decoded while the caller works on this one."""
        yield from read_ahead(self.read, len(self))


def open_frames(folder: Path, name: str, part: range | None = None) -> Frames:
    """List the frames in `folder`: every image, its name ending in its number, consecutive numbers.

    Only the first frame's header is read.

    Args:
        folder: where they lie.
        name: the sequence's.
        part: only the frames with these numbers, all of which must be there; None: all of the folder.

    Raises:
        DataError: no folder, no frame, a name without a number, a number twice or missing, or an empty file.
    """
    numbered = _numbered(folder, part)
    if not numbered:
        raise DataError(f"{folder}: no frame of sequence '{name}' in it")
    numbers = sorted(numbered)
    names = [numbered[number] for number in numbers]
    sizes = file_sizes(folder, names)
    for index in np.flatnonzero(sizes <= 0):
        what = "missing or a broken link" if sizes[index] else "empty (zero bytes)"
        raise DataError(f"{folder / names[index]}: {what}")
    if part and (numbers[0], numbers[-1]) != (part[0], part[-1]):
        raise DataError(f"{folder}: frames {part[0]} to {part[-1]} are needed; it has {numbers[0]} to {numbers[-1]}")
    missing = numbers[-1] + 1 - numbers[0] - len(numbers)  # times of day as numbers leave millions out
    if missing:
        first = next(one + 1 for one, other in itertools.pairwise(numbers) if other > one + 1)
        more = f" and {missing - 1} more" if missing > 1 else ""
        raise DataError(f"{folder}: frame {first}{more} missing between {numbers[0]} and {numbers[-1]}")
    paths = FramePaths(folder, tuple(names))
    width, height = _size(paths[0])
    return Frames(name=name, paths=paths, numbers=tuple(numbers), width=width, height=height)


def _numbered(folder: Path, part: range | None) -> dict[int, str]:
    """Return the images' names by their numbers. Raises DataError."""
    numbered: dict[int, str] = {}
    for file in list_folder(folder)[1]:
        if not is_image(file):
            continue
        match = _NUMBER.search(os.path.splitext(file)[0])  # noqa: PTH122  # a Path for each takes ten times as long
        if match is None:
            raise DataError(f"{folder / file}: the name does not end in a frame number; rename or remove it")
        number = int(match[1])
        if part and number not in part:
            continue
        if number in numbered:
            raise DataError(f"{folder}: frame {number} is there twice: {numbered[number]} and {file}")
        numbered[number] = file
    return numbered


def _size(path: Path) -> tuple[int, int]:
    with image_errors(str(path)), Image.open(path) as image:
        return image.size
