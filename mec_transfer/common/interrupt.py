"""Signals that ask a run to stop, held back until it has saved: SIGTERM, SIGUSR1 (SLURM's notice) and Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """The run has saved its state and stops because of a signal; a command then exits with 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class StopRequest:
    """Which signal came, if any."""

    number: int = 0
    """0 where none has come."""

    def _note(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self.number:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        self.number = number


@contextmanager
def held_signals() -> Iterator[StopRequest]:
    """Note the signals instead of dying of them; outside the main thread, where that cannot be, change nothing."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request._note) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
