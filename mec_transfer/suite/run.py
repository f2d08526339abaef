"""Runs a suite: what has a number is left alone, what failed or is missing is run, each job in its own process."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from mec_transfer.common.errors import DataError, RunError, UserError
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
    PlannedBenchmark,
    PlannedJob,
    RunOptions,
    forget_superseded_failures,
    plan_benchmarks,
    plan_blocked_jobs,
    plan_jobs,
    plan_pretrainings,
)
from mec_transfer.suite.process import ChildStopped, last_line, run_child
from mec_transfer.suite.registry import make_benchmark


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to."""

    board: Leaderboard
    """Of everything in the out folder."""
    jobs: int
    failed: int


def show_plan(suite: SuiteConfig, source: Path, options: RunOptions) -> None:
    """Say what `run_suite` would do, without doing it. Raises UserError as that does."""
    data_root = _data_root(suite, source, options)
    if suite.demo_world and not (options.out / "data").exists():
        names = ", ".join(f"'{name}'" for name in suite.models)
        say(f"plan: draw the demo world in {options.out / 'data'}, then {len(suite.benchmarks)} benchmarks of {names}")
        return
    _Run.plan(suite, source, options, data_root).show_plan()


def run_suite(suite: SuiteConfig, source: Path, options: RunOptions) -> Outcome:
    """Run every job of `suite` (read from `source`) that has no number yet, and leave leaderboard.* in the out folder.

    A job that fails is a failure on the leaderboard; the others go on.

    Raises:
        UserError: the suite, a checkpoint or all of the data is wrong, or another run uses the folder.
    """
    with folder_lock(options.out, "running a suite here"):
        data_root = _data_root(suite, source, options)
        if suite.demo_world:
            from mec_transfer.demo_world.world import write_demo_world

            write_demo_world(options.out / "data", suite.demo_world.seed)
        return _Run.plan(suite, source, options, data_root).go()


def _data_root(suite: SuiteConfig, source: Path, options: RunOptions) -> Path | None:
    """Return the folder that the data sets' folders lie in."""
    given = options.data_root
    if suite.demo_world and given:
        raise UserError(f"{source}: makes its own data; leave out --data-root")
    if given and not given.is_dir():
        raise UserError(f"--data-root {given}: no such folder")
    return options.out / "data" if suite.demo_world else given


@dataclasses.dataclass(kw_only=True)
class _Run:
    """A run that is planned."""

    suite: SuiteConfig
    options: RunOptions
    reader: ModelReader
    opened: OpenedData
    benchmarks: list[PlannedBenchmark]
    pretrainings: dict[str, Pretraining]
    jobs: list[PlannedJob] = dataclasses.field(default_factory=list)

    @classmethod
    def plan(cls, suite: SuiteConfig, source: Path, options: RunOptions, data_root: Path | None) -> _Run:
        """Open the data, read the weights that are there, and check every job that is still to run."""
        opened = OpenedData(options.out)
        run = cls(
            suite=suite,
            options=options,
            reader=ModelReader(Memory.read(options.out / "memory.json", write=not options.dry_run)),
            opened=opened,
            benchmarks=plan_benchmarks(suite, source, options, data_root, opened),
            pretrainings=plan_pretrainings(suite, source, options, data_root),
        )
        run.jobs = [job for name in suite.models if name not in run.pretrainings for job in run._jobs_of(name)]
        opened.close()
        return run

    def _jobs_of(self, name: str, problem: str = "") -> list[PlannedJob]:
        if problem:
            return plan_blocked_jobs(name, self.benchmarks, self.options, problem)
        model = self.suite.models[name]
        checkpoint = str(self.pretrainings[name].checkpoint) if name in self.pretrainings else model.checkpoint or ""
        info = self.reader.identify(name, checkpoint, model.encoder)
        jobs = plan_jobs(info, checkpoint, model.encoder, self.benchmarks, self.options)
        return [self._checked(job) for job in jobs]

    def _checked(self, job: PlannedJob) -> PlannedJob:
        """Ask the benchmark what is wrong, for a job that is still to run."""
        if job.problem or job.state() == "done":
            return job
        spec = job.spec
        try:
            data = self.opened.open(spec.config.dataset, spec.data)
            backbone = self.reader.backbone(spec.checkpoint, spec.encoder)
            problems = make_benchmark(spec.config).check(spec.job(backbone, data))
        except DataError as error:  # it was sound when the run began
            return dataclasses.replace(job, problem=str(error))
        errors = [problem.message for problem in problems if problem.severity == "error"]
        return dataclasses.replace(job, problem="; ".join(errors)) if errors else job

    def show_plan(self) -> None:
        """Say what is done, what is to run, and what cannot run."""
        states = [job.state() for job in self.jobs]
        counted = ", ".join(f"{states.count(state)} {state}" for state in ("done", "to run", "failed before"))
        say(f"plan: {len(self.jobs)} jobs: {counted}")
        for note in dict.fromkeys(entry.note for entry in self.benchmarks if entry.note):
            warn(note)
        for job, state in zip(self.jobs, states, strict=True):
            say(f"  {job.title}: {f'cannot run: {job.problem}' if job.problem else state}")
        trials = sum(entry.trials for entry in self.benchmarks)
        for pretraining in self.pretrainings.values():
            say(f"  {pretraining.name}: pretraining by {pretraining.config.stem}, then {trials} jobs")

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
        self.jobs.sort(key=lambda job: order.index(job.spec.model.name))
        forget_superseded_failures(self.jobs)
        failed = 0
        for number, job in enumerate(self.jobs, 1):
            failed += not self._finish(job, f"[{number}/{len(self.jobs)}] {job.title}")
        board = write_leaderboard(self.options.out)
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
        command = [sys.executable, "-m", "mec_transfer.suite.child", str(job.spec.write())]
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
        record = job.spec.failed_record(" ".join(reason.split()))
        job.spec.write()
        write_record(job.folder, record)
        return record


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
    store = Store.read(out)
    for problem in store.problems:
        warn(problem)
    board = build_leaderboard(store.records, load_references())
    for form in FORMATS:
        write_text(out / f"leaderboard.{form}", format_leaderboard(board, form))
    return board
