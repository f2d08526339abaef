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
    """Which signal came, if any."""

    number: int = 0
    """0 where none has come."""

    def of_all(self) -> int:
        """Return the signal that came to any of the processes, 0 where none did: they stop after the same step."""
        return max(distributed.gather_objects(self.number))

    def _note(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self.number:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        self.number = number


def signal_of(error: KeyboardInterrupt) -> signal.Signals:
    """Return the signal that stopped a run."""
    return signal.Signals(error.number) if isinstance(error, Interrupted) else signal.SIGINT


def interruption_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interruption that another error came of, or None.

    A signal may come while a library enters or leaves a state of its own, and that then fails in its turn: torch's
    "trying to pop from empty mode stack" is no failure of the run's.
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
    """Let a signal raise `Interrupted` wherever the main thread is."""

    def stop(number: int, frame: object) -> None:
        raise Interrupted(number)

    with _handled_by(stop):
        yield


@contextmanager
def held_signals() -> Iterator[StopRequest]:
    """Note the signals; outside the main thread, where that cannot be, change nothing.

    Raises:
        Interrupted: the block has come to its end, and a signal that came meanwhile has not been obeyed.
    """
    request = StopRequest()
    with _handled_by(request._note):
        yield request
    if request.number:
        raise Interrupted(request.number)


def leave_at_once() -> None:
    """From now on let a signal end this process without a word: for one that has said all it had to say."""
    for number in _heeded():
        signal.signal(number, lambda number, frame: os._exit(128 + number))


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Keep the signals from this thread for a while, and from the processes that it starts meanwhile for ever."""
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
    before = {number: signal.signal(number, handler) for number in _heeded()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _heeded() -> list[signal.Signals]:
    """Return the signals that this thread may handle: none beside the main one, and none that it was told to ignore.

    A shell starts what runs in its background with Ctrl-C ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in STOP_SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
