"""Splits of objects as they were read, and what was found of their images, kept for the next process (`kept.py`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.datasets.kept import Kept, Stamp
from mec_transfer.datasets.objects.columns import COLUMNS, ObjectColumns
from mec_transfer.datasets.objects.headers import SAMPLED, file_states
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.objects.table import ObjectTable
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.states import State, settled, state_of

_VERSION = "mec-transfer objects 2"
_TABLE = ("paths", "sizes", "first")


def load(folder: Path, stamp: Stamp) -> list[ObjectSplit] | None:
    """Return the splits that were kept for `stamp`, if the files they were read from are still the same."""
    found = Kept(folder, "splits", _VERSION).read(stamp)
    if found is None:
        return None
    meta, arrays = found
    splits = []
    for number, about in enumerate(meta["splits"]):
        mine = {name: arrays[f"{number}.{name}"] for name in (*_TABLE, *COLUMNS)}
        paths = mine.pop("paths").tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
        sizes, first = mine.pop("sizes"), mine.pop("first")
        table = ObjectTable(paths, about["ids"], sizes, first, ObjectColumns(**mine), about["digest"])
        classes, skipped = tuple(about["classes"]), tuple(about["skipped"])
        splits.append(ObjectSplit(name=about["name"], classes=classes, images=table, skipped=skipped))
    return splits


def save(folder: Path, stamp: Stamp, seen: Mapping[str, State], splits: Sequence[ObjectSplit]) -> None:
    """Keep splits that were read together.

    Args:
        folder: where; it is made.
        stamp: what was asked for.
        seen: what they were read from, as that was before it was read.
        splits: what was found.
    """
    if any(line.endswith(" is missing") for split in splits for line in split.skipped):
        return  # an image may come where no file or folder that was looked at shows it, as when its disk is mounted
    about: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for number, split in enumerate(splits):
        table = split.table
        said = {"name": split.name, "classes": split.classes, "skipped": split.skipped}
        about.append({**said, "ids": table.ids, "digest": table.digest})
        paths = "".join(f"{path}\0" for path in table.paths).encode("utf-8", "surrogateescape")
        mine = {"paths": np.frombuffer(paths, dtype=np.uint8), "sizes": table.sizes, "first": table.first}
        arrays |= {f"{number}.{name}": column for name, column in (mine | table.objects.arrays()).items()}
    Kept(folder, "splits", _VERSION).write(stamp, seen, {"splits": about}, arrays)


def load_look(folder: Path, stamp: Stamp, splits: Sequence[ObjectSplit]) -> list[dict[int, str]] | None:
    """Return what was wrong with the images of `splits`, by index, if a sample of their files is still the same."""
    found = Kept(folder, "look", _VERSION).read(stamp, _contents(splits))
    if found is None:
        return None
    meta, arrays = found
    for number, split in enumerate(splits):
        if not _same_sample(split.table.paths, arrays[f"states{number}"]):
            return None
    return [{int(index): line for index, line in lines.items()} for lines in meta["lines"]]


def save_look(
    folder: Path,
    stamp: Stamp,
    seen: Mapping[str, State],
    splits: Sequence[ObjectSplit],
    lines: Sequence[dict[int, str]],
) -> None:
    """Keep what was found of images, `lines` by their index; `seen`: their folders, as they were before."""
    if any(lines):
        return  # a picture that is mended in place shows in its own file alone, which the sample may leave out
    arrays = {f"states{number}": file_states(split.table) for number, split in enumerate(splits)}
    if not all(settled([0, int(states[:, 1].max(initial=0))]) for states in arrays.values()):
        return
    Kept(folder, "look", _VERSION).write(stamp, seen, {"lines": lines}, arrays, _contents(splits))


def folder_states(splits: Sequence[ObjectSplit]) -> dict[str, State]:
    """Return the states of the folders that the images lie in."""
    folders = {os.path.dirname(path) for split in splits for path in split.table.paths}  # noqa: PTH120
    return {folder or ".": state_of(folder or ".") for folder in sorted(folders)}


def _same_sample(paths: Sequence[str], states: np.ndarray) -> bool:
    chosen = sample_indices(len(paths), SAMPLED)
    return all((state_of(paths[index]) or [-1, -1]) == states[index].tolist() for index in chosen)


def _contents(splits: Sequence[ObjectSplit]) -> Stamp:
    """Return what annotations say of the images, and where these lie, as digests."""
    paths = ["\0".join(split.table.paths).encode(errors="surrogateescape") for split in splits]
    return {"images": [[split.table.digest, hashlib.sha256(one).hexdigest()] for split, one in zip(splits, paths)]}
