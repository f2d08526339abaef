"""Submits tasks as arrays of jobs, through submitit."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mec_transfer.common import extras
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.interrupt import blocked_signals
from mec_transfer.launchers.launcher import Task
from mec_transfer.launchers.slurm_job import NOTICE, Work
from mec_transfer.launchers.slurm_queue import NoAnswer

LARGEST_ARRAY = 1000
"""SLURM's default of MaxArraySize."""
_NOTICE_SECONDS = 120
"""How long before its time limit a job is told to finish its step and save."""
_NEEDED = ("sbatch", "squeue", "scontrol", "scancel", "srun")
_LATER = re.compile(r"contact slurm|socket timed out|connection (refused|reset)|zero bytes|temporarily|try again", re.I)
_OWN = {
    **dict.fromkeys(("partition", "account", "qos", "constraint", "gpus-per-node"), ""),
    "time": "time-limit",
    "cpus-per-task": "cpus",
    "array": "max-running",
    **dict.fromkeys(("job-name", "chdir", "signal", "requeue", "no-requeue", "nodes", "ntasks", "output", "error")),
    **dict.fromkeys(("ntasks-per-node", "open-mode", "wrap", "export")),
}
"""Options of sbatch that this program sets itself, with the option to use instead: "" for one of the same name, None
for none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What every job asks SLURM for."""

    minutes: int
    """The time limit of a job, after which it is stopped, requeued and resumed."""
    requeues: int = 10
    """How often a job is requeued at most."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    extra: tuple[str, ...] = ()
    """Further options of sbatch: KEY=VALUE, or KEY alone."""
    cpus: int = 8
    """How many cores each process has."""
    gpus_per_node: int = 0
    """A task that needs more GPUs takes several nodes. 0: jobs request no GPUs."""
    max_running: int | None = None
    """How many jobs may run at once, over all arrays."""

    def __post_init__(self) -> None:
        for key in self._more:
            if key in _OWN:
                instead = {None: "it is set by the launcher", "": f"use --{key}"}.get(_OWN[key], f"use --{_OWN[key]}")
                raise UserError(f"--slurm {key}: {instead}")
            if not re.fullmatch(r"[a-z][a-z-]+", key):
                raise UserError(f"--slurm {key}: must be KEY=VALUE, with a long option of sbatch as KEY")

    @property
    def _more(self) -> dict[str, str | bool]:
        pairs = (text.removeprefix("--").partition("=") for text in self.extra)
        return {key.replace("_", "-"): value if equals else True for key, equals, value in pairs}

    def parameters(self, name: str, gpus: int, at_once: int | None) -> dict[str, Any]:
        """Return submitit's parameters for an array `name` whose tasks take `gpus` each, with as many processes."""
        nodes = next(n for n in range(math.ceil(gpus / (self.gpus_per_node or gpus)), gpus + 1) if gpus % n == 0)
        notice = min(_NOTICE_SECONDS, self.minutes * 60 // 4)
        return {
            "job_name": name,
            "time": self.minutes,
            "nodes": nodes,
            "ntasks_per_node": gpus // nodes,
            "cpus_per_task": self.cpus,
            "gpus_per_node": gpus // nodes if self.gpus_per_node else None,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "wckey": None,  # submitit's own, which a cluster that keeps them does not know
            "array_parallelism": at_once or LARGEST_ARRAY,
            "stderr_to_stdout": True,
            "setup": [f"export OMP_NUM_THREADS={self.cpus}"],
            # srun does not take over the number of cores that sbatch was told.
            "srun_args": [f"--cpus-per-task={self.cpus}", "--kill-on-bad-exit=1"],
            "additional_parameters": {"signal": f"{NOTICE.name[3:]}@{notice}", "requeue": True, **self._more},
        }


def require_slurm() -> None:
    """Raise UserError if submitit is not installed, or if no job can be submitted from this machine."""
    extras.require("slurm")
    if missing := [command for command in _NEEDED if shutil.which(command) is None]:
        raise UserError(f"--launcher slurm: no {missing[0]} here; run it on a machine that can submit jobs")


def submit_array(
    options: SlurmOptions, folder: Path, name: str, tasks: Sequence[Task], at_once: int | None
) -> list[str]:
    """Submit tasks that take equally many GPUs as one array; return the id of each job.

    Args:
        options: what each job requests.
        folder: where submitit keeps its own files.
        name: a unique name for the array.
        tasks: tasks with the same number of GPUs; job number i of the array does the i-th of them.
        at_once: how many of them SLURM may start at once; None: all.

    Raises:
        NoAnswer: SLURM does not answer; it is not known whether it has received the jobs.
        UserError: SLURM refuses them, with its reason.
        RunError: the folder cannot be written.
    """
    import submitit
    from submitit.core.utils import FailedSubmissionError, UncompletedJobError

    try:
        executor = submitit.SlurmExecutor(folder=folder)
        executor.update_parameters(**options.parameters(name, tasks[0].gpus, at_once))
        # What submitit writes for the jobs comes after SLURM has them: a signal must not come between. It prints the
        # errors that it raises, too.
        with _as_in_no_job(), blocked_signals(), contextlib.redirect_stderr(io.StringIO()), executor.batch():
            jobs = [
                executor.submit(Work(task.module, task.arguments, task.log.absolute(), options.requeues))
                for task in tasks
            ]
        return [str(job.job_id) for job in jobs]
    except OSError as error:
        raise RunError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from None
    except (FailedSubmissionError, UncompletedJobError) as error:
        said = " ".join(str(error).replace("sbatch: error: ", "").split())
        if _LATER.search(said):
            raise NoAnswer(said) from None
        gpus = " (--device cpu asks for no GPUs)" if options.gpus_per_node and "generic resource" in said else ""
        raise UserError(f"SLURM refuses the jobs: {said}{gpus}") from None


@contextlib.contextmanager
def _as_in_no_job() -> Iterator[None]:
    """Hide the job that this process may itself run in, so that new jobs do not inherit its settings."""
    inside = "SLURM_JOB_ID" in os.environ
    names = [name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_")) and name != "SLURM_CONF"]
    hidden = {name: os.environ.pop(name) for name in names if inside}
    try:
        yield
    finally:
        os.environ.update(hidden)
