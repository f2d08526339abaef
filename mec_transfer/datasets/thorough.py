"""Every image of a data set looked at, for `data check`: what a sample cannot promise."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.common.progress import track
from mec_transfer.common.runtime import usable_cores
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.decode import decode_rgb, load_rgb

_AHEAD = 8
"""Images a thread that wait for their turn: a data set may have a million."""
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}
"""How a JPEG and a PNG begin, and what stands among the last bytes of a whole one."""
_LAST = 12


def broken_images(data: Data, decode_all: bool) -> list[str]:
    """Return a line, with its path, for each image of a data set that cannot be decoded.

    Args:
        data: the data set.
        decode_all: decode every image; else only those whose file ends too early, which takes no decoding to see.
    """
    total, title = sum(data.splits.values()), "decoding" if decode_all else "looking for files that are cut off"
    look = partial(_problem, decode_all=decode_all)
    return [problem for problem in track(_look_at_all(data, look), title, total, "images") if problem]


def _look_at_all(data: Data, look: Callable[[str, bytes | Path], str]) -> Iterator[str]:
    """Yield what is wrong with each image in order, or "". Files are read and decoded outside Python's lock."""
    files, waiting = data.image_files(), deque[Future[str]]()
    with ThreadPoolExecutor(2 * usable_cores()) as pool:
        for name, content in islice(files, 2 * _AHEAD * usable_cores()):
            waiting.append(pool.submit(look, name, content))
        while waiting:
            yield waiting.popleft().result()
            for name, content in islice(files, 1):
                waiting.append(pool.submit(look, name, content))


def _problem(name: str, content: bytes | Path, decode_all: bool) -> str:
    try:
        if decode_all or not _is_whole(content):
            load_rgb(content) if isinstance(content, Path) else decode_rgb(content, name)
    except DataError as error:
        return str(error)
    return ""


def _is_whole(content: bytes | Path) -> bool:
    """Whether a JPEG or PNG ends as it should; False for any other file."""
    if isinstance(content, bytes):
        first, last = content[:2], content[-_LAST:]
    else:
        try:
            with content.open("rb") as file:
                first = file.read(2)
                file.seek(-min(_LAST, os.fstat(file.fileno()).st_size), os.SEEK_END)
                last = file.read()
        except OSError:
            return False
    end = _ENDS.get(first)
    return end is not None and end in last  # of another beginning only decoding tells
