"""A command at work: its processes, what it says, and how long anything of it is left after it was struck."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mec_transfer.common.processes import tie_to_parent

POLL_SECONDS = 0.02


class Start:
    """One start of a command, whose output goes to the end of a file."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self._log, self._skip = log, log.stat().st_size if log.exists() else 0
        self.began = time.monotonic()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                start_new_session=True,
                preexec_fn=functools.partial(tie_to_parent, os.getpid()),
            )

    @property
    def pid(self) -> int:
        """The command's own process."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, or -signal; None while it works."""
        return self._process.poll()

    def sleep(self, seconds: float) -> bool:
        """Let it work for so long; return whether it still does."""
        until = time.monotonic() + seconds
        while self.status is None and (left := until - time.monotonic()) > 0:
            time.sleep(min(POLL_SECONDS, left))
        return self.status is None

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; where that does not come within `seconds` of its start, kill all of it and return None."""
        if self.sleep(self.began + seconds - time.monotonic()):
            kill([self.pid, *below(self.pid)])
            self._process.wait()
            return None
        return self.status

    def said(self) -> str:
        """Return what it has printed."""
        with self._log.open("rb") as log:
            log.seek(self._skip)
            return log.read().decode(errors="replace")


def below(pid: int) -> list[int]:
    """Return the processes that `pid` has started, and those that they have started, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if parent := _working_parent(int(entry.name)):
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        todo = [child for parent in todo for child in children.get(parent, ())]
        found += todo
    return found


def kill(pids: Iterable[int]) -> None:
    """Kill processes outright; those that are over already do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def seconds_until_gone(pids: Iterable[int], limit: float) -> float | None:
    """Wait until none of `pids` works any more; return the seconds, or None where `limit` of them are not enough."""
    began, left = time.monotonic(), set(pids)
    while left := {pid for pid in left if _working_parent(pid) is not None}:
        if time.monotonic() - began > limit:
            kill(left)
            return None
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def _working_parent(pid: int) -> int | None:
    """Return the parent of a process that works; None for one that is over."""
    with contextlib.suppress(OSError):
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(parent) if state != "Z" else None
    return None
