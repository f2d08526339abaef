"""Runs one job in its own folder: never over another job's results, never a second time, never twice at once."""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from pathlib import Path
from typing import Any

from mec_transfer.benchmark import TRAINING_NAME, Benchmark, Job
from mec_transfer.common import distributed, runtime
from mec_transfer.common.errors import RunError, UserError, tell
from mec_transfer.common.exhaustion import what_ran_out
from mec_transfer.common.files import read_json, write_text
from mec_transfer.common.interrupt import interruption_behind
from mec_transfer.common.lock import LOCK_NAME, folder_lock
from mec_transfer.common.progress import warn
from mec_transfer.results.record import RECORD_NAME, Record, read_record, write_record
from mec_transfer.results.store import JOB_NAME
from mec_transfer.suite.spec import JobSpec
from mec_transfer.suite.takeover import explain_other_training, holds_same_training

TRACEBACK_NAME = "traceback.txt"
_WORTHLESS = {JOB_NAME, RECORD_NAME, TRACEBACK_NAME, LOCK_NAME, TRAINING_NAME, "cache"}
"""Files of a failed job that may be overwritten. `cache` (of a single command) serves any job; the identity of a
training is useless without its state."""


def execute_job(spec: JobSpec, benchmark: Benchmark, job: Job) -> Record:
    """Run the `job` that `spec` describes, or return the ok record that its folder already holds.

    A mistake that `check` finds leaves nothing behind; any later failure leaves a failed record, which the next call
    replaces. An interrupted or killed job leaves no record: it is simply not finished. Under torchrun every rank calls
    this and returns the same record; rank 0 alone writes it, but each rank writes its own failure.

    Raises:
        UserError: the folder holds another job or is in use, the check found an error, or the run did.
        RunError: the run failed.
    """
    with _other_ranks(job), contextlib.ExitStack() as held:
        found, warnings = distributed.on_first(lambda: _open_workdir(spec, benchmark, job, held))
        return found or _run(spec, benchmark, job, warnings)


def _other_ranks(job: Job) -> contextlib.AbstractContextManager[None]:
    if distributed.world_size() == 1:
        return contextlib.nullcontext()
    return distributed.process_group(runtime.pick_device(job.device))


def _open_workdir(
    spec: JobSpec, benchmark: Benchmark, job: Job, held: contextlib.ExitStack
) -> tuple[Record | None, list[str]]:
    """Return the record that exists already; else lock the folder for this job and return the check's warnings."""
    finished = finished_record(spec, benchmark, job)
    if finished:
        return finished, []
    problems = benchmark.check(job)
    errors = [problem.message for problem in problems if problem.severity == "error"]
    if errors:
        raise UserError("; ".join(errors))
    held.enter_context(folder_lock(job.workdir, "running this job"))
    finished = finished_record(spec, benchmark, job)  # another process may have finished it while this one waited
    if finished is None:
        spec.write()
    warnings = [problem.message for problem in problems]
    for warning in warnings:
        warn(warning)
    return finished, warnings


def finished_record(spec: JobSpec, benchmark: Benchmark, job: Job) -> Record | None:
    """Return the job's ok record, or None if its folder has none yet.

    A record that cannot be read causes a warning, and the job counts as not finished.

    Raises:
        UserError: the folder holds another job.
    """
    key, folder = spec.key, job.workdir
    if (folder / JOB_NAME).exists():
        there = read_json(folder / JOB_NAME)
        mine = isinstance(there, dict) and there.get("key") == key
        if not mine and not _is_mere_failure(folder) and not holds_same_training(benchmark, job):
            more = explain_other_training(benchmark, job)
            raise UserError(f"{folder}: holds another job ({_describe(there)}); choose another --out{more}")
    elif (folder / RECORD_NAME).exists():
        raise UserError(f"{folder}: holds a {RECORD_NAME} without its {JOB_NAME}; choose another --out")
    if not (folder / RECORD_NAME).exists():
        return None
    try:
        record = read_record(folder)
    except UserError as error:
        warn(f"{error}; the job is run again")
        return None
    return record if record.status == "ok" else None


def _is_mere_failure(folder: Path) -> bool:
    """Whether the folder holds only a failed job without number and state, so that --out may be used again."""
    try:
        failed = read_record(folder).status == "failed"
    except UserError:
        return False
    return failed and {path.name for path in folder.iterdir()} <= _WORTHLESS


def _describe(identity: Any) -> str:
    try:
        model, benchmark = identity["model"], identity["benchmark"]
        parts = f"{benchmark['protocol']} of {model['name']} {model['sha256'][:8]}"
        return f"{parts} on data {identity['dataset']['fingerprint'][:8]}, trial {identity['trial']}"
    except (KeyError, TypeError):
        return f"its {JOB_NAME} was not written by this program"


def _run(spec: JobSpec, benchmark: Benchmark, job: Job, warnings: list[str]) -> Record:
    began = time.monotonic()
    try:
        record = benchmark.run(job)
        _require_finite(record)
    except Exception as error:
        if interruption := interruption_behind(error):
            raise interruption from None
        if not distributed.lost_partner(error):  # the process that failed or was stopped reports the reason
            _leave_failure(spec, warnings, error, time.monotonic() - began)
        if isinstance(error, UserError | RunError) or distributed.lost_partner(error):
            raise
        raise RunError(f"{_in_words(error)} (see {job.workdir / TRACEBACK_NAME})") from error
    details = {**record.details, "peak_memory_bytes": runtime.peak_memory()}
    if on_gpu := runtime.peak_gpu_memory():
        details["peak_gpu_memory_bytes"] = on_gpu
    record = record.model_copy(update={"warnings": [*warnings, *record.warnings], "details": details})
    if distributed.rank() == 0:
        write_record(job.workdir, record)
        (job.workdir / TRACEBACK_NAME).unlink(missing_ok=True)
        benchmark.finished(job)
    return record


def _require_finite(record: Record) -> None:
    if record.primary not in record.metrics:
        raise RunError(f"the run measured no '{record.primary}', only {', '.join(sorted(record.metrics)) or 'none'}")
    for name, value in record.metrics.items():
        if not math.isfinite(value):
            raise RunError(f"metric '{name}' is {value}: the run diverged")


def _leave_failure(spec: JobSpec, warnings: list[str], error: Exception, seconds: float) -> None:
    about = {"warnings": warnings, "seconds": round(seconds, 3), "hardware": runtime.hardware()}
    record = spec.failed_record(_in_words(error)).model_copy(update=about)
    try:
        write_text(spec.workdir / TRACEBACK_NAME, "".join(traceback.format_exception(error)))
        write_record(spec.workdir, record)
    except RunError as second:
        warn(f"the failure could not be recorded: {second}")


def _in_words(error: Exception) -> str:
    """Return in one line what went wrong: a failure of the machine, or the text of an exception, with its type."""
    if line := what_ran_out(error):
        return line
    text = tell(error)
    if isinstance(error, UserError | RunError) or (isinstance(error, OSError) and error.filename is not None):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
