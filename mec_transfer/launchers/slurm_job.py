"""What a SLURM job does: a task within this process, so that SLURM's signals always reach it.

`Work` is pickled on the submitting machine and called on a node, by every process of the job.

- When the task ends, its exit status is noted in STATE_NAME beside its log.
- SIGUSR1, the notice of the time limit, makes it save and stop: the job is then requeued and resumes from there.
- SIGTERM makes it save and stop, too. SLURM sends it before it kills a job that is cancelled, or preempted and then
  requeued by SLURM itself. The process waits for the kill, since SLURM does not requeue a job that has ended by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.interrupt import raised_signals, signal_of
from mec_transfer.common.processes import end_process
from mec_transfer.common.progress import is_main_process, say, warn
from mec_transfer.launchers.launcher import run_module

STATE_NAME = "slurm_job.json"
"""The file beside a task's log with the state of its job. Removed before the job is submitted."""
NOTICE = signal.SIGUSR1
_KILL_SECONDS = 900.0
"""SLURM kills a job that it has asked to stop within this time."""
_ASK_SECONDS, _ASK_TIMES = 10.0, 6


@dataclasses.dataclass(frozen=True)
class JobState:
    """The state of a task's job, as the job noted it."""

    limits: int = 0
    """How often it was requeued at its time limit."""
    status: int | None = None
    """The task's exit status; None while the task is unfinished."""
    reason: str = ""
    """Why the job is not resumed, if the exit status does not say it."""

    @classmethod
    def read(cls, log: Path) -> JobState:
        """Read it; a job that has noted nothing yet has the initial state."""
        with contextlib.suppress(UserError, TypeError):
            return cls(**read_json(log.with_name(STATE_NAME)))
        return cls()

    def write(self, log: Path) -> None:
        """Write it for the launcher and for the job's next start."""
        write_json(log.with_name(STATE_NAME), dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Work:
    """A task for a job of SLURM."""

    module: str
    arguments: tuple[str, ...]
    log: Path
    limits: int
    """How often it may be requeued at its time limit."""

    def __call__(self) -> NoReturn:
        """Do the task, and end the process with its exit status."""
        _join_processes()
        with _output_to(self.log):
            status, reason = self._run(), ""
            if status == 128 + NOTICE:
                reason = self._go_on_later()
            elif status == 128 + signal.SIGTERM:
                time.sleep(_KILL_SECONDS)
            if is_main_process() or status not in (0, 128 + NOTICE, 128 + signal.SIGTERM):
                dataclasses.replace(JobState.read(self.log), status=status, reason=reason).write(self.log)
        end_process(status)

    def _run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGCONT):  # submitit would write about them into the log
            signal.signal(number, signal.SIG_DFL)
        try:
            with raised_signals():
                return run_module(self.module, self.arguments)
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except KeyboardInterrupt as error:  # while it still imported
            return 128 + signal_of(error)
        except Exception:
            traceback.print_exc()
            return 1

    def _go_on_later(self) -> str:
        """Requeue the job and wait until SLURM ends it; return only if SLURM does not, with the reason."""
        state = JobState.read(self.log)
        count = state.limits + 1
        if count > self.limits:
            return f"its time limit has ended it {count} times"
        if is_main_process():
            dataclasses.replace(state, limits=count).write(self.log)
            say(f"its time is up; requeued, to go on from here ({count} of at most {self.limits} times)")
            _requeue()
        time.sleep(_KILL_SECONDS)
        return "SLURM has not started it again after its time limit"


def _requeue() -> None:
    for _ in range(_ASK_TIMES):
        done = subprocess.run(
            ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
        warn(f"it could not be requeued ({' '.join(done.stderr.split())})")
        time.sleep(_ASK_SECONDS)


def _join_processes() -> None:
    """Pass what SLURM says about the processes of this job to torch.distributed; a single process does not need it."""
    environ = os.environ
    if int(environ["SLURM_NTASKS"]) == 1:
        return
    from submitit.slurm.slurm import SlurmJobEnvironment

    alone = environ["SLURM_JOB_NUM_NODES"] == "1"
    environ["MASTER_ADDR"] = "127.0.0.1" if alone else SlurmJobEnvironment().hostnames[0]
    environ["MASTER_PORT"] = str(20000 + int(environ["SLURM_JOB_ID"]) % 20000)  # of its own on a shared node
    environ["WORLD_SIZE"] = environ["SLURM_NTASKS"]
    environ["RANK"], environ["LOCAL_RANK"] = environ["SLURM_PROCID"], environ["SLURM_LOCALID"]


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Append the output of this process, and of all that it starts, to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(stream) for stream in (1, 2)]
    with log.open("ab") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        for stream, before in zip((1, 2), kept, strict=True):
            os.dup2(before, stream)
            os.close(before)
