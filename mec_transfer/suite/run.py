"""Runs a suite: jobs that have a number are left alone, all others are run, each in its own process."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mec_transfer.benchmark import job_key
from mec_transfer.common import extras
from mec_transfer.common.errors import DataError, MissingExtra, RunError, UserError, tell
from mec_transfer.common.files import write_text
from mec_transfer.common.interrupt import STOP_SIGNALS
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.processes import describe_status, last_line
from mec_transfer.common.progress import say, warn
from mec_transfer.common.runtime import available_memory, usable_cores, visible_gpus
from mec_transfer.launchers.launcher import Ended, Launcher, Task
from mec_transfer.launchers.local import LocalLauncher
from mec_transfer.launchers.slurm import SlurmLauncher
from mec_transfer.results.formats import FORMATS, format_leaderboard
from mec_transfer.results.leaderboard import Leaderboard, build_leaderboard
from mec_transfer.results.means import keep_means
from mec_transfer.results.record import RECORD_NAME, BenchmarkInfo, Record, write_record
from mec_transfer.results.references import load_references
from mec_transfer.results.store import JOB_NAME, Store
from mec_transfer.suite.config import SuiteConfig
from mec_transfer.suite.costs import as_json, describe_cost, describe_costs, peak_memory_of
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
    plan_means,
    plan_pretrainings,
    wanted_benchmarks,
)
from mec_transfer.suite.registry import benchmark_module, make_benchmark, parts_needed

if TYPE_CHECKING:
    from pretrain.outlook import Outlook

_OWN_SIGNAL_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a run."""

    board: Leaderboard
    """The leaderboard of everything in the out folder."""
    jobs: int
    failed: int


def show_plan(suite: SuiteConfig, source: Path, options: RunOptions) -> int:
    """Print what `run_suite` would do; return how many jobs cannot run. Raises UserError as it does."""
    data_root = _data_root(suite, source, options)
    if suite.demo_world and not (options.out / "data").exists():
        names = ", ".join(f"'{name}'" for name in suite.models)
        say(f"plan: draw the demo world in {options.out / 'data'}, then {len(suite.benchmarks)} benchmarks of {names}")
        return 0
    run = _Run.plan(suite, source, options, data_root)
    run.show_plan(costs=True)
    return sum(bool(job.problem) for job in run.jobs)


def write_plan(suite: SuiteConfig, source: Path, options: RunOptions) -> list[dict[str, Any]]:
    """Write the job.json of every job that `run_suite` would run, for other launchers; return what there is to do.

    Returns:
        One entry a job: `title`, `state` ("done", "to run", "failed before", "cannot run"), `job` (its job.json),
        `problem`, and for one that is to run what `costs.as_json` says, and `after`, the job.json of one that has to be
        finished first; one a model that is to be pretrained first:
        `title`, `state` ("pretrain first"), `command` and `gpus`. Its jobs are planned when its checkpoint is there.

    Raises:
        UserError: as `run_suite` does.
    """
    with folder_lock(options.out, "planning a suite here"):
        data_root = _data_root(suite, source, options)
        if suite.demo_world and not (options.out / "data").exists():
            raise UserError(f"{source}: draws its own data when it runs; there is nothing to plan before")
        run = _Run.plan(suite, source, options, data_root)
        entries: list[dict[str, Any]] = []
        for pretraining in run.pending.values():
            words = pretraining.arguments(options.device, options.workers, options.seed)
            command = shlex.join([sys.executable, "-m", "pretrain", *words])
            entry = {"title": pretraining.name, "state": "pretrain first", "command": command}
            entries.append({**entry, "gpus": run.processes(pretraining)})
        for job in run.jobs:
            state = "cannot run" if job.problem and job.state() != "done" else job.state()
            entry = {"title": job.title, "state": state, "job": str(job.folder / JOB_NAME), "problem": job.problem}
            if state in ("to run", "failed before"):
                job.spec.write()
                entry |= as_json(job, options)
                if first := job.awaits(other for other in run.jobs if other.state() != "done"):
                    entry["after"] = str(first.folder / JOB_NAME)
            entries.append(entry)
        return entries


def run_suite(suite: SuiteConfig, source: Path, options: RunOptions) -> Outcome:
    """Run every job of `suite` (read from `source`) that has no number yet, and write leaderboard.* to the out folder.

    A job that fails is shown as a failure on the leaderboard; the others go on.

    Raises:
        UserError: the suite, a checkpoint or all of the data is wrong, or another run uses the folder.
    """
    with folder_lock(options.out, "running a suite here"):
        data_root = _data_root(suite, source, options)
        if suite.demo_world:
            from mec_transfer.demo_world.world import write_demo_world

            write_demo_world(options.out / "data", suite.demo_world.seed)
        means = plan_means(suite, source)
        run = _Run.plan(suite, source, options, data_root)
        keep_means(options.out, means)
        return run.go()


def _data_root(suite: SuiteConfig, source: Path, options: RunOptions) -> Path | None:
    """Return the folder that contains the folders of the data sets."""
    given = options.data_root
    if suite.demo_world and given:
        raise UserError(f"{source}: makes its own data; leave out --data-root")
    if given and not given.is_dir():
        raise UserError(f"--data-root {given}: no such folder")
    return options.out / "data" if suite.demo_world else given


@dataclasses.dataclass(kw_only=True)
class _Run:
    """A planned run."""

    suite: SuiteConfig
    options: RunOptions
    memory: Memory
    reader: ModelReader
    opened: OpenedData
    benchmarks: list[PlannedBenchmark]
    pretrainings: dict[str, Pretraining]
    outlooks: dict[str, Outlook | None] = dataclasses.field(default_factory=dict)
    """What is known of each pretraining."""
    jobs: list[PlannedJob] = dataclasses.field(default_factory=list)
    _running: dict[Task, tuple[Pretraining | PlannedJob, tuple[int, int] | None]] = dataclasses.field(
        default_factory=dict
    )
    """The running tasks, each with the stamp that its record had before."""
    _peaks: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    """The peak memory in this run, by benchmark and architecture."""
    _begun: int = 0
    _failed: int = 0

    @classmethod
    def plan(cls, suite: SuiteConfig, source: Path, options: RunOptions, data_root: Path | None) -> _Run:
        """Open the data, read the weights that are there, and check every job that is still to run."""
        opened, memory = OpenedData(options.out), Memory.read(options.out / "memory.json")
        run = cls(
            suite=suite,
            options=options,
            memory=memory,
            reader=ModelReader(memory),
            opened=opened,
            benchmarks=plan_benchmarks(suite, source, options, data_root, opened),
            pretrainings=plan_pretrainings(suite, source, options, data_root),
        )
        run.outlooks = {name: one.look_ahead(options.seed) for name, one in run.pretrainings.items()}
        run.jobs = [job for name in suite.models if name not in run.pending for job in run._jobs_at_hand(name)]
        opened.close()
        memory.save()
        return run

    @property
    def pending(self) -> dict[str, Pretraining]:
        """The pretrainings that are not finished."""
        outlooks = ((name, self.outlooks.get(name)) for name in self.pretrainings)
        return {name: self.pretrainings[name] for name, outlook in outlooks if not (outlook and outlook.finished)}

    def _jobs_at_hand(self, name: str, problem: str = "") -> list[PlannedJob]:
        """Return the jobs of a model. If a pretraining left weights that cannot be used, only its own jobs fail.

        With `problem`, the model has no weights, and its jobs cannot run.
        """
        try:
            return self._jobs_of(name, problem)
        except UserError as error:
            if name not in self.pretrainings:
                raise
            return self._jobs_of(name, str(error))

    def _jobs_of(self, name: str, problem: str = "") -> list[PlannedJob]:
        if problem:
            return plan_blocked_jobs(name, self.benchmarks, self.options, problem)
        model = self.suite.models[name]
        checkpoint = str(self.pretrainings[name].checkpoint) if name in self.pretrainings else model.checkpoint or ""
        info = self.reader.identify(name, checkpoint, model.encoder)
        jobs = plan_jobs(info, checkpoint, model.encoder, self.benchmarks, self.options)
        # A job that waits for another job of this run cannot be checked before that one is done.
        ahead = [job for job in jobs if job.state() != "done"]
        return [job if job.awaits(ahead) else self._checked(job) for job in jobs]

    def _checked(self, job: PlannedJob) -> PlannedJob:
        """Let the benchmark check a job that is still to run.

        That it found nothing is remembered for all trials: another check would import the family and torch and read the
        weights, which takes seconds. The job is checked again when it begins, so that later problems, such as a full
        disk, are found too.
        """
        spec = job.spec
        key = job_key(spec.model.sha256, spec.benchmark.config_sha256, spec.dataset.fingerprint, trial=0, seed=0)
        sound = "check", [key, spec.device, str(spec.data), str(spec.cache)]
        if job.problem or job.state() == "done" or self.memory.recall(f"check {key}", sound):
            return job
        try:
            data = self.opened.open(spec.config.dataset, spec.data)
            backbone = self.reader.backbone(spec.checkpoint, spec.encoder)
            problems = make_benchmark(spec.config).check(spec.job(backbone, data))
        except (DataError, MissingExtra, OSError) as error:  # sound when the run began, or a family's libraries
            return dataclasses.replace(job, problem=tell(error, spec.data))
        if errors := [problem.message for problem in problems if problem.severity == "error"]:
            return dataclasses.replace(job, problem="; ".join(errors))
        self.memory.keep(f"check {key}", sound, True)
        return job

    def show_plan(self, costs: bool = False) -> None:
        """Print what is done, what is to run and what cannot run; with `costs`, also what it will take."""
        states = [job.state() for job in self.jobs]
        counted = ", ".join(f"{states.count(state)} {state}" for state in ("done", "to run", "failed before"))
        say(f"plan: {len(self.jobs)} jobs: {counted}")
        for note in dict.fromkeys([*(entry.note for entry in self.benchmarks), *self._lacking()]):
            if note:
                warn(note)
        ahead = []
        for job, state in zip(self.jobs, states, strict=True):
            text = f"cannot run: {job.problem}" if job.problem else state
            if costs and not job.problem and state != "done":
                ahead.append(job)
                text += f" ({describe_cost(job, self.options)})"
            say(f"  {job.title}: {text}")
        for name, pretraining in self.pending.items():
            say(f"  {name}: pretraining by {pretraining.config.stem}, then {self._jobs_of_each(name)} jobs")
        if ahead:
            say(f"in all: {describe_costs(ahead, self.options)}{', without what is pretrained' * bool(self.pending)}")

    def _lacking(self) -> list[str]:
        """Return what the jobs of a model will lack, before the hours of its pretraining and not after."""
        parts = {part for entry in self.benchmarks for part in parts_needed(entry.config)} if self.pending else set()
        return [extras.lacking(part) for part in sorted(parts)]

    def go(self) -> Outcome:
        """Pretrain, run the jobs, write the leaderboard."""
        self.show_plan()
        forget_superseded_failures(self.jobs)
        waiting = self._with([], [*self.pending.values(), *self.jobs])
        with self._launcher() as launcher:
            while waiting or self._running:
                while (fitting := self._first_that_fits(waiting, launcher)) is not None:
                    waiting = self._with(waiting, self._begin(waiting.pop(fitting), launcher))
                if self._running:
                    ended = launcher.wait()
                    what = self._running[ended.task][0]
                    waiting = self._with(waiting, self._end(ended))
                    if isinstance(what, PlannedJob):
                        self._end_column(what.column, waiting)
        board = write_leaderboard(self.options.out)
        return Outcome(board=board, jobs=self.total, failed=self._failed)

    def _first_that_fits(self, waiting: Sequence[Pretraining | PlannedJob], launcher: Launcher) -> int | None:
        """Return the place of the first that can begin: work for one GPU need not wait behind work for all of them."""
        too_large: set[tuple[bool, int, int]] = set()
        ahead = [*waiting, *(what for what, _ in self._running.values())]
        for place, what in enumerate(waiting):
            if isinstance(what, PlannedJob) and what.awaits(ahead):
                continue
            if (size := (isinstance(what, Pretraining), self._gpus(what), self._memory_of(what))) not in too_large:
                if launcher.has_room(self._task(what)):
                    return place
                too_large.add(size)
        return None

    @functools.cached_property
    def total(self) -> int:
        """How many jobs the run has, including those of models that are still to be pretrained."""
        return sum(self._jobs_of_each(name) for name in self.suite.models)

    def _jobs_of_each(self, name: str) -> int:
        """How many jobs a model has."""
        return sum(entry.trials for _, entry in wanted_benchmarks(name, self.benchmarks, self.options))

    def _with(
        self, waiting: list[Pretraining | PlannedJob], more: Sequence[Pretraining | PlannedJob]
    ) -> list[Pretraining | PlannedJob]:
        """Add jobs: pretraining stays first, since jobs wait for it; then column by column, each by its models.

        A column in which every model stands is worth reading, however many are still to come.
        """
        if not more:
            return waiting
        order = {name: place for place, name in enumerate(self.suite.models)}

        def place(one: Pretraining | PlannedJob) -> tuple[int, int, int]:
            if isinstance(one, Pretraining):
                return -1, order[one.name], 0
            return one.column, order[one.spec.model.name], one.spec.trial

        return sorted([*waiting, *more], key=place)

    def _end_column(self, column: int, waiting: Sequence[Pretraining | PlannedJob]) -> None:
        """Write the leaderboard when the last job of a column has ended: it is worth reading before the run is over."""
        ahead = [*waiting, *(what for what, _ in self._running.values())]
        if any(isinstance(one, Pretraining) or one.column == column for one in ahead):
            return
        with contextlib.suppress(UserError, RunError):  # the run's end writes it again, and says what is wrong
            board = write_leaderboard(self.options.out, warn_of_problems=False)
            for line in _column_lines(board, self.benchmarks[column].info):
                say(f"  = {line}")

    def _launcher(self) -> Launcher:
        options = self.options
        if options.slurm:
            return SlurmLauncher(self._show, options.slurm, options.out / "slurm")
        families = {benchmark_module(entry.config) for entry in self.benchmarks if not entry.config.own_python}
        return LocalLauncher(
            self._show,
            slots=options.jobs,
            gpus=visible_gpus()[: options.gpus] if options.gpus else (),
            memory=available_memory(),
            threads=max(1, usable_cores() // options.jobs) if options.jobs > 1 else None,
            preload=("mec_transfer.suite.child", *sorted(families)),
        )

    def processes(self, what: Pretraining | PlannedJob) -> int:
        """Return how many processes, each with a GPU, it was published with."""
        if isinstance(what, PlannedJob):
            return what.spec.config.processes
        outlook = self.outlooks.get(what.name)
        return outlook.processes if outlook else 1

    def _memory_of(self, what: Pretraining | PlannedJob) -> int:
        """Return how much memory it takes: as measured in this run on similar jobs, else as measured elsewhere."""
        if isinstance(what, Pretraining):
            return 0
        return self._peaks.get(_kind(what)) or peak_memory_of(what, self.options) or 0

    def _note_peak(self, job: PlannedJob, record: Record) -> None:
        peak = record.details.get("peak_memory_bytes", 0)
        if isinstance(peak, int):
            self._peaks[_kind(job)] = max(peak, self._peaks.get(_kind(job), 0))

    def _gpus(self, what: Pretraining | PlannedJob) -> int:
        return self.options.gpus_of(self.processes(what))

    def _task(self, what: Pretraining | PlannedJob) -> Task:
        options, gpus = self.options, self._gpus(what)
        if isinstance(what, Pretraining):
            arguments = what.arguments(options.device, options.workers, options.seed)
            log = what.log
            return Task(
                title=what.name,
                module="pretrain",
                arguments=arguments,
                log=log,
                gpus=gpus,
                alone=True,
                own_python=True,
            )
        return Task(
            title=what.title,
            module="mec_transfer.suite.child",
            arguments=(str(what.spec.workdir / JOB_NAME),),
            log=what.folder / "log.txt",
            gpus=gpus,
            memory_bytes=self._memory_of(what),
            own_python=what.spec.config.own_python,
            limit_seconds=options.time_limit,
            silence_seconds=options.silence_limit,
        )

    def _begin(self, what: Pretraining | PlannedJob, launcher: Launcher) -> list[PlannedJob]:
        """Start a job; report one that is done, or that cannot begin, at once. Returns what `_end` returns."""
        if isinstance(what, Pretraining):
            say(f"pretraining {what.name} ({what.config.stem})")
        else:
            self._begun += 1
            title = f"[{self._begun}/{self.total}] {what.title}"
            if what.state() == "done":
                say(f"{title}: done before")
                if record := what.record():
                    self._note_peak(what, record)
                return []
            say(title)
            if what.problem:
                self._tell(what, self._fail(what, what.problem))
                return []
            what.spec.write()
        task = self._task(what)
        self._running[task] = what, _stamp(task.log.with_name(RECORD_NAME))
        try:
            launcher.start(task)
        except RunError as error:
            return self._end(Ended(task=task, status=1, reason=str(error)))
        return []

    def _end(self, ended: Ended) -> list[PlannedJob]:
        """Report the result of a task, and return the jobs that can now be run."""
        what, before = self._running.pop(ended.task)
        if (number := max(-ended.status, ended.status - 128)) in STOP_SIGNALS and not ended.reason:
            time.sleep(_OWN_SIGNAL_SECONDS)  # `scancel` signals every process: this one's turn may come just now
            stopped = f"stopped by {signal.Signals(number).name}; the same command goes on from there"
            say(f"{self._indent(ended.task.title)}STOPPED  {stopped}")
            self._failed += 1 if isinstance(what, PlannedJob) else self._jobs_of_each(what.name)
            return []
        if isinstance(what, Pretraining):
            return self._end_pretraining(what, ended)
        record = what.record()
        fresh = record is not None and _stamp(what.folder / RECORD_NAME) != before
        # A number that was written is a number, however the process came to its end afterwards.
        if record is None or (record.status != "ok" and (ended.reason or not fresh)):
            record = self._fail(what, _reason(ended))
        self._tell(what, record)
        return []

    def _end_pretraining(self, pretraining: Pretraining, ended: Ended) -> list[PlannedJob]:
        """Return the jobs of the model, which cannot run if the pretraining failed.

        Raises:
            UserError: its config is wrong, and no other job has begun that could be lost.
        """
        try:
            problem = ended.reason or pretraining.problem(ended.status)
        except UserError as error:
            if not self._begun:
                raise
            problem = str(error)
        jobs = self._jobs_at_hand(pretraining.name, problem)
        if problem:
            say(f"  FAILED  {problem}")
        self.opened.close()
        self.memory.save()
        forget_superseded_failures(jobs)
        self.jobs += jobs
        return jobs

    def _tell(self, job: PlannedJob, record: Record) -> None:
        indent = self._indent(job.title)
        if record.status == "ok":
            self._note_peak(job, record)
            say(f"{indent}{record.primary} {record.metrics[record.primary]:.2f}  ({record.seconds:.0f} s)")
        else:
            self._failed += 1
            say(f"{indent}FAILED  {record.error}")

    def _show(self, task: Task, line: str) -> None:
        if not line.startswith("error: "):  # the last one, which is told as the job's failure
            say(f"{self._indent(task.title)}{line}")

    def _indent(self, title: str) -> str:
        """Return how a line of a task begins: with its title, if several tasks print at once."""
        several = self.options.jobs > 1 or (self.options.gpus or 0) > 1 or self.options.slurm
        return f"    {title}:  " if several else "    "

    def _fail(self, job: PlannedJob, reason: str) -> Record:
        record = job.spec.failed_record(" ".join(reason.split()))
        job.spec.write()
        write_record(job.folder, record)
        return record


def _column_lines(board: Leaderboard, benchmark: BenchmarkInfo) -> list[str]:
    """Return a line with the numbers of each of a benchmark's columns, best model first; none if there is one model."""
    lines = []
    for at, column in enumerate(board.columns):
        means = {row: cell.mean for (row, place), cell in board.cells.items() if place == at and cell.mean is not None}
        if column.config_sha256 == benchmark.config_sha256 and len(means) > 1:
            ranked = sorted(means, key=lambda row: -means[row] if column.higher_is_better else means[row])
            numbers = ", ".join(f"{board.models[row].name} {means[row]:.2f}" for row in ranked)
            lines.append(f"{column.title} {column.metric}: {numbers}")
    return lines


def _kind(job: PlannedJob) -> tuple[str, str]:
    """Return a key that jobs with about the same peak memory share."""
    return job.spec.benchmark.config_sha256, job.spec.model.arch


def _reason(ended: Ended) -> str:
    """Return why a job has written no record."""
    said = last_line(ended.task.log).removeprefix("error: ")
    if ended.reason:
        return f"{ended.reason}; its last line: {said or 'none'}"
    if ended.status < 0:
        return describe_status(ended.status)
    if not said:  # every failure prints a line, if there is room for it
        return f"{describe_status(ended.status)}; {ended.task.log} is empty: is its disk full?"
    return said if ended.status == 1 else f"{describe_status(ended.status)}; {said}"


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def write_leaderboard(out: Path, warn_of_problems: bool = True) -> Leaderboard:
    """Write leaderboard.md, .csv and .json in `out` from the records below it, and return what they show."""
    store = Store.read(out)
    for problem in store.problems if warn_of_problems else ():
        warn(problem)
    board = build_leaderboard(store.records, load_references(), store.means)
    for form in FORMATS:
        write_text(out / f"leaderboard.{form}", format_leaderboard(board, form))
    return board
