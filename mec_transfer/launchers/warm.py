"""A process that has imported the slow libraries and is forked for each job, so that a start takes a tenth of a second.

`WarmPython` is the launcher's side; `python -m mec_transfer.launchers.warm MODULES` is the other. They exchange a line
of JSON a message: requests hold a module whose `main` is called and its arguments, answers hold a process's status.
A fork is as good as a fresh process as long as the warm process has not touched a GPU. Engines that change what they
import are started in processes of their own, so that every job of theirs begins with unchanged libraries.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import RunError
from mec_transfer.common.interrupt import STOP_SIGNALS
from mec_transfer.common.processes import end_process, tie_to_parent
from mec_transfer.launchers.launcher import run_module

_REAP_SECONDS = 0.02
_START_SECONDS = 300.0
"""How long the imports may take; from a cold network file system they take minutes."""


class WarmPython:
    """A warm process, started when the first job asks for it and again if it died."""

    def __init__(self, preload: Sequence[str], env: Mapping[str, str]) -> None:
        self._preload, self._env = list(preload), dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = b""
        self._working: set[int] = set()
        self._ended: dict[int, int] = {}

    def run(self, module: str, arguments: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
        """Call `main` of a module in a fork whose output goes to the end of `log`; return the fork's process id.

        The fork leads a session of its own and dies with the warm process, which dies with this one.

        Raises:
            RunError: no process can be started; the log has the reason.
        """
        request = {"module": module, "arguments": list(arguments), "log": str(log), "env": dict(env)}
        for _ in range(2):  # a warm process that has died is started again, once
            process = self._started(log)
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            except OSError:
                self._lose()
                continue
            until = time.monotonic() + _START_SECONDS
            while self._process is process:
                answer = self._read(until - time.monotonic()) or {}
                if "started" in answer:
                    self._working.add(answer["started"])
                    return int(answer["started"])
                if "failed" in answer:
                    raise RunError(f"no process could be started: {answer['failed']}")
                if (
                    time.monotonic() >= until
                ):  # not asked a second time: it may only be slow, and the job would run twice
                    self._lose()
                    raise RunError(f"no process has started within {_START_SECONDS:g} s")
        raise RunError(f"no process could be started to run jobs in; the end of {log} says why")

    def poll(self, pid: int) -> int | None:
        """Return the exit status of a fork, or -signal; None while it works."""
        while pid not in self._ended and self._read(0.0):
            pass
        return self._ended.pop(pid, None)

    def close(self) -> None:
        """Let the warm process end; forks that still work are killed with it."""
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _started(self, log: Path) -> subprocess.Popen[bytes]:
        if self._process is None:
            with log.open("ab") as out:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "mec_transfer.launchers.warm", str(os.getpid()), *self._preload],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=out,
                    env={**os.environ, **self._env},
                    start_new_session=True,  # Ctrl-C reaches the run alone, which then stops its jobs
                )
        return self._process

    def _read(self, seconds: float) -> dict[str, Any] | None:
        """Return the next answer, if one comes in time; note the end of a fork."""
        if self._process is None:
            return None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()  # read without a buffer, of which `select` knows nothing
        if b"\n" not in self._answers and select.select([pipe], [], [], max(seconds, 0.0))[0]:
            block = os.read(pipe, 1 << 16)
            if not block:
                self._lose()
                return None
            self._answers += block
        line, end, rest = self._answers.partition(b"\n")
        if not end:
            return None
        self._answers = rest
        answer: dict[str, Any] = json.loads(line)
        if "ended" in answer:
            self._working.discard(answer["ended"])
            self._ended[answer["ended"]] = answer["status"]
        return answer

    def _lose(self) -> None:
        """Kill the warm process, and with it all forks that are running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process, self._answers = None, b""
        self._ended |= dict.fromkeys(self._working, -signal.SIGKILL)
        self._working.clear()


def main(arguments: Sequence[str]) -> int:
    """Import modules, then fork for each request until standard input ends; in a fork, do what was asked."""
    tie_to_parent(int(arguments[0]))
    answers = os.dup(1)
    os.dup2(2, 1)  # what an import prints must not be taken for an answer
    # A signal that a scheduler sends to every process is meant for the forks, which save; this one has nothing to save.
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    for module in arguments[1:]:
        with contextlib.suppress(Exception):  # the job that needs the module will report it
            importlib.import_module(module)
    request = _serve(answers, handlers)
    if request is None:
        return 0
    return run_module(request["module"], request["arguments"])


def _serve(answers: int, handlers: Mapping[signal.Signals, Any]) -> dict[str, Any] | None:
    """Return None when there are no more requests, and in each fork its request.

    Args:
        answers: the file descriptor to answer on.
        handlers: how a fork handles the signals that this process ignores.
    """
    pending, warm = b"", os.getpid()
    while True:
        if select.select([0], [], [], _REAP_SECONDS)[0]:
            block = os.read(0, 1 << 16)
            if not block:
                return None
            pending += block
        while b"\n" in pending:
            line, _, pending = pending.partition(b"\n")
            try:
                with _handled_by(handlers):
                    pid = os.fork()
                    if pid == 0:
                        os.close(answers)
                        return _become(json.loads(line), warm)
            except OSError as error:  # no process or no memory is left; the running forks are not affected
                os.write(answers, json.dumps({"failed": error.strerror}).encode() + b"\n")
            else:
                os.write(answers, json.dumps({"started": pid}).encode() + b"\n")
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                status = os.waitstatus_to_exitcode(ended[1])
                os.write(answers, json.dumps({"ended": ended[0], "status": status}).encode() + b"\n")


@contextlib.contextmanager
def _handled_by(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Let a process that is forked in this block handle signals by `handlers` from its first moment on."""
    warm = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, handlers)  # none comes between the two
    for number, handler in handlers.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        if os.getpid() == warm:
            for number in handlers:
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)


def _become(request: dict[str, Any], warm: int) -> dict[str, Any]:
    """Give this fork its own session, output and environment."""
    os.setsid()
    tie_to_parent(warm)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for extra in (log, nothing):
        os.close(extra)
    os.environ.update(request["env"])
    return request


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
