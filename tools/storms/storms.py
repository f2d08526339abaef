"""The storms: processes killed outright, a disk that fills, reading that fails."""

from __future__ import annotations

import abc
import contextlib
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

from tools.storms.processes import Start, below, kill, seconds_until_gone

SLOW_SECONDS = 60.0
"""Nothing of a run may be left so long after it was struck."""
_NOTHING_LEFT = (0, 0, 0, 4 << 10, 64 << 10, 1 << 20, 8 << 20)
"""Bytes that a full disk may have left: a small file still fits, a large one does not."""
_EARLY, _LOOK_SECONDS = 0.25, 0.2
_FULL_SECONDS = (0.2, 8.0)


class Storm(abc.ABC):
    """Acts on a command while that works. What is drawn comes from a seed; when it strikes depends on the machine."""

    name: str

    def __init__(self, folder: Path, seed: int, most: int, every: float) -> None:
        """Plan a storm.

        Args:
            folder: what it needs for itself goes there.
            seed: of all that it draws.
            most: after so many events it is over.
            every: seconds between two events, on average.
        """
        self.folder, self.random, self.most, self.every = folder, random.Random(seed), most, every
        self.events = 0
        self.slowest = 0.0
        """The longest time, in seconds, from an event to the end of what it struck: of all that was killed, or of a
        command that failed while the disk was full or after the last read error that it met."""

    @property
    def is_over(self) -> bool:
        """Whether it has done all that it was to do."""
        return self.events >= self.most

    def place(self, name: str) -> Path:
        """Return the folder for a round's results."""
        return self.folder / name

    def env(self, data: Path) -> dict[str, str]:
        """Return what the command's environment needs for the storm to reach it."""
        return {}

    @abc.abstractmethod
    def act(self, start: Start, out: Path) -> list[str]:
        """Act until the command, which works in `out`, ends or the storm is over; return what is wrong with it."""

    def _wait(self, start: Start, out: Path) -> bool:
        """Let the command work for a while, mostly counted from its first sign of life; return whether it still does.

        Else most of a storm would fall on a start's imports, which take the longer the busier a machine is.
        """
        began = time.time()
        if self.random.random() >= _EARLY:
            while not has_begun(out, began) and start.sleep(_LOOK_SECONDS):
                pass
        return start.sleep(self.random.uniform(0.0, 2.0 * self.every))


def has_begun(out: Path, since: float) -> bool:
    """Whether anything in `out` has been written since then, but locks, logs and data."""
    for parent, folders, files in os.walk(out):
        folders[:] = [name for name in folders if name != "data"]
        for name in files:
            with contextlib.suppress(OSError):
                if name not in (".lock", "log.txt") and Path(parent, name).stat().st_mtime >= since:
                    return True
    return False


class Kills(Storm):
    """SIGKILL to the command, to one process below it, to all of these, or to everything at once."""

    name = "kills"

    def act(self, start: Start, out: Path) -> list[str]:
        """Strike at random moments, the same start several times where it goes on."""
        problems = []
        while not self.is_over and self._wait(start, out):
            tree = below(start.pid)
            struck = self.random.choice(([start.pid], self.random.sample(tree, min(len(tree), 1)), tree, None))
            victims = [start.pid, *tree] if struck is None else struck
            if not victims:
                continue
            # Whoever started a victim is told, and may go on; what a victim has started must end with it.
            doomed = {process for victim in victims for process in (victim, *below(victim))}
            kill(victims)
            self.events += 1
            seconds = seconds_until_gone(doomed, SLOW_SECONDS)
            self.slowest = max(self.slowest, SLOW_SECONDS if seconds is None else seconds)
            if seconds is None:
                problems.append(f"a process outlived a kill by more than {SLOW_SECONDS:g} s")
        return problems


class FullDisk(Storm):
    """The results lie on a disk of their own, which fills and is emptied again."""

    name = "disk"

    def __init__(self, folder: Path, seed: int, most: int, every: float, size_mib: int) -> None:
        super().__init__(folder, seed, most, every)
        self._disk = folder / "disk"
        self._disk.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", self._disk], check=True)

    def place(self, name: str) -> Path:
        """Return a folder on the small disk."""
        return self._disk / name

    def act(self, start: Start, out: Path) -> list[str]:
        """Fill the disk at random moments, and leave it full for a while."""
        ballast, filled = self._disk / "ballast", time.monotonic()
        while not self.is_over and self._wait(start, out):
            spared = self.random.choice(_NOTHING_LEFT)
            self.events, filled = self.events + 1, time.monotonic()
            with ballast.open("wb") as file:
                until = self.random.uniform(*_FULL_SECONDS)
                while until > 0 and start.status is None:  # what a failed write gives back is taken, too
                    free = shutil.disk_usage(self._disk).free - spared
                    with contextlib.suppress(OSError):
                        os.posix_fallocate(file.fileno(), file.tell(), max(free, 0))
                        file.seek(max(free, 0), os.SEEK_CUR)
                    start.sleep(0.05)
                    until -= 0.05
            ballast.unlink()
            if start.status:
                self.slowest = max(self.slowest, time.monotonic() - filled)
        return []


class ReadErrors(Storm):
    """Opening, reading or looking at a file of the data fails now and then with EIO or ESTALE."""

    name = "reads"

    def __init__(self, folder: Path, seed: int, most: int, every: float) -> None:
        super().__init__(folder, seed, most, every)
        self._library, self.log = folder / "read_errors.so", folder / "read_errors.log"
        folder.mkdir(parents=True, exist_ok=True)
        source = Path(__file__).with_name("read_errors.c")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", self._library, source, "-ldl"], check=True)

    def env(self, data: Path) -> dict[str, str]:
        """Return another rate for each start: some meet an error before any job begins, some in one job alone."""
        self.log.unlink(missing_ok=True)
        return {
            "LD_PRELOAD": str(self._library),
            "STORM_ROOT": str(data),
            "STORM_LOG": str(self.log),
            "STORM_SEED": str(self.random.getrandbits(32)),
            "STORM_RATE": str(10 ** self.random.uniform(-4.5, -2.5)),
        }

    def act(self, start: Start, out: Path) -> list[str]:
        """Wait for the end; an error that was met must be told."""
        start.sleep(float("inf"))
        met = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        self.events += len(met)
        if met and start.status:
            self.slowest = max(self.slowest, time.time() - self.log.stat().st_mtime)
        said = start.said()
        if met and start.status == 0 and not any(word in said for word in ("Input/output error", "Stale file handle")):
            return [f"nothing was said of: {'; '.join(line.split(' ', 1)[1] for line in met[:3])}"]
        return []
