"""Every image of a data set decoded, which takes as long as it takes: what a sample cannot promise."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.common.progress import track
from mec_transfer.common.runtime import usable_cores
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.images import decode_rgb, load_rgb

_AHEAD = 8
"""Images a thread that wait for their turn: a data set may have a million."""


def undecodable(data: Data) -> list[str]:
    """Decode every image of a data set; return a line for each that cannot be, with its path."""
    total = sum(data.splits.values())
    return [problem for problem in track(_decode_all(data), "decoding", total, "images") if problem]


def _decode_all(data: Data) -> Iterator[str]:
    """Yield what is wrong with each image in order, or "". Pillow decodes outside Python's lock."""
    files, waiting = data.image_files(), deque[Future[str]]()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for name, content in islice(files, _AHEAD * usable_cores()):
            waiting.append(pool.submit(_decode, name, content))
        while waiting:
            yield waiting.popleft().result()
            for name, content in islice(files, 1):
                waiting.append(pool.submit(_decode, name, content))


def _decode(name: str, content: bytes | Path) -> str:
    try:
        load_rgb(content) if isinstance(content, Path) else decode_rgb(content, name)
    except DataError as error:
        return str(error)
    return ""
