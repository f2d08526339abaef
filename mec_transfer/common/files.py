"""Files that are whole or absent: write to a temporary name, flush to disk, rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from mec_transfer.common.errors import RunError, UserError, one_line

_FULL_BYTES = 1 << 16
"""Torch does not say why a write failed; where less than this is free, the disk was full."""
_SURELY_LEFT_SECONDS = 3600.0
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
"""The names that `atomic_writer` gives to its temporary files."""


def existing_folder(folder: Path) -> Path:
    """Return `folder`, or the nearest parent of it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def short_of_room(folder: Path, needed: int) -> str:
    """Return a message if `needed` bytes do not fit into a folder, which need not exist yet; "" if they do."""
    there = existing_folder(folder)
    free = shutil.disk_usage(there).free
    return "" if free >= needed else f"{there}: {free / 2**20:.1f} MiB free, {needed / 2**20:.1f} MiB needed"


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on leaving without an error it replaces `path` in one step.

    A crash, a kill or a full disk leaves the previous file, or none, never half of one.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = tempfile.NamedTemporaryFile(  # noqa: SIM115
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
        )
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from None
    temporary = Path(handle.name)
    try:
        with handle:
            yield handle  # type: ignore[misc]
            handle.flush()
            os.fsync(handle.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror or error}); what was there before is kept"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def replace_with_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` in one step: a hard link, or a copy where there are none.

    Raises:
        RunError: the disk is full or the folder cannot be written; `target` is what it was.
    """
    link = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        os.link(source, link)
    except OSError:
        with source.open("rb") as original, atomic_writer(target) as handle:
            shutil.copyfileobj(original, handle)
        return
    try:
        link.replace(target)
    except OSError as error:
        raise RunError(f"{target}: cannot be written ({error.strerror or error})") from None
    finally:
        link.unlink(missing_ok=True)  # still there also where both names were one file already


def remove_leftovers(folder: Path, sole_writer: bool = True) -> None:
    """Remove the files that killed processes left half-written in `folder`.

    Unless this process is the `sole_writer`, only files that are older than an hour.
    """
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):
                if sole_writer or path.stat().st_mtime < time.time() - _SURELY_LEFT_SECONDS:
                    path.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_writer(path) as handle:
        handle.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically; file names that are not UTF-8 keep their bytes."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write `value` as JSON to `path` atomically. NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError that names the file when it is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None


def save_torch(path: Path, value: Any) -> None:
    """`torch.save` to `path` atomically (torch is imported here, not with the module).

    A full disk or an unwritable folder raises RunError, like every other writer here: torch reports it as a
    RuntimeError of its own.
    """
    import torch

    with atomic_writer(path) as handle:
        try:
            torch.save(value, handle)
        except RuntimeError as error:
            full = shutil.disk_usage(path.parent).free < _FULL_BYTES
            reason = os.strerror(errno.ENOSPC) if full else one_line(error)
            raise OSError(None, reason) from error


def sha256_file(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Return the sha256 (hex) of a file's bytes, read in blocks; `progress` is told the bytes of each."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
            if progress:
                progress(len(block))
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable where the system can (not all file systems let a folder be synced)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
