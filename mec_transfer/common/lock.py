"""Locks a folder for one process, with a lock that the kernel releases when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import remove_leftovers
from mec_transfer.common.progress import say, warn

LOCK_NAME = ".lock"
_SAY_SECONDS = 10.0


@contextlib.contextmanager
def folder_lock(folder: Path, doing: str, patience: float | None = 5.0, sole_writer: bool = True) -> Iterator[None]:
    """Lock `folder` for this process alone; the folder is made if it is missing.

    Waits up to `patience` seconds, since the child of a run that was just killed takes a moment to die; None waits as
    long as it takes, and says so. The lock is a POSIX record lock: unlike one of flock it is not inherited by the
    processes that load data, which outlive a killed job by some seconds.

    Files that a killed holder left half-written in the folder are removed: at once if nobody writes there without the
    lock (`sole_writer`), otherwise after an hour.

    Raises:
        UserError: `folder` is a file, or another process holds it ("another process (PID) is `doing`", or "(PID on
            HOST)" where that is another machine).
        RunError: the folder cannot be written.
    """
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: is a file, or lies below one; give a folder") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from None
    try:
        if _acquire(handle, folder, doing, patience):
            _sign(handle, path)
            remove_leftovers(folder, sole_writer)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, folder: Path, doing: str, patience: float | None) -> bool:
    """Wait for the lock; return whether it is held (False: this file system has none)."""
    until = None if patience is None else time.monotonic() + patience
    said = -math.inf
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                warn(f"{folder}: this file system has no locks ({error.strerror}); let one run at a time use it")
                return False
            busy = f"{folder}: another process ({_holder(handle)}) is {doing}"
            if until is not None and time.monotonic() >= until:
                raise UserError(f"{busy}; wait for it or choose another --out") from None
            if until is None and time.monotonic() - said >= _SAY_SECONDS:  # a silent process would seem to hang
                say(f"{busy}; waiting for it")
                said = time.monotonic()
            time.sleep(0.1)
        else:
            return True


def _holder(handle: int) -> str:
    signed = os.pread(handle, 512, 0).decode(errors="replace").strip()
    return signed.removesuffix(f" on {platform.node()}") or "unknown pid"


def _sign(handle: int, path: Path) -> None:
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} on {platform.node()}".encode(), 0)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from None
