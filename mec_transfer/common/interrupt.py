"""Signals that ask a run to stop: SIGTERM, SIGUSR1 (SLURM's notice) and Ctrl-C.

A command runs under `raised_signals`: a signal ends what it is doing as Ctrl-C does. A step that must not be cut in
two, such as one of a training, runs under `held_signals` and saves before it stops.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mec_transfer.common import distributed

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run; a command then exits with 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class StopRequest:
    """The signal that arrived, if any."""

    number: int = 0
    """0 if none has arrived."""

    def of_all(self) -> int:
        """Return the signal that any of the processes received, or 0, so that all stop after the same step."""
        return max(distributed.gather_objects(self.number))

    def _note(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self.number:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        self.number = number


def signal_of(error: KeyboardInterrupt) -> signal.Signals:
    """Return the signal that stopped a run."""
    return signal.Signals(error.number) if isinstance(error, Interrupted) else signal.SIGINT


def interruption_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interruption that caused another error, or None.

    A signal that arrives while a library enters or leaves a state of its own makes the library fail in turn: torch's
    "trying to pop from empty mode stack" is then not a failure of the run.
    """
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        if isinstance(behind, KeyboardInterrupt):
            return behind
        seen.add(id(behind))
        behind = behind.__cause__ or behind.__context__
    return None


@contextmanager
def raised_signals() -> Iterator[None]:
    """Make a signal raise `Interrupted` in the main thread, wherever it is."""

    def stop(number: int, frame: object) -> None:
        raise Interrupted(number)

    with _handled_by(stop):
        yield


@contextmanager
def held_signals() -> Iterator[StopRequest]:
    """Note signals instead of obeying them at once; outside the main thread this does nothing.

    Raises:
        Interrupted: at the end of the block, if a signal arrived and was not obeyed.
    """
    request = StopRequest()
    with _handled_by(request._note):
        yield request
    if request.number:
        raise Interrupted(request.number)


def leave_at_once() -> None:
    """From now on let a signal end this process silently, because it has printed everything already."""
    for number in _handled_signals():
        signal.signal(number, lambda number, frame: os._exit(128 + number))


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Block the signals in this thread for a while, and for good in the processes that it starts in that time."""
    came: list[int] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        # Another thread may take a signal that this one blocks; its handler would then run in this one all the same.
        with _handled_by(lambda number, frame: came.append(number)):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for number in came[:1]:
        signal.raise_signal(number)


@contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _handled_signals()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _handled_signals() -> list[signal.Signals]:
    """Return the signals that this thread may handle: none outside the main thread, and none that are ignored.

    A shell starts its background jobs with Ctrl-C ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in STOP_SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
