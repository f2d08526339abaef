"""What a run asks of a launcher, whether its tasks are computed on this machine or on a cluster."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The work of one process: `main` of a module with arguments, or `python -m` of it."""

    title: str
    module: str
    arguments: tuple[str, ...]
    log: Path
    """Receives everything that the process prints."""
    gpus: int = 1
    """How many slots it takes. With more than one, as many processes share the task through torch.distributed."""
    alone: bool = False
    """If slots are shares of the cores, it takes all of them in one process: other tasks wait for its result."""
    memory_bytes: int = 0
    """How much of the machine's memory it takes; 0 if that is not known."""
    own_python: bool = False
    """Whether it needs a fresh interpreter, because it changes the libraries that it imports."""
    limit_seconds: float | None = None
    """It is ended after this time."""
    silence_seconds: float | None = None
    """It is ended when its log has not grown for this time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a task's process ended."""

    task: Task
    status: int
    """The exit status, or minus the number of the signal that killed it."""
    reason: str = ""
    """Why the launcher ended it; empty if it ended by itself."""


Show = Callable[[Task, str], None]
"""Called with each line that a task prints."""


class Launcher(Protocol):
    """Runs tasks, several at once. Used as a context, it calls `stop` at the end."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def has_room(self, task: Task) -> bool:
        """Whether a task can start now."""

    def start(self, task: Task) -> None:
        """Start a task for which there is room. Raises RunError, with the reason, if it cannot be started."""

    def wait(self) -> Ended:
        """Wait until a task has ended, and show what tasks print in the meantime."""

    def stop(self) -> None:
        """Stop the tasks that have not ended, or leave them to the cluster."""


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Do what `python -m name` does, but within this process; return the exit status."""
    module = importlib.import_module(name)
    program: Any = importlib.import_module(f"{name}.__main__") if hasattr(module, "__path__") else module
    status: int = program.main([*arguments])
    return status


def in_words(seconds: float) -> str:
    """Return a time limit in words."""
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"
