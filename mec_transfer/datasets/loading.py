"""What goes wrong in a loading process, told in one line."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from typing import TypeVar

from mec_transfer.common.errors import RunError, UserError

T = TypeVar("T")


def plain_errors(loader: Iterable[T]) -> Iterator[T]:
    """Yield what `loader` loads; a user's error in a loading process keeps its one line.

    It arrives here with that process's traceback as text before it.

    Raises:
        UserError: what went wrong in a loading process, as its own kind.
        RunError: a loading process died.
    """
    try:
        yield from loader
    except UserError as error:
        kind = type(error)
        line = (str(error).splitlines() or [""])[-1]
        raise kind(line.removeprefix(f"{kind.__module__}.{kind.__qualname__}: ")) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(f"a loading process died ({str(error).splitlines()[0]}); try --workers 0") from None


def ignore_signals(worker: int) -> None:
    """Leave a request to stop to the main process: for a DataLoader's `worker_init_fn`.

    `timeout`, SLURM and Ctrl-C signal every process of a group; a loading process that died of it would take the run
    with it before its state is saved. Its end comes with the main process's.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
