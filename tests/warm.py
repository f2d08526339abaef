"""Real processes without the three seconds that importing torch takes each: forks of one that has imported it.

`Popen` is `subprocess.Popen` for `[sys.executable, "-c", CODE, ...]` and `[sys.executable, "-m", MODULE, ...]`: each is
a fork of a clean process that has imported libraries and done nothing else: with its own streams, environment and
working directory, to the very end of its interpreter. A test of what is imported, or when, wants `subprocess` itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

PRELOAD = (
    "torch.distributed",
    "torchvision",
    "mec_transfer.suite.execute",
    "mec_transfer.classification.knn",
    "mec_transfer.classification.linear_fast",
    "mec_transfer.classification.semisup",
    "pretrain.loop",
)


class Popen(subprocess.Popen):
    """A fork of the warm process, in the clothes of a child."""

    def _execute_child(
        self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, cwd: Any, env: Any,
        startupinfo: Any, creationflags: Any, shell: Any, *more: Any
    ) -> None:  # fmt: skip
        stdin, to_stdin, from_stdout, stdout, from_stderr, stderr = more[:6]
        python, how, what, *arguments = map(os.fspath, args)
        assert python == sys.executable and how in ("-c", "-m"), "only Python's -c and -m"
        self._status, status = os.pipe()
        request = {
            "how": how,
            "what": what,
            "arguments": arguments,
            "cwd": os.fspath(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "session": bool(more[11]),
        }
        given = [own if own != -1 else inherited for own, inherited in ((stdin, 0), (stdout, 1), (stderr, 2))]
        socket.send_fds(_warm(), [json.dumps(request).encode()], [*given, status])
        os.close(status)
        for theirs in {stdin, stdout, stderr} - {-1, to_stdin, from_stdout, from_stderr}:
            with contextlib.suppress(OSError):  # one stream for both
                os.close(theirs)
        self.pid = int(os.read(self._status, 20))
        self._child_created = True

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._end()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            self._end()
        return self.returncode

    def _end(self) -> None:
        self.returncode = int(os.read(self._status, 20) or -signal.SIGKILL)
        os.close(self._status)


@functools.cache
def _warm() -> socket.socket:
    """Start the warm process, which ends before this one does; return the way to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    theirs.close()
    atexit.register(process.wait, 30)
    atexit.register(ours.close)
    return ours


def main() -> None:
    """Import, then fork for each request until nobody is left to ask."""
    door = socket.socket(fileno=int(sys.argv[1]))
    for name in PRELOAD:
        __import__(name)
    while True:
        message, fds, _, _ = socket.recv_fds(door, 1 << 20, 4)
        if not message:
            return
        if not os.fork():
            door.close()
            _watch(json.loads(message), fds)
            return
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _watch(request: dict[str, Any], fds: list[int]) -> None:
    """Fork once more: this process says how that one ends."""
    *streams, status = fds
    if pid := os.fork():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.write(status, b"%20d" % pid)
        for fd in (*streams, 0, 1, 2):
            os.close(fd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(status, b"%20d" % code)
        os._exit(0)
    os.close(status)
    _become(request, streams)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    if request["session"]:
        os.setsid()
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    for stream in streams:
        if stream > 2:
            os.close(stream)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path.insert(0, request["cwd"])
    sys.argv = [request["how"], *request["arguments"]]
    if request["how"] == "-m":
        runpy.run_module(request["what"], run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = program = types.ModuleType("__main__")
        exec(compile(request["what"], "<string>", "exec"), program.__dict__)


if __name__ == "__main__":
    main()
