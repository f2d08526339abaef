"""What lies in a data set's folders, listed once a run: names, sizes and the folders' times, kept in a file.

A folder is listed again only where its own time has changed, which adding, removing or renaming a file does. A file
that is overwritten in place does not change it: that is what the sample of sizes is for, and the fingerprint, which
reads the bytes of a sample. Deleting the file loses time alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.common.files import write_bytes
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.scan import file_sizes, is_image, list_folder

_FORMAT = "mec-transfer index 3"
_SETTLED_NS = 2_000_000_000
"""A folder that changed so shortly before it was listed may have changed again within the same tick of its clock."""
_SAMPLED_SIZES = 256


class Index:
    """The listings of the folders below one data set, and small results that hold as long as they do.

    Without a `file` nothing outlives the object; it is the way to look at a folder once.
    """

    def __init__(self, file: Path | None = None, kept: dict[str, dict[str, Any]] | None = None) -> None:
        self._file = file
        self._seen: dict[str, tuple[list[str], list[str]]] = {}
        """Folders that were listed, or found unchanged, by this object."""
        kept = kept or {"folders": {}, "sizes": {}, "results": {}}
        self._folders: dict[str, list[Any]] = kept["folders"]
        """Folder -> [its state (None: do not trust it), names of its folders, of its files]."""
        self._sizes: dict[str, list[int]] = kept["sizes"]
        self._results: dict[str, Any] = kept["results"]
        self._changed = False
        self._beside: dict[Path, Index] = {}
        self.listed = 0
        """How many folders this object has listed on the disk."""

    @property
    def folder(self) -> Path | None:
        """Where a layout may keep what it has read, for the next process; None where nothing is kept."""
        return self._file.with_suffix("") if self._file else None

    @classmethod
    def read(cls, file: Path | None) -> Index:
        """Return the index that an earlier run kept in `file`: an empty one where there is none or it is damaged."""
        return cls(file, _read(file))

    @staticmethod
    def of(folder: Path, where: Path) -> Path:
        """Return the file, in the folder `where`, of the index of a data set in `folder`."""
        return where / f"{hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]}.index"

    def beside(self, folder: Path) -> Index:
        """Return the index of another data set, kept in the same place as this one and saved with it."""
        if folder not in self._beside:
            self._beside[folder] = Index.read(self.of(folder, self._file.parent) if self._file else None)
        return self._beside[folder]

    def list_folder(self, folder: Path) -> tuple[list[str], list[str]]:
        """Return the sorted names of the folders and of the files in `folder`, hidden ones left out.

        Raises:
            DataError: the folder is missing, is a file, or cannot be read.
        """
        key = os.fspath(folder.absolute())
        if key not in self._seen:
            known = self._folders.get(key)
            if known and known[0] and known[0] == _state_of(key):
                self._seen[key] = known[1], known[2]
            else:
                self._seen[key] = self._list(key, folder)
        return self._seen[key]

    def list_images(self, folder: Path) -> list[str]:
        """Return every image below `folder`, relative to it with forward slashes, sorted.

        Sub-folders and links are followed, hidden names left out, as torchvision's ImageFolder does within a class.

        Raises:
            DataError: a folder cannot be read, or a link leads back to a folder that holds it.
        """
        return sorted(self._walk(folder, "", ()))

    def file_sizes(self, root: Path, paths: Sequence[str]) -> np.ndarray:
        """Return the sizes in bytes, (N,) int64, of the files at `paths` below `root`; -1 for one that is not there."""
        key = _digest(os.fspath(root.absolute()), paths)
        kept = self._sizes.get(key)
        if kept is not None:
            sizes = np.array(kept, dtype=np.int64)
            # What was empty or missing is looked at every time: it may have been mended in place.
            sampled = sorted({*sample_indices(len(paths), _SAMPLED_SIZES), *np.flatnonzero(sizes <= 0).tolist()})
            if np.array_equal(file_sizes(root, [paths[index] for index in sampled]), sizes[sampled]):
                return sizes
        sizes = file_sizes(root, paths)
        self._sizes[key] = sizes.tolist()
        self._changed = True
        return sizes

    def recall(self, name: str, stamp: str) -> Any:
        """Return the result that was kept under `name` with this very stamp; None where there is none."""
        kept = self._results.get(name)
        return kept[1] if isinstance(kept, list) and kept[0] == stamp else None

    def keep(self, name: str, stamp: str, result: Any) -> None:
        """Keep a result (JSON) under `name` for whoever comes with the same stamp."""
        self._results[name] = [stamp, result]
        self._changed = True

    def save(self) -> None:
        """Write the file, where something is new.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        for index in self._beside.values():
            index.save()
        if self._file and self._changed:
            kept = {"format": _FORMAT, "folders": self._folders, "sizes": self._sizes, "results": self._results}
            text = json.dumps(kept).encode()
            write_bytes(self._file, hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
            self._changed = False

    def _list(self, key: str, folder: Path) -> tuple[list[str], list[str]]:
        before, began = _state_of(key), time.time_ns()
        folders, files = list_folder(folder)
        self.listed += 1
        settled = before and before == _state_of(key) and 0 < before[0] < began - _SETTLED_NS
        self._folders[key] = [before if settled and not _has_dangling_link(key) else None, folders, files]
        self._changed = True
        return folders, files

    def _walk(self, folder: Path, prefix: str, parents: tuple[str, ...]) -> Iterator[str]:
        folders, files = self.list_folder(folder)
        yield from (prefix + name for name in files if is_image(name))
        if not folders:
            return
        parents = (*parents, os.path.realpath(folder))
        for name in folders:
            if os.path.realpath(folder / name) in parents:
                raise DataError(f"{folder / name}: links back to a folder that holds it; remove the link")
            yield from self._walk(folder / name, f"{prefix}{name}/", parents)


def _read(file: Path | None) -> dict[str, Any]:
    """Read what an earlier run kept; a file that is absent, damaged or of another format holds nothing."""
    nothing: dict[str, Any] = {"folders": {}, "sizes": {}, "results": {}}
    if file is None:
        return nothing
    try:
        digest, _, text = file.read_bytes().partition(b"\n")
        kept = json.loads(text) if digest.decode() == hashlib.sha256(text).hexdigest() else None
    except (OSError, ValueError):
        return nothing
    return kept if isinstance(kept, dict) and kept.get("format") == _FORMAT else nothing


def _state_of(folder: str) -> list[int] | None:
    """Return when a folder changed, and which it is.

    The later of mtime and ctime: who unpacks an archive sets the first back, but nobody the second.
    """
    try:
        stat = os.stat(folder)  # noqa: PTH116  # a string serves as the key, too
    except OSError:
        return None
    return [max(stat.st_mtime_ns, stat.st_ctime_ns), stat.st_ino, stat.st_dev]


def _has_dangling_link(folder: str) -> bool:
    """Whether a link in a folder leads nowhere now: its target may come without a change of the folder."""
    with os.scandir(folder) as entries:
        return any(entry.is_symlink() and not os.path.exists(entry.path) for entry in entries)  # noqa: PTH110


def _digest(root: str, paths: Sequence[str]) -> str:
    digest = hashlib.sha256(os.fsencode(root) + b"\0")
    digest.update(os.fsencode("\n".join(paths)))
    return digest.hexdigest()
