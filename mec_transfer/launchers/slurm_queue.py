"""What SLURM says about a user's jobs, in one query for all of them."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Collection, Sequence

from mec_transfer.common.errors import one_line

Place = tuple[str, int]
"""A job: the unique name of its array, and its number in the array."""

_CALL_SECONDS = 60.0
_OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}


class NoAnswer(Exception):
    """SLURM does not answer, or refuses to; it may answer later."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A job as SLURM knows it."""

    id: str
    """The id that scancel and sacct take: 12, or 12_3 in an array."""
    state: str
    why: str = ""
    """Why it waits."""

    @property
    def over(self) -> bool:
        """Whether it has ended for good: SLURM will not start it again."""
        return self.state in _OVER


def queued_jobs() -> dict[Place, Entry]:
    """Return the user's jobs that wait or run, and those that ended some minutes ago. Raises NoAnswer."""
    form = "--format=%F|%K|%T|%r|%j"
    lines = call(["squeue", "--me", "--array", "--states=all", "--noheader", form]).splitlines()
    found = {}
    for array, number, state, why, name in (line.split("|", 4) for line in lines if line.count("|") >= 4):
        element = number.isdigit()
        entry = Entry(id=f"{array}_{number}" if element else array, state=state, why=why)
        found[name.strip(), int(number) if element else 0] = entry
    return found


def ended_jobs(names: Collection[str], since: float) -> dict[Place, Entry]:
    """Return how the jobs of some arrays have ended, if the cluster keeps accounts; otherwise nothing.

    Args:
        names: the names of the arrays.
        since: when the first of them was submitted (as time.time() gives it).
    """
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 86400))  # clocks differ
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--name={','.join(sorted(names))}"]
    try:
        lines = call([*command, f"--starttime={start}", "--format=JobID,State,JobName"]).splitlines()
    except NoAnswer:
        return {}
    found = {}
    for job, state, name in (line.split("|", 2) for line in lines if line.count("|") >= 2):
        number = job.partition("_")[2] or "0"
        if number.isdigit():  # not a range of those that wait
            found[name, int(number)] = Entry(id=job, state=state.partition(" ")[0])  # "CANCELLED by 1000"
    return found


def call(command: Sequence[str]) -> str:
    """Return the output of a SLURM command. Raises NoAnswer, with its error message, if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_CALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(one_line(error)) from None
    if done.returncode:
        raise NoAnswer(" ".join(done.stderr.split()) or f"{command[0]}: exit status {done.returncode}")
    return done.stdout
