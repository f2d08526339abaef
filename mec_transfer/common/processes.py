"""Processes: tied to their parent, brought to an end, and how they ended in words."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None


def tie_to_parent(parent: int) -> None:
    """Let this process, a child of `parent`, die with it, even when that one is killed outright (Linux only)."""
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def end_process(status: int) -> NoReturn:
    """End this process with an exit status, without taking apart all that it has loaded: with torch, that takes 1.4 s.

    What an end promises is kept: threads are waited for, exit handlers run (they end loading processes and remove
    temporary folders), what was printed is flushed. `multiprocessing` ends its forks in the same way.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads on, closed, or none at all
            stream.flush()
    os._exit(status)


def tie_to_launcher() -> None:
    """Let this process die with torch.distributed.run, where that has started it.

    It puts each of its processes in a session of its own. Without it they would train on, and hold their folder
    against the next run.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        tie_to_parent(os.getppid())


def describe_status(status: int) -> str:
    """Say in words how a process ended: by its exit status, or by the signal -status."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
    hint = "; out of memory?" if -status == signal.SIGKILL else ""
    return f"killed by signal {-status} ({name}{hint})"


def last_line(log: Path) -> str:
    """Return the last line of a log that says something, or ""."""
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")
    return ""
