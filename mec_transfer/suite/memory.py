"""What a run found out that is slow to find out again, kept in its folder: deleting the file loses only time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mec_transfer.common import runtime
from mec_transfer.common.config import json_sha256
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json, write_json

PACKAGE = Path(__file__).resolve().parents[1]


class Memory:
    """JSON values by name; each holds while its stamp, this program's source and its libraries stay the same."""

    def __init__(self, path: Path, *, write: bool = True) -> None:
        self._path, self._write = path, write
        try:
            known = read_json(path)
        except UserError:  # not there yet, or damaged
            known = {}
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}
        self._program = [runtime.versions(), _source_stamp()]

    def recall(self, name: str, stamp: Any) -> Any:
        """Return the value kept under `name` with this very stamp; None when there is none."""
        entry = self._known.get(name)
        if isinstance(entry, dict) and entry.get("stamp") == self._hash(stamp):
            return entry.get("value")
        return None

    def keep(self, name: str, stamp: Any, value: Any) -> None:
        """Keep `value` (JSON) under `name`."""
        self._known[name] = {"stamp": self._hash(stamp), "value": value}
        if self._write:
            write_json(self._path, self._known)

    def _hash(self, stamp: Any) -> str:
        return json_sha256([stamp, self._program])


def file_stamp(path: Path) -> list[Any]:
    """Where a file lies, its size and its time; [] when it isn't there."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def _source_stamp() -> list[Any]:
    return [file_stamp(path) for path in sorted(PACKAGE.rglob("*.py"))]
