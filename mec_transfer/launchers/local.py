"""Jobs on this machine, several at once: each has slots of its own, GPUs or equal shares of the cores."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from mec_transfer.common.errors import RunError
from mec_transfer.common.processes import tie_to_parent
from mec_transfer.launchers.launcher import Ended, Show, Task, in_words
from mec_transfer.launchers.warm import WarmPython

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 60.0
"""How long a job may take to finish its step and save."""


class _Process(Protocol):
    pid: int

    def poll(self) -> int | None: ...


class _Fork:
    def __init__(self, warm: WarmPython, pid: int) -> None:
        self._warm, self.pid = warm, pid
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            self._status = self._warm.poll(self.pid)
        return self._status


class _Running:
    """A task that is running."""

    def __init__(self, task: Task, slots: Sequence[int], process: _Process, tail: BinaryIO) -> None:
        self.task, self.slots, self.process, self._tail = task, tuple(slots), process, tail
        self._begun = b""
        """The beginning of a line of its log whose end is not written yet."""
        self.began = self._heard = time.monotonic()
        self.reason = ""
        """Why it was asked to stop."""
        self._asked = 0.0

    def show(self, show: Show, ended: bool = False) -> None:
        """Pass on the whole lines that were added to its log and, once it has `ended`, the rest."""
        for line in self._tail.readlines():
            self._heard = time.monotonic()
            self._begun += line
            if self._begun.endswith(b"\n"):
                self._pass_on(show)
        if ended and self._begun:
            self._pass_on(show)

    def _pass_on(self, show: Show) -> None:
        show(self.task, self._begun.decode(errors="replace").rstrip())
        self._begun = b""

    def enforce_limits(self) -> None:
        """Ask it to stop when its time is up or it hangs, and kill it if it does not obey."""
        now, task = time.monotonic(), self.task
        if self.reason:
            if now - self._asked > _GRACE_SECONDS:
                self.signal(signal.SIGKILL)
        elif task.limit_seconds is not None and now - self.began > task.limit_seconds:
            self._ask(f"ended after its time limit of {in_words(task.limit_seconds)}")
        elif task.silence_seconds is not None and now - self._heard > task.silence_seconds:
            self._ask(f"ended because it printed nothing for {in_words(task.silence_seconds)}")

    def _ask(self, reason: str) -> None:
        self.reason, self._asked = reason, time.monotonic()
        self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:  # it has ended, or not yet made a group of its own
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def close(self) -> None:
        self._tail.close()


class LocalLauncher:
    """Runs tasks in processes that do not outlive this one (on Linux not even if it is killed with SIGKILL).

    If torch.distributed.run starts several processes for a task, each must tie itself to its parent
    (`tie_to_launcher`), because they are in sessions of their own.

    Used as a context, it stops the running tasks at the end: every process is first asked to save and end.
    """

    def __init__(
        self,
        show: Show,
        slots: int = 1,
        gpus: Sequence[str] = (),
        threads: int | None = None,
        memory: int | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        """Plan slots; nothing is started yet.

        Args:
            show: called with each line that a task prints.
            slots: how many tasks that take one slot run at once.
            gpus: the device of each slot, as CUDA_VISIBLE_DEVICES names it; empty for CPUs.
            threads: how many each task uses; None for as many as the machine has cores.
            memory: bytes that the tasks may take together, as far as that is known; None for no limit.
            preload: modules that most tasks import.
        """
        self.slots = len(gpus) or slots
        self._show = show
        self._free = list(range(self.slots))
        self._gpus = list(gpus)
        self._memory = memory
        self._env = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        self._running: list[_Running] = []
        self._warm = WarmPython(preload, self._env)

    def __enter__(self) -> LocalLauncher:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._warm.close()

    @property
    def busy(self) -> bool:
        """Whether a task is running."""
        return bool(self._running)

    def has_room(self, task: Task) -> bool:
        """Whether a task can start now: there are slots, and memory, for it.

        A task that wants more slots than there are takes all of them. If nothing else runs, a task starts however much
        memory it takes: that was measured on another machine, and it may fit.
        """
        if len(self._free) < self._slots_of(task):
            return False
        taken = sum(running.task.memory_bytes for running in self._running)
        return not self._running or self._memory is None or taken + task.memory_bytes <= self._memory

    def _is_whole(self, task: Task) -> bool:
        return task.alone and not self._gpus

    def _slots_of(self, task: Task) -> int:
        return self.slots if self._is_whole(task) else min(task.gpus, self.slots)

    def start(self, task: Task) -> None:
        """Start a task for which there is room. Raises RunError, with the reason, if it cannot be started."""
        try:
            self._start(task)
        except OSError as error:
            raise RunError(f"{error.filename or task.log}: no process could be started ({error.strerror})") from None

    def _start(self, task: Task) -> None:
        wanted = self._slots_of(task)
        slots = self._free[:wanted]
        whole = self._is_whole(task)
        processes = 1 if whole else wanted
        env = {} if whole else dict(self._env)  # every core is its own
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(self._gpus[slot] for slot in slots)
        task.log.parent.mkdir(parents=True, exist_ok=True)
        task.log.touch()
        tail = task.log.open("rb")
        tail.seek(0, os.SEEK_END)
        try:
            process: _Process
            if task.own_python or whole or processes > 1:  # a fork would keep the number of threads of its parent
                process = _spawn(_command(task, processes), task.log, env)
            else:
                process = _Fork(self._warm, self._warm.run(task.module, task.arguments, task.log, env))
        except BaseException:
            tail.close()
            raise
        self._free = self._free[wanted:]
        self._running.append(_Running(task, slots, process, tail))

    def wait(self) -> Ended:
        """Wait until a task has ended, and show what tasks print in the meantime.

        A task that exceeds its limits is asked to stop, and then killed.
        """
        while True:
            for running in self._running:
                status = running.process.poll()  # before the last look at its log
                running.show(self._show, ended=status is not None)
                if status is not None:
                    self._leave(running)
                    return Ended(task=running.task, status=status, reason=running.reason)
                running.enforce_limits()
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ask all tasks to save and end, and kill the ones that take too long."""
        for running in self._running:
            running.signal(signal.SIGTERM)
        until = time.monotonic() + _GRACE_SECONDS
        try:
            while time.monotonic() < until and any(running.process.poll() is None for running in self._running):
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:  # a second Ctrl-C does not wait
            pass
        for running in [*self._running]:
            running.signal(signal.SIGKILL)
            while running.process.poll() is None:
                time.sleep(_POLL_SECONDS)
            running.show(self._show, ended=True)
            self._leave(running)

    def _leave(self, running: _Running) -> None:
        self._running.remove(running)
        self._free = sorted([*self._free, *running.slots])
        running.close()


def _command(task: Task, processes: int) -> list[str]:
    if processes == 1:
        return [sys.executable, "-m", task.module, *task.arguments]
    return [sys.executable, "-m", "mec_transfer.launchers.together", str(processes), task.module, *task.arguments]


def _spawn(command: Sequence[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            start_new_session=True,  # so that Ctrl-C reaches this process alone, which then stops its tasks
            preexec_fn=functools.partial(tie_to_parent, os.getpid()),
        )
