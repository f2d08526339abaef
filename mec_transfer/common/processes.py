"""Processes: tie them to their parent, end them, and describe how they ended."""

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
    """Make this process, a child of `parent`, die with its parent, even if that is killed with SIGKILL (Linux only)."""
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def end_process(status: int) -> NoReturn:
    """End this process with an exit status, without the interpreter's clean-up, which takes 1.4 s once torch is loaded.

    Everything that other code relies on still happens: threads are joined, exit handlers run (they end loading
    processes and remove temporary folders), and the output is flushed. `multiprocessing` ends its forks in the same
    way.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it, or it is closed or missing
            stream.flush()
    os._exit(status)


def tie_to_launcher() -> None:
    """Make this process die with torch.distributed.run, if that has started it.

    torch.distributed.run puts each of its processes in a session of its own. If it is killed, they would otherwise go
    on training and keep their folder locked against the next run.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and _prctl is not None:
        parent = os.getppid()
        tie_to_parent(parent)
        words = Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0")
        if b"python" not in words[0]:  # it died before this, and this process has been given to another parent
            os._exit(1)


def describe_status(status: int) -> str:
    """Describe how a process ended: by its exit status, or by the signal -status."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
    hint = "; out of memory?" if -status == signal.SIGKILL else ""
    return f"killed by signal {-status} ({name}{hint})"


def last_line(log: Path) -> str:
    """Return the last line of a log that is not blank, or ""."""
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")
    return ""
