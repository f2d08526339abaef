"""What the tests' tasks do."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    what, *rest = arguments
    if what == "say":
        print(*rest, os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("OMP_NUM_THREADS") or None, flush=True)
    if what == "meet":  # ends when its partner has come too
        folder, mine, partner = Path(rest[0]), rest[1], rest[2]
        (folder / mine).touch()
        while not (folder / partner).exists():
            time.sleep(0.01)
    if what == "in parts":
        for part in ("the first half", " and the second\n", "no end"):
            os.write(1, part.encode())
            time.sleep(0.3)  # longer than a launcher waits between two looks
    if what == "fail":
        print("error: broken", file=sys.stderr)
        return 1
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "kill warm":
        time.sleep(0.5)  # so that it has said that this task has started
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if what in ("hang", "deaf"):
        if what == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("hanging", flush=True)
        time.sleep(600)
    if what == "parent":
        print(os.getppid(), os.getpid(), flush=True)
        time.sleep(1)
    if what == "rank":
        os.write(1, f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\n".encode())  # in one piece
    if what == "save":  # when it is asked to stop, which the first asks once both are ready
        folder, rank = Path(rest[0]), int(os.environ["RANK"])
        signal.signal(signal.SIGUSR1, lambda *_: os.write(1, f"saved {rank}\n".encode()) and sys.exit(138))
        (folder / str(rank)).touch()
        while not all((folder / one).exists() for one in "01"):
            time.sleep(0.01)
        if rank == 0:
            os.kill(os.getppid(), signal.SIGUSR1)
        time.sleep(60)
    if what == "session":
        print(os.getsid(0) == os.getpid(), os.getppid(), sys.stdin.read() == "", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
