"""Finding image files: names and sizes of a million of them in seconds, in an order that no file system decides."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from mec_transfer.common.errors import DataError, disk_failed

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's ImageFolder, in any case."""

_NO_DATA = frozenset(("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"))
"""Folders that unpackers, network drives and systems put beside the data, in small letters."""
_THREADS = 16
_CHUNK = 4096
_FIRST = 32
_BLOCK = 16
"""Files that a thread looks at in one go: handing over each alone takes as long as reading its header."""
_WAITING = 4.0
"""How many times as long as it works a thread must have waited, for several of them to be faster."""

T = TypeVar("T")


def list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Return the sorted names of the sub-folders and of the files in `folder`, without those that `is_no_data` names.

    Links are followed. Raises DataError when the folder is missing, a file, or cannot be read.
    """
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_no_data(entry.name):
                    (folders if entry.is_dir() else files).append(entry.name)
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder") from None
    except NotADirectoryError:
        raise DataError(f"{folder}: is a file, a folder is needed") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from None
    return sorted(folders), sorted(files)


def is_no_data(name: str) -> bool:
    """Whether a name is hidden, as a Mac's `.DS_Store` and `._photo.jpg`, or of a folder such as `__MACOSX`."""
    return name.startswith(".") or name.lower() in _NO_DATA


def is_image(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def file_sizes(root: Path, paths: Sequence[str]) -> np.ndarray:
    """Return the sizes in bytes, (N,) int64, of the files at `paths` below `root`; -1 for one that is not there.

    Raises:
        DataError: the disk does not say.
    """
    base = os.fspath(root)
    return np.array(look_at_all(lambda path: _size(f"{base}/{path}"), paths), dtype=np.int64)


def look_at_all(look: Callable[[str], T], paths: Sequence[str]) -> list[T]:
    """Return what `look` finds out of each file, in the order of `paths`; in threads where the file system is slow.

    A network file system answers many questions at once. A local one answers at once, and threads, which only take
    turns then, are two to four times as slow as a plain loop. So the first files of each chunk are looked at in one,
    and how long that waited decides about the others.
    """
    found: list[T] = []
    with ThreadPoolExecutor(_THREADS) as pool:  # whose threads begin when there is work for them
        for start in range(0, len(paths), _CHUNK):
            first, rest = start + _FIRST, paths[start + _FIRST : start + _CHUNK]
            began, worked = time.perf_counter(), time.thread_time()
            found += map(look, paths[start:first])
            if time.perf_counter() - began < _WAITING * (time.thread_time() - worked):
                found += map(look, rest)
            else:
                blocks = [rest[at : at + _BLOCK] for at in range(0, len(rest), _BLOCK)]
                for block in pool.map(lambda block: [look(path) for path in block], blocks):
                    found += block
    return found


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116  # a Path object for each of a million files doubles the time
    except OSError as error:
        if disk_failed(error):
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        return -1


def file_names(folder: Path) -> frozenset[str]:
    """Return the names of the files in `folder`, hidden ones (macOS's `._NAME`) left out; none where it is no folder.

    One question to the file system, where asking for each file by name would be one for each.

    Raises:
        DataError: the disk does not say.
    """
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    except ValueError:
        return frozenset()
    except OSError as error:
        if disk_failed(error):
            raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
        return frozenset()
