"""Sizes and times of files and folders, by which a later process sees whether they are still the same."""

from __future__ import annotations

import hashlib
import os
import time

State = list[int | str] | None
"""Size in bytes and time of change in nanoseconds (the later of mtime and ctime: who unpacks an archive sets the first
back, but nobody the second); None for what is not there."""
_SETTLED_NS = 2_000_000_000
"""What changed so shortly ago may change once more within the same tick of the file system's clock."""
EVERY = "/*"
"""Between the name of a folder and an ending: all of the folder's files of that ending are meant, not the folder."""


def state_of(path: str) -> State:
    """Return the state of a file or folder, or of all files in a folder that end so, for instance `FOLDER/*.xml`."""
    folder, every, ending = path.rpartition(EVERY)
    if every and "/" not in ending:
        try:
            return _state_of_all(folder, ending)
        except OSError:
            return None
    state = _plain_state(path)
    return None if state is None else list(state)


def settled(state: State) -> bool:
    """Whether a change that comes now would show in the state that a file or folder then has."""
    return state is None or int(state[1]) < time.time_ns() - _SETTLED_NS


def _state_of_all(folder: str, ending: str) -> State:
    """Return total size, the last change of all, and a digest of each file's own."""
    digest, total, last = hashlib.sha256(), 0, 0
    for name in sorted(name for name in os.listdir(folder) if name.endswith(ending)):  # noqa: PTH208
        size, changed = _plain_state(f"{folder}/{name}") or (-1, 0)
        digest.update(f"{name}\0{size} {changed}\n".encode(errors="surrogateescape"))
        total, last = total + size, max(last, changed)
    return [total, last, digest.hexdigest()]


def _plain_state(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116  # a Path object for each of a hundred thousand files takes too long
    except (OSError, ValueError):
        return None
    return stat.st_size, max(stat.st_mtime_ns, stat.st_ctime_ns)
