"""A child process: its output in a log and on the screen, never outliving its parent."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from mec_transfer.common.interrupt import STOP_SIGNALS
from mec_transfer.common.processes import tie_to_parent

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 60.0
"""For a child to finish its step and save."""
_OWN_SIGNAL_SECONDS = 1.0


class ChildStopped(Exception):
    """A signal asked a child to stop, and not this process: the child's work is neither done nor failed."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on from there")


def run_child(command: list[str], log: Path, show: Callable[[str], None]) -> int:
    """Run `command` with its output appended to `log`; `show` gets each whole line. Return its exit status.

    A status below 0 is the signal that killed it. Whatever interrupts this process asks the child to save and stop
    first. On Linux the child dies with this process even when that is killed outright; elsewhere the lock of its
    folder keeps it from doing harm.

    Raises:
        ChildStopped: a signal asked the child to stop, and none came here.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out, log.open("rb") as tail:
        tail.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches this process alone, which then stops the child
            preexec_fn=functools.partial(tie_to_parent, os.getpid()),
        )
        try:
            status = None
            while status is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = process.wait(_POLL_SECONDS)
                for line in tail.readlines():
                    show(line.decode(errors="replace").rstrip())
        except BaseException:
            _stop(process)
            for line in tail.readlines():
                show(line.decode(errors="replace").rstrip())
            raise
    if (number := max(-status, status - 128)) in STOP_SIGNALS:
        time.sleep(_OWN_SIGNAL_SECONDS)  # `scancel` signals every process: this one's turn may come just now
        raise ChildStopped(number)
    return status


def last_line(log: Path) -> str:
    """The last line of a log that says something, or ""."""
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")
    return ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
