"""Unpacks archives safely: nothing is written outside the folder, and no link or device is made."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from mec_transfer.common.errors import RunError, one_line
from mec_transfer.common.progress import track

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError),
    *(RuntimeError, KeyError, ValueError),
)
"""What the readers raise for archives that are truncated, damaged, encrypted or not archives at all."""
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".zip")


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked, rather than copied."""
    return name.endswith(_ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Write an archive's files below `folder`; links and devices are left out, since no data set needs them.

    Raises:
        RunError: the archive is damaged, a member of it would lie outside `folder`, or the disk is full.
    """
    members = _from_zip(archive) if archive.name.endswith(".zip") else _from_tar(archive)
    try:
        for name, content in track(members, f"unpacking {archive.name}", 0, "files"):
            path = folder / _inside(name, archive)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                shutil.copyfileobj(content, target, 1 << 20)
    except _DAMAGED as error:
        raise RunError(f"{archive}: damaged, or no archive ({one_line(error)}); delete it and fetch it again") from None
    except OSError as error:
        raise RunError(f"{archive}: cannot be unpacked into {folder} ({one_line(error)})") from None


def _from_tar(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each regular file, also where it is a second name of an earlier one."""
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() or member.islnk() else None
            if content is not None:
                yield member.name, content


def _from_zip(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            mode = member.external_attr >> 16
            if member.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
                continue
            with opened.open(member) as content:
                yield member.filename, content


def _inside(name: str, archive: Path) -> Path:
    """Return a member's path. Raises RunError if it leads out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise RunError(f"{archive}: its member {name!r} would lie outside the folder; nothing of it is kept")
    return Path(*path.parts)
