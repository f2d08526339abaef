"""Results of slow look-ups, kept in the run's folder: deleting the file loses only time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mec_transfer.common import runtime
from mec_transfer.common.config import json_sha256
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.progress import warn

_SAVE_SECONDS = 2.0
"""The least time between two writes of the file, each of which waits for the disk."""
PACKAGE = Path(__file__).resolve().parents[1]


class Memory:
    """JSON values by name; each holds while its stamp, this program's source and its libraries stay the same."""

    def __init__(self, path: Path, known: dict[str, Any], program: Any) -> None:
        """`path` is the file; `program` is a part of every stamp in it."""
        self._path, self._known, self._program = path, known, json_sha256(program)
        self._saved, self._unsaved = 0.0, False

    @classmethod
    def read(cls, path: Path) -> Memory:
        """Read what earlier runs found out: nothing if the file is missing or damaged."""
        try:
            known = read_json(path)
        except UserError:
            known = {}
        program = [runtime.versions(), [file_stamp(file) for file in sorted(PACKAGE.rglob("*.py"))]]
        return cls(path, known if isinstance(known, dict) else {}, program)

    def recall(self, name: str, stamp: Any) -> Any:
        """Return the value kept under `name` with this very stamp; None when there is none."""
        entry = self._known.get(name)
        if isinstance(entry, dict) and entry.get("stamp") == self._hash(stamp, entry.get("value")):
            return entry.get("value")
        return None

    def keep(self, name: str, stamp: Any, value: Any) -> None:
        """Keep `value` (JSON) under `name`. A value that was kept just now may need a `save` to reach the file."""
        self._known[name] = {"stamp": self._hash(stamp, value), "value": value}
        self._unsaved = True
        if time.monotonic() - self._saved > _SAVE_SECONDS:  # a thousand jobs must not cause a thousand writes
            self.save()

    def save(self) -> None:
        """Write the file, if anything is new."""
        if not self._unsaved:
            return
        try:
            write_json(self._path, self._known)
        except RunError as error:
            warn(f"{error}; it is computed again next time")
        self._saved, self._unsaved = time.monotonic(), False

    def _hash(self, stamp: Any, value: Any) -> str:
        """Hash the value as well, so that a value that a bad disk has changed is forgotten."""
        return json_sha256([stamp, value, self._program])


def file_stamp(path: Path) -> list[Any]:
    """Return a file's path, size and modification time; [] if it does not exist."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
