"""What all layouts need whose lists name the images: a hint at the right folder, and images that count once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.scan import list_folder
from mec_transfer.datasets.values import few

T = TypeVar("T")


def read_or_suggest(folder: Path, read: Callable[[Path], T]) -> T:
    """Return what `read` makes of a folder.

    Raises:
        DataError: the folder is missing or is a file; or as `read` raises it, with the name of the folder below or
            above that can be read, where there is one.
    """
    if not folder.is_dir():
        list_folder(folder)  # names what is wrong
    try:
        return read(folder)
    except DataError as error:
        if near := _find_near(folder, read):
            raise DataError(f"{error}; did you mean {near}?") from None
        raise


def _find_near(folder: Path, read: Callable[[Path], object]) -> Path | None:
    """Return a folder that `read` takes: one in `folder`, where an archive was unpacked too deep, or that around it."""
    try:
        near = [folder / name for name in list_folder(folder)[0]]
    except DataError:
        return None
    for place in (*near, folder.resolve().parent):
        try:
            read(place)
        except DataError:
            continue
        return place
    return None


def check_named(folder: Path, splits: Mapping[str, ImageList]) -> None:
    """Look at the paths that lists name.

    Raises:
        DataError: one leads out of the folder, or an image is named twice, so that it is learnt from and measured on,
            or counts twice.
    """
    for images in splits.values():
        if astray := [path for path in images.paths if {"", ".", ".."} & set(path.split("/"))]:
            raise DataError(f"{folder}: its lists name {few(astray, 3)}, which is no path of an image below a folder")
    if len({images.root for images in splits.values()}) == 1:  # the quick way, for millions of images
        counts = Counter(path for images in splits.values() for path in images.paths)
    else:
        counts = Counter(name for images in splits.values() for name in map(images.name, range(len(images))))
    if twice := [name for name, count in counts.items() if count > 1]:
        raise DataError(
            f"{folder}: its lists name {len(twice)} of the images more than once ({few(twice, 3)}); each may stand in "
            "them once, to learn from or to measure on"
        )
