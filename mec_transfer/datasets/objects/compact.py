"""Splits of objects as they were read, kept in files of arrays, so that the next process need not read them again.

A file holds what it was made from: sizes and times of files and folders. It is used only where these are the same; one
that is damaged, of another version or of other data is passed over, and loses time alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import RunError
from mec_transfer.common.files import atomic_writer
from mec_transfer.common.progress import warn
from mec_transfer.datasets.objects.columns import COLUMNS, ObjectColumns
from mec_transfer.datasets.objects.headers import SAMPLED, file_states
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.objects.table import ObjectTable
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.states import State, settled, state_of

_VERSION = "mec-transfer objects 2"
_TABLE = ("paths", "sizes", "first")

Stamp = Mapping[str, Any]
"""What was asked for (JSON): layout, folder, splits and all else that decides what is read."""


def load(folder: Path, stamp: Stamp) -> list[ObjectSplit] | None:
    """Return the splits that were kept for `stamp`, if the files they were read from are still the same."""
    found = _read(folder, "splits", stamp)
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
    _write(folder, "splits", stamp, seen, {"splits": about}, arrays)


def load_look(folder: Path, stamp: Stamp, splits: Sequence[ObjectSplit]) -> list[dict[int, str]] | None:
    """Return what was wrong with the images of `splits`, by index, if a sample of their files is still the same."""
    found = _read(folder, "look", {**stamp, "images": _contents(splits)})
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
    _write(folder, "look", {**stamp, "images": _contents(splits)}, seen, {"lines": lines}, arrays)


def folder_states(splits: Sequence[ObjectSplit]) -> dict[str, State]:
    """Return the states of the folders that the images lie in."""
    folders = {os.path.dirname(path) for split in splits for path in split.table.paths}  # noqa: PTH120
    return {folder or ".": state_of(folder or ".") for folder in sorted(folders)}


def _same_sample(paths: Sequence[str], states: np.ndarray) -> bool:
    chosen = sample_indices(len(paths), SAMPLED)
    return all((state_of(paths[index]) or [-1, -1]) == states[index].tolist() for index in chosen)


def _contents(splits: Sequence[ObjectSplit]) -> list[list[str]]:
    """Return what annotations say of the images, and where these lie, as digests."""
    return [
        [split.table.digest, hashlib.sha256("\0".join(split.table.paths).encode(errors="surrogateescape")).hexdigest()]
        for split in splits
    ]


def _file(folder: Path, kind: str, stamp: Stamp) -> Path:
    what = {name: value for name, value in stamp.items() if name != "images"}
    return folder / f"{kind}-{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]}.npz"


def _read(folder: Path, kind: str, stamp: Stamp) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    path = _file(folder, kind, stamp)
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            if meta["version"] != _VERSION or meta["stamp"] != json.loads(json.dumps(stamp)):
                return None
            if any(state_of(name) != state for name, state in meta["seen"].items()):
                return None
            return meta, {name: file[name] for name in file.files if name != "meta"}
    except Exception:  # whatever NumPy, zipfile and zlib raise on a file that is absent, cut or overwritten
        return None


def _write(
    folder: Path,
    kind: str,
    stamp: Stamp,
    seen: Mapping[str, State],
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    if not all(map(settled, seen.values())):
        return
    text = json.dumps({"version": _VERSION, "stamp": stamp, "seen": seen, **meta})
    path = _file(folder, kind, stamp)
    try:
        with atomic_writer(path) as file:
            np.savez(file, meta=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)  # type: ignore[arg-type]
    except RunError as error:
        warn(f"{error}; the annotations are read anew by every process")
