"""Every mask looked at once, before anything is trained: what is wrong, and how many pixels of each class there are."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from mec_transfer.common.errors import DataError, tell
from mec_transfer.common.progress import track
from mec_transfer.common.runtime import usable_cores
from mec_transfer.datasets.decode import image_errors, load_rgb, read_file
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.segments.split import VOID, SegmentSplit
from mec_transfer.datasets.states import settled, state_of

_SAMPLED = 64
"""Images of a split whose bytes are hashed, and which are decoded; of all others the header is read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """What looking at all masks of a split has shown."""

    digest: str
    """The sha256 of names, masks, the images' sizes in bytes, and the bytes of a sample of the images."""
    pixels: list[int]
    """How many pixels each class has, without the masks that have something wrong with them."""
    problems: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Seen:
    digest: bytes
    pixels: np.ndarray
    problem: str


def survey(split: SegmentSplit, index: Index) -> Survey:
    """Look at every mask of a split and at its image's header, or recall what an earlier look has shown.

    `index` keeps it for as long as no file's size or time changes; problems it does not keep, for a disk may answer the
    next time.
    """
    files = [os.fspath(path) for path in (*split.images, *split.masks)]
    states = [state_of(file) for file in files]
    stamp = hashlib.sha256(repr([split.classes, list(zip(files, states))]).encode(errors="surrogateescape")).hexdigest()
    kept = index.recall(f"masks {split.name}", stamp)
    if kept is not None:
        return Survey(**kept)
    found = _look(split)
    if not found.problems and all(map(settled, states)):
        index.keep(f"masks {split.name}", stamp, dataclasses.asdict(found))
    return found


def _look(split: SegmentSplit) -> Survey:
    digest = hashlib.sha256(repr((split.name, split.classes)).encode())
    pixels, problems = np.zeros(len(split.classes), dtype=np.int64), []
    seen = track(_look_at_all(split), f"looking at the masks of {split.name}", len(split), "masks")
    for image, one in zip(split.images, seen, strict=True):
        digest.update(os.fsencode(image.name) + b"\0" + one.digest)
        pixels += one.pixels
        problems += [one.problem] if one.problem else []
    if not problems and not pixels.any():
        place = os.path.commonpath([path.parent for path in split.masks])
        what = f"no pixel of the {len(split)} masks of split '{split.name}' has a class, all are void ({VOID})"
        problems.append(f"{place}: {what}; mend them, or name another split")
    return Survey(digest=digest.hexdigest(), pixels=pixels.tolist(), problems=problems)


def _look_at_all(split: SegmentSplit) -> Iterator[_Seen]:
    sampled = set(sample_indices(len(split), _SAMPLED))
    with ThreadPoolExecutor(usable_cores()) as pool:  # files are read and decoded outside Python's lock
        yield from pool.map(lambda at: _look_at(split, at, at in sampled), range(len(split)))


def _look_at(split: SegmentSplit, at: int, whole: bool) -> _Seen:
    image, digest, pixels = split.images[at], hashlib.sha256(), np.zeros(len(split.classes), dtype=np.int64)
    try:
        data = read_file(split.masks[at])
        digest.update(data)
        digest.update(b"%d" % image.stat().st_size)
        if whole:
            digest.update(read_file(image))
        labels = split.decode_labels(at, data)
        split.require_size(at, labels, _size(image, whole))
        pixels += np.bincount(labels.ravel(), minlength=VOID + 1)[: len(pixels)]
    except (DataError, OSError) as error:
        return _Seen(digest=digest.digest(), pixels=pixels, problem=tell(error, image))
    return _Seen(digest=digest.digest(), pixels=pixels, problem="")


def _size(path: Path, whole: bool) -> tuple[int, int]:
    if whole:
        return load_rgb(path).size
    with image_errors(str(path)), Image.open(path) as image:
        return image.size
