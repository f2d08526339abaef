"""Progress of a long run: a bar on a terminal, plain lines in a log, on rank 0 only.

Everything goes to standard error, so that standard output holds results alone.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_LOG_INTERVAL_SECONDS = 10.0
_SETTLED_SECONDS, _SETTLED_STEPS = 60.0, 5
"""A rate is used to estimate the remaining time only after this long and this many steps."""
_LONG_SECONDS = 2 * 86400.0
"""A longer remaining time causes a warning."""


def is_main_process() -> bool:
    """Whether this process is the one that prints and writes (rank 0, or the only one)."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str) -> None:
    """Print one line of news to standard error (rank 0 only)."""
    if is_main_process():
        print_to_stderr(message)


def print_to_stderr(line: str) -> None:
    """Print a line to standard error, on every rank.

    The line is dropped where standard error is closed and where nobody reads on, as after `head`. Where it goes to a
    file on a full disk it comes later or is lost: no number and no exit status is lost for a line.
    """
    if sys.stderr is None:  # closed; `print` would write to standard output, which holds results alone
        return
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE):
            raise


def warn(message: str) -> None:
    """Print one line of warning to standard error (rank 0 only)."""
    say(f"warning: {message}")


def track(items: Iterable[T], title: str, total: int, unit: str = "batches") -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done, the rate and the time left."""
    meter = Meter(title, total, unit)
    try:
        for item in items:
            yield item
            meter.advance()
    finally:
        meter.close()


class Meter:
    """A progress bar (terminal) or a line every ten seconds (log) for `total` steps; 0 where nobody knows how many.

    If the rest will take days, one line of warning says so after the first minute.

    `advance` takes figures to show beside the bar, in the order in which they are given.
    """

    def __init__(self, title: str, total: int, unit: str = "batches", start: int = 0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.start = self.done = start
        self._began = self._last = time.monotonic()
        self._figures = ""
        self._judged = False
        self._bar = self._make_bar() if is_main_process() and sys.stderr and sys.stderr.isatty() else None

    def _make_bar(self):  # type: ignore[no-untyped-def]  # rich is imported only where a terminal shows it
        from rich import progress
        from rich.console import Console

        bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[figures]}"),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = bar.add_task(self.title, total=self.total or None, completed=self.start, figures="")
        bar.start()
        return bar

    def advance(self, count: int = 1, **figures: float) -> None:
        """Count `count` more steps done."""
        self.done += count
        if figures:
            self._figures = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if not self._judged:
            self._judge()
        if self._bar:
            self._bar.update(self._task, completed=self.done, figures=self._figures)
        elif is_main_process() and time.monotonic() - self._last >= _LOG_INTERVAL_SECONDS:
            self._last = time.monotonic()
            say(self._line())

    def _judge(self) -> None:
        seconds, steps = time.monotonic() - self._began, self.done - self.start
        if seconds < _SETTLED_SECONDS or steps < _SETTLED_STEPS:
            return
        self._judged = True
        if (left := (self.total - self.done) * seconds / steps) > _LONG_SECONDS:
            warn(f"{self.title}: at the rate of its first minute it takes {left / 86400:.1f} days more")

    def _line(self) -> str:
        seconds = time.monotonic() - self._began
        rate = (self.done - self.start) / seconds if seconds else 0.0
        left = f"{_clock((self.total - self.done) / rate)} left" if rate and self.total else ""
        count = f"{self.done}/{self.total}" if self.total else f"{self.done}"
        parts = [f"{self.title} [{count} {self.unit}]", self._figures, f"{rate:.3g}/s", left]
        return "  ".join(part for part in parts if part)

    def close(self) -> None:
        """Remove the bar; in a log that has lines already, write the last one."""
        if self._bar:
            self._bar.stop()
        elif is_main_process() and self._last > self._began:
            say(self._line())


def _clock(seconds: float) -> str:
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{secs:02d}s"
