"""What was read of a data set, kept in files of arrays, so that the next process need not read it again.

A file holds what it was made from: sizes and times of files and folders. It is used only where these are the same; one
that is damaged, of another version or of other data is passed over, and loses time alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import RunError
from mec_transfer.common.files import atomic_writer
from mec_transfer.common.progress import warn
from mec_transfer.datasets.states import State, settled, state_of

Stamp = Mapping[str, Any]
"""What was asked for (JSON): layout, folder, splits and all else that decides what is read."""


class Kept:
    """Files of one kind and version in a folder."""

    def __init__(self, folder: Path, kind: str, version: str) -> None:
        self._folder, self._kind, self._version = folder, kind, version

    def read(self, stamp: Stamp, holding: Stamp | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Return what `write` was given, if all that it was made from is still the same; else None.

        Args:
            stamp: what was asked for; the file is called by it.
            holding: what it must have been made of besides.
        """
        try:
            with np.load(self._file(stamp), allow_pickle=False) as file:
                meta = json.loads(file["meta"].tobytes())
                wanted = {"version": self._version, "stamp": [stamp, holding]}
                if {name: meta[name] for name in wanted} != json.loads(json.dumps(wanted)):
                    return None
                if any(state_of(name) != state for name, state in meta["seen"].items()):
                    return None
                return meta, {name: file[name] for name in file.files if name != "meta"}
        except Exception:  # whatever NumPy, zipfile and zlib raise on a file that is absent, cut or overwritten
            return None

    def write(
        self,
        stamp: Stamp,
        seen: Mapping[str, State],
        meta: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        holding: Stamp | None = None,
    ) -> None:
        """Keep arrays and values (JSON); nothing is kept of files that may change once more within the same tick.

        Args:
            stamp: what was asked for.
            seen: what it was read from, as that was before it was read.
            meta: the values.
            arrays: the arrays.
            holding: see `read`.
        """
        if not all(map(settled, seen.values())):
            return
        text = json.dumps({"version": self._version, "stamp": [stamp, holding], "seen": seen, **meta})
        try:
            with atomic_writer(self._file(stamp)) as file:
                np.savez(file, meta=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)  # type: ignore[arg-type]
        except RunError as error:
            warn(f"{error}; the annotations are read anew by every process")

    def _file(self, stamp: Stamp) -> Path:
        digest = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{self._kind}-{digest[:16]}.npz"
