"""What a run asks of a launcher, whether its tasks are computed on this machine or on a cluster."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What one process does: `main` of a module with arguments, or `python -m` of it."""

    title: str
    module: str
    arguments: tuple[str, ...]
    log: Path
    """Gets all that the process prints."""
    gpus: int = 1
    """Slots that it takes. More than one: as many processes, which share the task as torch.distributed's do."""
    alone: bool = False
    """Where slots are shares of the cores, it takes all of them, in one process: other tasks wait for what it makes."""
    memory_bytes: int = 0
    """What it is known to take of the machine's memory; 0: nobody knows."""
    own_python: bool = False
    """In a fresh interpreter, since it changes what it imports."""
    limit_seconds: float | None = None
    """It is ended when it has worked for so long."""
    silence_seconds: float | None = None
    """It is ended when its log has not grown for so long."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a task's process ended."""

    task: Task
    status: int
    """Its exit status, or -signal."""
    reason: str = ""
    """Why it was ended from here; empty where it ended by itself."""


Show = Callable[[Task, str], None]
"""Gets each line that a task prints."""


class Launcher(Protocol):
    """Computes tasks, several at once. As a context, it lets go of what still works when it is left (`stop`)."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def has_room(self, task: Task) -> bool:
        """Whether a task can start now."""

    def start(self, task: Task) -> None:
        """Start a task for which there is room. Raises RunError where that cannot be, with the reason."""

    def wait(self) -> Ended:
        """Wait until a task has ended, and meanwhile show what tasks print."""

    def stop(self) -> None:
        """Let go of all tasks that have not ended, as the launcher does."""


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Do what `python -m name` does, but in this process, which goes on; return the exit status."""
    module = importlib.import_module(name)
    program: Any = importlib.import_module(f"{name}.__main__") if hasattr(module, "__path__") else module
    status: int = program.main([*arguments])
    return status


def in_words(seconds: float) -> str:
    """Say how long a limit is."""
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"
