"""What Linux's control groups leave to this process: containers, jobs of SLURM and services have limits of their own.

A limit may be set on the process's own group or on any group around it, in the files of either version of control
groups (Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_OWN_GROUPS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_MEMORY_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_MEMORY_2 = ("memory.max", "memory.current", "inactive_file")
"""The files of a group's limit and of what it takes, and the line of its memory.stat about files that were read."""


def memory_left() -> int | None:
    """Return the fewest bytes that this process's control group may still take, or a group around it; None: no limit.

    What files that were read take counts as taken there, but the kernel gives it up for anything else: a container that
    has read a data set is not full.
    """
    return min((left for group, version in _groups("memory") for left in _memory_left(group, version)), default=None)


def cpu_quota() -> float | None:
    """Return how many cores' time this process's control group may take, or a group around it; None: no limit.

    This is what `docker run --cpus` sets. The process still sees every core of the machine.
    """
    return min((quota for group, version in _groups("cpu") for quota in _cpu_quota(group, version)), default=None)


def _groups(controller: str) -> Iterator[tuple[Path, int]]:
    """Yield the process's own group for a controller and each group around it, with the version of their files."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = _GROUPS / controller if controllers else _GROUPS
        own = top / path.lstrip("/")
        for group in (own, *own.parents[: len(own.parts) - len(top.parts)]):
            yield group, 1 if controllers else 2


def _memory_left(group: Path, version: int) -> Iterator[int]:
    limit, used, files = _MEMORY_1 if version == 1 else _MEMORY_2
    try:
        stat = re.search(rf"^{files} (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
        given_up = int(stat[1]) if stat else 0
        yield int((group / limit).read_text()) - int((group / used).read_text()) + given_up
    except (OSError, ValueError):  # a container does not see the groups around it, and "max" is no limit
        return


def _cpu_quota(group: Path, version: int) -> Iterator[float]:
    try:
        if version == 1:
            quota, period = (int((group / f"cpu.cfs_{what}_us").read_text()) for what in ("quota", "period"))
        else:
            quota, period = map(int, (group / "cpu.max").read_text().split())
    except (OSError, ValueError):  # as above
        return
    if quota > 0 and period > 0:  # version 1 says -1 for no limit
        yield quota / period
