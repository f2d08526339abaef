"""The one way to load data in processes of their own: they never outlive a run, and no fault of theirs is silent."""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import multiprocessing.queues
import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset, _utils

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.interrupt import blocked_signals
from mec_transfer.common.processes import describe_status, tie_to_parent

T = TypeVar("T")

_SIGNS_OF_NO_ROOM = ("shared memory", "No space left on device")

_NO_ROOM = (
    "/dev/shm is full: loading processes hand over images through it. Give it more room (docker run --shm-size=8g or "
    "--ipc=host), or take fewer --workers, or --workers 0"
)

_DIED = "a loading process died ({}); try fewer --workers, or --workers 0"


class Loader(Generic[T]):
    """Torch's DataLoader, whose processes end with this one, with an iteration that is left early, or when one fails.

    `timeout`, SLURM and Ctrl-C signal every process of a group. Loading processes do not heed that: they would take
    the run with them before its state is saved. They are killed on the way out, and by the system when this process
    is killed.

    Iterate over it again for another epoch; one iteration at a time. With `persistent` the processes live on from one
    whole iteration to the next.
    """

    def __init__(
        self, dataset: Dataset[Any], workers: int, *, persistent: bool = False, pin_memory: bool = False, **options: Any
    ) -> None:
        """Start nothing yet; `options` are DataLoader's."""
        self.dataset = dataset
        self._workers, self._persistent = workers, persistent and workers > 0
        context = "fork" if workers and sys.platform.startswith("linux") else None
        self._make = functools.partial(
            DataLoader,
            dataset,
            num_workers=workers,
            persistent_workers=self._persistent,
            pin_memory=pin_memory,
            multiprocessing_context=context,
            worker_init_fn=functools.partial(_begin_worker, os.getpid()),
            **options,
        )
        self._loader: DataLoader[Any] | None = None
        self._iterator: Any = None
        self._waiting = False

    def __iter__(self) -> Iterator[T]:
        """Yield what is loaded.

        Raises:
            UserError: what went wrong in a loading process, as its own kind.
            RunError: anything else that went wrong there, or a loading process died.
        """
        whole = False
        try:
            self._start()
            while True:
                try:
                    item = self._next()
                except StopIteration:
                    break
                yield item
                del item  # who has taken it may have let it go
            whole = True
        finally:
            if not (whole and self._persistent):
                self.stop()

    def stop(self) -> None:
        """End the loading processes; the next iteration starts new ones."""
        with blocked_signals():
            iterator, self._loader, self._iterator = self._iterator, None, None
            workers = getattr(iterator, "_workers", [])
            if workers:
                self._kill(iterator, workers)

    def _kill(self, iterator: Any, workers: list[Any]) -> None:
        """End the processes of torch's `iterator` without its own way out.

        That waits up to five seconds for each, and takes locks which a killed process may hold, or a `put` of this
        one that a signal broke off.
        """
        iterator._workers, iterator._shutdown = [], True
        if iterator._worker_pids_set:  # not so where one died when everything had been loaded
            iterator._worker_pids_set = False
            _utils.signal_handling._remove_worker_pids(id(iterator))  # else a later iterator at this address fails
        if hasattr(iterator, "_pin_memory_thread_done_event"):
            iterator._pin_memory_thread_done_event.set()
        for queue in iterator._index_queues:
            queue.cancel_join_thread()
            if queue._close:  # what would close it at the interpreter's end takes its lock as well
                queue._close.cancel()
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()

    def _start(self) -> None:
        if self._loader is not None:
            with self._guarded():
                iter(self._loader)  # the same iterator, at its beginning
            return
        _open.add(self)
        atexit.unregister(_stop_all)
        atexit.register(_stop_all)  # the last one goes first: multiprocessing's own would wait for the processes
        with self._guarded(), blocked_signals(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # more than the cores: the user's choice
            self._loader = self._make()
            self._iterator = iter(self._loader)
        if self._workers and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, _look_for_deaths)  # torch's own raises wherever this thread is

    def _next(self) -> T:
        with self._guarded():
            item: T = next(self._iterator)
            return item

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Tell in one line what goes wrong in a loading process. Torch puts that process's traceback before it."""
        try:
            self._waiting = True
            self.require_workers()
            yield
        except (StopIteration, RunError):
            raise
        except UserError as error:
            kind = type(error)
            line = _last_line(error)
            raise kind(line.removeprefix(f"{kind.__module__}.{kind.__qualname__}: ")) from None
        except Exception as error:
            self.require_workers()
            text = str(error)
            if self._workers and any(sign in text for sign in _SIGNS_OF_NO_ROOM):
                raise RunError(_NO_ROOM) from error
            if text.startswith("DataLoader worker"):  # torch's own word for it, while the processes begin
                raise RunError(_DIED.format(text.partition(". ")[0])) from error
            name = "" if "Original Traceback" in text else f"{type(error).__name__}: "  # which ends with it
            raise RunError(f"loading failed: {name}{_last_line(error)}") from error
        finally:
            self._waiting = False

    def require_workers(self) -> None:
        """Raise RunError if a loading process has died."""
        for worker in getattr(self._iterator, "_workers", ()):
            if worker.exitcode == -signal.SIGBUS:
                raise RunError(_NO_ROOM)
            if worker.exitcode:
                raise RunError(_DIED.format(describe_status(worker.exitcode)))


_open: weakref.WeakSet[Loader[Any]] = weakref.WeakSet()


def _look_for_deaths(number: int, frame: object) -> None:
    """Break off a wait for what will never come; who does not wait finds out when it next asks."""
    for loader in list(_open):
        if loader._waiting:
            loader.require_workers()


def _stop_all() -> None:
    for loader in list(_open):
        loader.stop()
    for child in multiprocessing.active_children():  # of a loader that was stopped by a signal while it began or ended
        child.kill()


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[-1]


def _begin_worker(parent: int, worker: int) -> None:
    """Make a loading process of this one."""
    tie_to_parent(parent)
    # A batch is packed by a thread of the queue's, which would only print what goes wrong; its receiver waits for ever.
    multiprocessing.queues.Queue._on_queue_feeder_error = _send_error  # type: ignore[attr-defined]


def _send_error(queue: Any, error: BaseException, item: Any) -> None:
    number, _ = item
    queue.put((number, ExceptionWrapper(where="in a loading process")))
