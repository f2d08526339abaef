"""Fetches a public data set: downloads and unpacks its archives beside its place, then moves the result there."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from mec_transfer.archives.catalogue import Archive, PublicSet
from mec_transfer.archives.unpack import is_archive, unpack
from mec_transfer.common.download import Remote, fetch
from mec_transfer.common.errors import RunError, one_line
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.progress import say


def fetch_set(name: str, wanted: PublicSet, root: Path) -> Path:
    """Put a data set into its place below `root`, and return that place; a data set that is there already is left as it
    is.

    Until all is done, the downloads are in `root`/.fetching/NAME, and the same call resumes from there.

    Raises:
        UserError: `root` is not a folder, or another process is fetching the same data set.
        RunError: the server, the network or the disk failed, or a download is not the published file.
    """
    assert wanted.place
    place, work = root / wanted.place, root / ".fetching" / name
    if place.exists():
        return place
    with folder_lock(work, f"fetching {name}", patience=None):
        if place.exists():  # the process that held the lock before has done it
            return place
        for file in wanted.files:
            _fetch_file(name, file, work)
        unpacked = work / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        for file in wanted.files:
            _take(file, work, unpacked / (file.into or ""))
        _move(unpacked / wanted.place, place)
        shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):  # another data set is being fetched
        work.parent.rmdir()
    return place


def _fetch_file(name: str, file: Archive, work: Path) -> None:
    """Fetch one file; a file that an earlier call has fetched was verified then."""
    path = work / file.name
    if path.exists():
        return
    found = fetch(Remote(name=f"{name}, {file.name}", url=file.url, sha256=file.sha256, md5=file.md5), path)
    say(f"{name}: {file.name}, {found.bytes / 1e6:,.1f} MB, sha256 {found.sha256}, checked: {found.checked}")


def _take(file: Archive, work: Path, into: Path) -> None:
    """Put the content of a fetched file into a folder."""
    path = work / file.name
    if file.inner:
        outer = work / "outer"
        shutil.rmtree(outer, ignore_errors=True)
        unpack(path, outer)
        path = outer / file.inner
        if not path.is_file():
            raise RunError(f"{work / file.name}: holds no {file.inner}; its authors now offer something else")
    if is_archive(path.name):
        unpack(path, into)
        return
    try:
        into.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into / path.name)
    except OSError as error:
        raise RunError(f"{into}: cannot be written ({one_line(error)})") from None


def _move(made: Path, place: Path) -> None:
    if not made.is_dir():
        raise RunError(f"{made}: no such folder in what came; its authors now offer something else")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made.rename(place)
    except OSError as error:
        raise RunError(f"{place}: cannot be written ({one_line(error)})") from None
