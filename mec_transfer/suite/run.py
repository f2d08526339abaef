"""Runs a suite: what has a number is left alone, what failed or is missing is run, each job in its own process."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from mec_transfer.benchmark import Job
from mec_transfer.common import extras
from mec_transfer.common.errors import DataError, MissingExtra, RunError, UserError
from mec_transfer.common.files import write_text
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.processes import describe_status
from mec_transfer.common.progress import say, warn
from mec_transfer.results.formats import FORMATS, format_leaderboard
from mec_transfer.results.leaderboard import Leaderboard, build_leaderboard
from mec_transfer.results.record import RECORD_NAME, Record, write_record
from mec_transfer.results.references import load_references
from mec_transfer.results.store import Store
from mec_transfer.suite.config import SuiteConfig
from mec_transfer.suite.memory import Memory
from mec_transfer.suite.models import ModelReader, Pretraining
from mec_transfer.suite.opened import OpenedData
from mec_transfer.suite.plan import (
    PlannedJob,
    below_root,
    forget_superseded_failures,
    plan_benchmarks,
    plan_blocked_jobs,
    plan_jobs,
)
from mec_transfer.suite.process import ChildStopped, last_line, run_child
from mec_transfer.suite.spec import JobSpec

TASK_NAME = "task.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run a suite, as opposed to what is in it."""

    out: Path
    data_root: Path | None = None
    device: str = "auto"
    workers: int = 0
    seed: int = 0
    skip_invalid: bool = False
    """Leave broken annotations of data sets with objects out."""
    dry_run: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to."""

    board: Leaderboard
    """Of everything in the out folder."""
    jobs: int
    failed: int


def show_plan(suite: SuiteConfig, source: Path, options: RunOptions) -> None:
    """Say what `run_suite` would do, without doing it. Raises UserError as that does."""
    if suite.demo_world and not (options.out / "data").exists():
        names = ", ".join(f"'{name}'" for name in suite.models)
        say(f"plan: draw the demo world in {options.out / 'data'}, then {len(suite.benchmarks)} benchmarks of {names}")
        return
    _Run(suite, source, options).show_plan()


def run_suite(suite: SuiteConfig, source: Path, options: RunOptions) -> Outcome:
    """Run every job of `suite` (read from `source`) that has no number yet, and leave leaderboard.* in the out folder.

    A job that fails is a failure on the leaderboard; the others go on.

    Raises:
        UserError: the suite, a checkpoint or all of the data is wrong, or another run uses the folder.
    """
    with folder_lock(options.out, "running a suite here"):
        return _Run(suite, source, options).go()


class _Run:
    def __init__(self, suite: SuiteConfig, source: Path, options: RunOptions) -> None:
        self.suite, self.source, self.options = suite, source, options
        self.out = options.out
        memory = Memory(self.out / "memory.json", write=not options.dry_run)
        self.reader = ModelReader(memory)
        data_root = self._data_root()
        self.opened = OpenedData(self.out)
        self.benchmarks = plan_benchmarks(suite, source, data_root, memory, self.opened, options.skip_invalid)
        self.pretrainings = {
            name: Pretraining(name, model, below_root(model.data or "", data_root, source), self.out)
            for name, model in suite.models.items()
            if model.pretrain
        }
        self.jobs = [job for name in suite.models if name not in self.pretrainings for job in self._jobs_of(name)]
        self.opened.close()

    def _data_root(self) -> Path | None:
        demo, given = self.suite.demo_world, self.options.data_root
        if demo is None:
            if given and not given.is_dir():
                raise UserError(f"--data-root {given}: no such folder")
            return given
        if given:
            raise UserError(f"{self.source}: makes its own data; leave out --data-root")
        if not self.options.dry_run:
            from mec_transfer.demo_world.world import write_demo_world

            write_demo_world(self.out / "data", demo.seed)
        return self.out / "data"

    def _jobs_of(self, name: str, problem: str = "") -> list[PlannedJob]:
        seed = self.options.seed
        if problem:
            return plan_blocked_jobs(name, self.benchmarks, self.out, seed, problem)
        model = self.suite.models[name]
        checkpoint = str(self.pretrainings[name].checkpoint) if name in self.pretrainings else model.checkpoint or ""
        info = self.reader.identify(name, checkpoint, model.encoder)
        jobs = plan_jobs(info, checkpoint, model.encoder, self.benchmarks, self.out, seed)
        return [self._checked(job) for job in jobs]

    def _checked(self, job: PlannedJob) -> PlannedJob:
        """Ask the benchmark what is wrong, for a job that is still to run."""
        if job.problem or job.state() == "done":
            return job
        try:
            problems = job.entry.load().check(self._job(job))
        except (DataError, MissingExtra) as error:  # data that was sound when the run began, or a family's libraries
            return dataclasses.replace(job, problem=str(error))
        errors = [problem.message for problem in problems if problem.severity == "error"]
        return dataclasses.replace(job, problem="; ".join(errors)) if errors else job

    def _job(self, job: PlannedJob) -> Job:
        return Job(
            model_name=job.identity.model.name,
            backbone=self.reader.backbone(job.checkpoint, job.encoder),
            data=self.opened.open(job.identity.config.dataset, job.entry.data),
            dataset=job.identity.dataset,
            workdir=job.folder,
            cache=self.out / "cache",
            trial=job.identity.trial,
            seed=job.identity.seed,
            device=self.options.device,
            workers=self.options.workers,
        )

    def show_plan(self) -> None:
        """Say what is done, what is to run, and what cannot run."""
        states = [job.state() for job in self.jobs]
        counted = ", ".join(f"{states.count(state)} {state}" for state in ("done", "to run", "failed before"))
        say(f"plan: {len(self.jobs)} jobs: {counted}")
        for note in dict.fromkeys([*(entry.note for entry in self.benchmarks), *self._lacking()]):
            if note:
                warn(note)
        for job, state in zip(self.jobs, states, strict=True):
            say(f"  {job.title}: {f'cannot run: {job.problem}' if job.problem else state}")
        trials = sum(entry.trials for entry in self.benchmarks)
        for pretraining in self.pretrainings.values():
            say(f"  {pretraining.name}: pretraining by {pretraining.config.stem}, then {trials} jobs")

    def _lacking(self) -> list[str]:
        """What the jobs of a model that is yet to be pretrained will lack: to be told before, not after hours."""
        families = {entry.config.family for entry in self.benchmarks} if self.pretrainings else set()
        return [extras.lacking(family) for family in sorted(families & extras.PARTS.keys())]

    def go(self) -> Outcome:
        """Pretrain, run the jobs, write the leaderboard."""
        self.show_plan()
        stopped = 0
        for name, pretraining in self.pretrainings.items():
            try:
                self.jobs += self._jobs_of(name, self._pretrain(pretraining))
                self.opened.close()
            except ChildStopped as stop:
                say(f"  STOPPED  {stop}")
                stopped += sum(entry.trials for entry in self.benchmarks)
        order = list(self.suite.models)
        self.jobs.sort(key=lambda job: order.index(job.identity.model.name))
        forget_superseded_failures(self.jobs)
        failed = 0
        for number, job in enumerate(self.jobs, 1):
            failed += not self._finish(job, f"[{number}/{len(self.jobs)}] {job.title}")
        board = write_leaderboard(self.out)
        return Outcome(board=board, jobs=len(self.jobs) + stopped, failed=failed + stopped)

    def _pretrain(self, pretraining: Pretraining) -> str:
        """Pretrain; return what went wrong, or ""."""
        say(f"pretraining {pretraining.name} ({pretraining.config.stem})")
        try:
            pretraining.run(self.options.device, self.options.workers, self.options.seed)
        except RunError as error:
            say(f"  FAILED  {error}")
            return str(error)
        return ""

    def _finish(self, job: PlannedJob, title: str) -> bool:
        """Bring one job to a record; return whether that holds a number."""
        if job.state() == "done":
            say(f"{title}: done before")
            return True
        say(title)
        try:
            record = self._fail(job, job.problem) if job.problem else self._run_child(job)
        except ChildStopped as stop:
            say(f"    STOPPED  {stop}")
            return False
        if record.status == "ok":
            say(f"    {record.primary} {record.metrics[record.primary]:.2f}  ({record.seconds:.0f} s)")
            return True
        say(f"    FAILED  {record.error}")
        return False

    def _run_child(self, job: PlannedJob) -> Record:
        before = _stamp(job.folder / RECORD_NAME)
        self._spec(job).write(job.folder / TASK_NAME)
        command = [sys.executable, "-m", "mec_transfer.suite.child", str(job.folder / TASK_NAME)]
        log = job.folder / "log.txt"
        status = run_child(command, log, _show)
        record = job.record()
        if record and (record.status == "ok" or _stamp(job.folder / RECORD_NAME) != before):
            return record
        if status < 0:
            return self._fail(job, describe_status(status))
        said = last_line(log).removeprefix("error: ")
        return self._fail(job, said if status == 1 and said else f"{describe_status(status)}; {said or 'no output'}")

    def _fail(self, job: PlannedJob, reason: str) -> Record:
        record = job.identity.failed_record(" ".join(reason.split()))
        job.identity.write(job.folder)
        write_record(job.folder, record)
        return record

    def _spec(self, job: PlannedJob) -> JobSpec:
        return JobSpec(
            key=job.identity.key,
            model_name=job.identity.model.name,
            checkpoint=job.checkpoint,
            encoder=job.encoder,
            benchmark=str(job.entry.path.resolve()),
            overrides=job.entry.overrides,
            data=str(job.entry.data),
            index=str(self.opened.index_file(job.entry.data)),
            dataset=job.identity.dataset,
            trial=job.identity.trial,
            seed=job.identity.seed,
            device=self.options.device,
            workers=self.options.workers,
            workdir=str(job.folder),
            cache=str(self.out / "cache"),
        )


def _show(line: str) -> None:
    if not line.startswith("error: "):  # the last one, which is told as the job's failure
        say(f"    {line}")


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def write_leaderboard(out: Path) -> Leaderboard:
    """Write leaderboard.md, .csv and .json in `out` from the records below it, and return what they show."""
    store = Store(out)
    for problem in store.problems:
        warn(problem)
    board = build_leaderboard(store.records, load_references())
    for form in FORMATS:
        write_text(out / f"leaderboard.{form}", format_leaderboard(board, form))
    return board
