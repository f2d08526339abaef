"""Finding image files: names and sizes of a million of them in seconds, in an order that no file system decides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError, disk_failed

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's ImageFolder, in any case."""

_NO_DATA = frozenset(("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"))
"""Folders that unpackers, network drives and systems put beside the data, in small letters."""
_STAT_THREADS = 8  # a network file system answers many questions at once; os.stat releases the GIL
_STAT_BLOCK = 4096


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

    def block_sizes(start: int) -> list[int]:
        return [_size(f"{base}/{path}") for path in paths[start : start + _STAT_BLOCK]]

    with ThreadPoolExecutor(_STAT_THREADS) as pool:
        blocks = list(pool.map(block_sizes, range(0, len(paths), _STAT_BLOCK)))
    return np.array([size for block in blocks for size in block], dtype=np.int64)


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
