"""The plan of a run: models x benchmarks x trials, each with its folder and the state of that folder."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.common.errors import ConfigError, DataError, UserError, tell
from mec_transfer.common.paths import find_config
from mec_transfer.datasets.config import ObjectsDatasetConfig
from mec_transfer.launchers.slurm_submit import SlurmOptions
from mec_transfer.results.means import MeanPart, MeanSpec
from mec_transfer.results.record import RECORD_NAME, BenchmarkInfo, DatasetInfo, ModelInfo, Record, read_record
from mec_transfer.suite.config import BenchmarkEntry, SuiteConfig
from mec_transfer.suite.models import Pretraining
from mec_transfer.suite.only import is_wanted
from mec_transfer.suite.opened import OpenedData
from mec_transfer.suite.own_data import SKIP_INVALID, fit_data
from mec_transfer.suite.registry import BenchmarkFile, find_benchmark
from mec_transfer.suite.spec import JobSpec

State = Literal["done", "to run", "failed before"]
_BLOCKED = "blocked_"
"""Begins the last part of the folder's name of a job that has no key yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run a suite, as opposed to what it contains."""

    out: Path
    data_root: Path | None = None
    cache: Path | None = None
    """Where features are kept, also for other runs; None: in `out`."""
    device: str = "auto"
    workers: int = 0
    seed: int = 0
    skip_invalid: bool = False
    """Leave broken annotations of data sets with objects out."""
    dry_run: bool = False
    only: tuple[str, ...] = ()
    """Globs of MODEL/BENCHMARK: the jobs to plan; none: all."""
    jobs: int = 1
    """How many jobs run at once on CPUs, each on its share of the cores."""
    gpus: int | None = None
    """How many of the visible GPUs to use, or on a cluster how many a job gets at most; a job takes `gpus_of` its
    processes. None: one job at a time on one GPU; on a cluster as many as the published run had."""
    time_limit: float | None = None
    """Seconds after which a job is ended; the next run resumes it."""
    silence_limit: float | None = None
    """Seconds without a line in its log after which a job counts as hung, and is ended."""
    slurm: SlurmOptions | None = None
    """What jobs request from a SLURM cluster; None: they run on this machine."""

    def gpus_of(self, processes: int) -> int:
        """Return how many GPUs a job takes that was published with `processes` processes, each with a GPU.

        They share its images evenly, so it is the largest divisor of the published number. A cluster has as many as a
        job asks for, on as many nodes as that takes, unless `gpus` says how many at most. Without GPUs it is 1: the
        processes of a CPU would only take the cores from each other.
        """
        most = self.gpus or (processes if self.slurm and self.slurm.gpus_per_node else 1)
        return next(n for n in range(min(processes, most), 0, -1) if processes % n == 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedBenchmark:
    """One benchmark of a suite, with its data."""

    config: BenchmarkConfig
    info: BenchmarkInfo
    trials: int
    data: Path
    index: Path
    """The file of the index of the data's folder."""
    dataset: DatasetInfo
    note: str = ""
    """Why the data is not the published data, and under which protocol id it runs."""
    problem: str = ""
    """Why the data cannot be used: `dataset` then has no fingerprint."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """One job of a run. A job that cannot begin, without data or weights, has a `problem`."""

    spec: JobSpec
    column: int
    """The place of its benchmark in the suite."""
    trials: int
    """How many trials the benchmark has."""
    problem: str = ""

    @property
    def title(self) -> str:
        """Model, benchmark and trial."""
        trial = f"  trial {self.spec.trial}" if self.trials > 1 else ""
        return f"{self.spec.model.name}  {self.spec.benchmark.id}{trial}"

    @property
    def folder(self) -> Path:
        """The job's own folder."""
        return self.spec.workdir

    def awaits(self, others: Iterable[object]) -> PlannedJob | None:
        """Return the one of `others` that has to be finished before this job can begin; None if there is none."""
        spec = self.spec
        for other in others if spec.config.needs else ():
            if isinstance(other, PlannedJob) and not other.spec.config.needs:
                theirs = other.spec
                if (theirs.benchmark.protocol, theirs.model, theirs.trial) == (
                    spec.config.needs,
                    spec.model,
                    spec.trial,
                ):
                    return other
        return None

    def record(self) -> Record | None:
        """Return the record in the job's folder; None if there is none that can be read."""
        try:
            return read_record(self.folder)
        except UserError:
            return None

    def state(self) -> State:
        """Return the state of the job, by the record in its folder."""
        record = self.record()
        if record is None:
            return "to run"
        return "done" if record.status == "ok" else "failed before"


def plan_benchmarks(
    suite: SuiteConfig, source: Path, options: RunOptions, data_root: Path | None, opened: OpenedData
) -> list[PlannedBenchmark]:
    """Read every benchmark of a suite and open its data.

    Raises:
        ConfigError: a benchmark config is wrong, or two entries are the same.
        UserError: no data root is given where one is needed, or no benchmark's data can be used.
    """
    planned = [_plan_benchmark(entry, source, options, data_root, opened) for entry in suite.benchmarks]
    if all(entry.problem for entry in planned):
        raise UserError(planned[0].problem)
    seen: set[tuple[str, Path]] = set()
    for entry in planned:
        place = (entry.config.protocol, entry.data)
        if place in seen:
            raise ConfigError(f"{source}: '{entry.config.id}' stands twice with the same settings and data")
        seen.add(place)
    return planned


def plan_means(suite: SuiteConfig, source: Path) -> list[MeanSpec]:
    """Return the derived columns of a suite (read from `source`): over the benchmarks' published protocols.

    Raises:
        ConfigError: a benchmark config is wrong, or the directions of two metrics of one mean differ.
    """
    found = []
    for mean in suite.means:
        configs = [BenchmarkFile.read(find_benchmark(name, source.parent)).published for name in mean.of]
        directions = {config.metrics.higher_is_better for config in configs}
        if len(directions) > 1:
            raise ConfigError(
                f"{source}: means '{mean.title}': of some of its metrics the higher is better, of others not"
            )
        parts = tuple(MeanPart(protocol=config.protocol, metric=config.metrics.primary) for config in configs)
        found.append(MeanSpec(title=mean.title, of=parts, higher_is_better=directions.pop()))
    return found


def _plan_benchmark(
    entry: BenchmarkEntry, source: Path, options: RunOptions, data_root: Path | None, opened: OpenedData
) -> PlannedBenchmark:
    file = BenchmarkFile.read(find_benchmark(entry.config, source.parent))
    config, overrides = file.config(entry.set), list(entry.set)
    data = below_root(entry.data or config.dataset.folder, data_root, source)
    if options.skip_invalid and isinstance(config.dataset, ObjectsDatasetConfig):
        overrides.append(SKIP_INVALID)
    dataset, note, problem = DatasetInfo(name=config.dataset.name, fingerprint="", num_images=0), "", ""
    try:
        fitted = fit_data(file.config, overrides, data, open_=opened.open)
        config, dataset, note = fitted.config, fitted.info, fitted.note
    except (DataError, OSError) as error:  # a data set that cannot be read must not stop the others
        problem = tell(error, data)
    return PlannedBenchmark(
        config=config,
        info=config.info(),
        trials=entry.trials or config.trials,
        data=data,
        index=opened.index_file(data),
        dataset=dataset,
        note=note,
        problem=problem,
    )


def plan_pretrainings(
    suite: SuiteConfig, source: Path, options: RunOptions, data_root: Path | None
) -> dict[str, Pretraining]:
    """Return the pretraining of each model that has one. Raises ConfigError if its config does not exist."""
    return {
        name: Pretraining(
            name=name,
            config=find_config(model.pretrain, "pretrain"),
            overrides=model.overrides,
            data=below_root(model.data or "", data_root, source),
            folder=options.out / "models" / name,
        )
        for name, model in suite.models.items()
        if model.pretrain
    }


def below_root(folder: str, data_root: Path | None, source: Path) -> Path:
    """Return `folder` itself when it is absolute, else `folder` below the data root."""
    if Path(folder).is_absolute():
        return Path(folder)
    if data_root is None:
        raise UserError(f"{source}: its data lies below a data root; add --data-root DIR (the folder with {folder}/)")
    return data_root / folder


def plan_jobs(
    model: ModelInfo, checkpoint: str, encoder: str, benchmarks: Sequence[PlannedBenchmark], options: RunOptions
) -> list[PlannedJob]:
    """Return the jobs of one model whose weights are known: trial i has the options' seed + i."""
    return [
        PlannedJob(
            spec=_job_spec(model, checkpoint, encoder, entry, trial, options),
            column=column,
            trials=entry.trials,
            problem=entry.problem,
        )
        for column, entry in wanted_benchmarks(model.name, benchmarks, options)
        for trial in range(entry.trials)
    ]


def wanted_benchmarks(
    model: str, benchmarks: Sequence[PlannedBenchmark], options: RunOptions
) -> list[tuple[int, PlannedBenchmark]]:
    """Return the benchmarks that the model called `model` is run on, each with its place in the suite."""
    return [pair for pair in enumerate(benchmarks) if is_wanted(options.only, model, pair[1].config.id)]


def plan_blocked_jobs(
    name: str, benchmarks: Sequence[PlannedBenchmark], options: RunOptions, problem: str
) -> list[PlannedJob]:
    """Return the jobs of a model that has no weights, because of `problem`."""
    model = ModelInfo(name=name, sha256="", arch="")
    return plan_jobs(model, "", "auto", [dataclasses.replace(entry, problem=problem) for entry in benchmarks], options)


def _job_spec(
    model: ModelInfo, checkpoint: str, encoder: str, entry: PlannedBenchmark, trial: int, options: RunOptions
) -> JobSpec:
    spec = JobSpec(
        model=model,
        benchmark=entry.info,
        dataset=entry.dataset,
        trial=trial,
        seed=options.seed + trial,
        config=entry.config,
        checkpoint=checkpoint,
        encoder=encoder,
        data=entry.data,
        index=entry.index,
        workdir=options.out,
        cache=options.cache or options.out / "cache",
        device=options.device,
        workers=options.workers,
    )
    # A job without data or weights has no key yet: only its config distinguishes it.
    mark = f"{_BLOCKED}{entry.info.config_sha256[:8]}" if entry.problem else spec.key[:8]
    folder = options.out / "jobs" / model.name / f"{_slug(entry.info.id)}-t{trial}-{mark}"
    return spec.model_copy(update={"workdir": folder})


def _slug(benchmark_id: str) -> str:
    return re.sub(r"[^\w.+=-]", "_", benchmark_id)


def forget_superseded_failures(jobs: Sequence[PlannedJob]) -> None:
    """Remove the failed records that earlier plans of the same jobs left.

    A job that failed because its data was missing or wrong has another key once the data is right, and its old failure
    would appear on the leaderboard beside the new result. Records with numbers are never touched. The folder of a job
    that could not even begin is removed.
    """
    planned = {job.folder for job in jobs}
    for job in jobs:
        stem = job.folder.name.rpartition("-")[0]
        if not job.folder.parent.is_dir():
            continue
        for folder in job.folder.parent.iterdir():
            name, _, mark = folder.name.rpartition("-")
            if folder in planned or name != stem:
                continue
            with contextlib.suppress(UserError):  # it has no readable record
                if read_record(folder).status == "failed":
                    (folder / RECORD_NAME).unlink(missing_ok=True)
            if mark.startswith(_BLOCKED):
                shutil.rmtree(folder, ignore_errors=True)
