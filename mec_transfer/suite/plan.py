"""The plan of a run: models x benchmarks x trials, each with its folder and what that folder holds."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, PrivateAttr

from mec_transfer.benchmark import Benchmark, BenchmarkConfig
from mec_transfer.common.config import load_yaml
from mec_transfer.common.errors import ConfigError, DataError, UserError
from mec_transfer.datasets.config import DatasetConfig, ObjectsDatasetConfig, VideosDatasetConfig
from mec_transfer.results.record import RECORD_NAME, DatasetInfo, ModelInfo, Record, read_record
from mec_transfer.suite.config import BenchmarkEntry, SuiteConfig
from mec_transfer.suite.execute import JobIdentity
from mec_transfer.suite.memory import Memory, file_stamp
from mec_transfer.suite.opened import OpenedData
from mec_transfer.suite.own_data import SKIP_INVALID, fit_data
from mec_transfer.suite.registry import benchmark_config, find_benchmark, load_benchmark

State = Literal["done", "to run", "failed before"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedBenchmark:
    """One benchmark of a suite, with its data."""

    path: Path
    overrides: list[str]
    """The suite's, and those that data of one's own asks for."""
    config: BenchmarkConfig
    trials: int
    data: Path
    dataset: DatasetInfo | None
    """None where the data cannot be used; `problem` says why."""
    note: str = ""
    """Why the data is one's own, and under which protocol id."""
    problem: str = ""

    def load(self) -> Benchmark:
        """The benchmark itself: this imports its family. Raises MissingExtra where a library of it is missing."""
        return load_benchmark(self.path, self.overrides)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """One job of a run. One that cannot even begin (no data, no weights) has a `problem`."""

    entry: PlannedBenchmark
    identity: JobIdentity
    checkpoint: str
    encoder: str
    folder: Path
    problem: str = ""

    @property
    def title(self) -> str:
        """Model, benchmark and trial."""
        trial = f"  trial {self.identity.trial}" if self.entry.trials > 1 else ""
        return f"{self.identity.model.name}  {self.identity.config.id}{trial}"

    def record(self) -> Record | None:
        """The record in the job's folder; None where there is none that can be read."""
        try:
            return read_record(self.folder)
        except UserError:
            return None

    def state(self) -> State:
        """What the folder says."""
        record = self.record()
        if record is None:
            return "to run"
        return "done" if record.status == "ok" else "failed before"


def plan_benchmarks(
    suite: SuiteConfig,
    source: Path,
    data_root: Path | None,
    memory: Memory,
    opened: OpenedData,
    skip_invalid: bool = False,
) -> list[PlannedBenchmark]:
    """Load every benchmark of a suite and open its data; `skip_invalid` leaves broken annotations out.

    Raises:
        ConfigError: a benchmark config is wrong, or two entries are the same.
        UserError: no data root is given where one is needed, or no benchmark's data can be used.
    """
    planned = [_plan_benchmark(entry, source, data_root, opened, memory, skip_invalid) for entry in suite.benchmarks]
    if all(entry.dataset is None for entry in planned):
        raise UserError(planned[0].problem)
    seen: set[tuple[str, Path]] = set()
    for entry in planned:
        place = (entry.config.protocol, entry.data)
        if place in seen:
            raise ConfigError(f"{source}: '{entry.config.id}' stands twice with the same settings and data")
        seen.add(place)
    return planned


def _plan_benchmark(
    entry: BenchmarkEntry, source: Path, data_root: Path | None, opened: OpenedData, memory: Memory, skip_invalid: bool
) -> PlannedBenchmark:
    path = find_benchmark(entry.config, source.parent)
    config = _config(path, entry.set, memory)
    data = below_root(entry.data or config.dataset.folder, data_root, source)
    overrides = list(entry.set)
    if skip_invalid and isinstance(config.dataset, ObjectsDatasetConfig):
        overrides.append(SKIP_INVALID)
    planned = PlannedBenchmark(
        path=path,
        overrides=overrides,
        config=config,
        trials=entry.trials or config.trials,
        data=data,
        dataset=None,
    )
    try:
        fitted = fit_data(lambda given: _config(path, given, memory), overrides, data, open_=opened.open)
    except DataError as error:
        return dataclasses.replace(planned, problem=str(error))
    return dataclasses.replace(
        planned, overrides=fitted.overrides, config=fitted.config, dataset=fitted.info, note=fitted.note
    )


class _KnownConfig(BenchmarkConfig):
    """A config that its own class found valid before; the keys of that class are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    dataset: ObjectsDatasetConfig | VideosDatasetConfig | DatasetConfig
    _sha256: str = PrivateAttr()

    @property
    def sha256(self) -> str:
        """The hash that its own class gave it."""
        return self._sha256


def _config(path: Path, overrides: list[str], memory: Memory) -> BenchmarkConfig:
    """Read and validate a benchmark's config; a known one comes from memory, and no family (nor torch) is imported."""
    name, stamp = f"benchmark {path} {overrides}", load_yaml(path)
    known = memory.recall(name, stamp)
    if known is not None and all(file_stamp(Path(file[0])) == file for file in known["files"]):
        config = _KnownConfig.model_validate_json(json.dumps(known["config"]))
        config._sha256 = known["sha256"]
        return config
    fresh = benchmark_config(path, overrides)
    files = [file_stamp(file) for file in fresh.files]
    memory.keep(name, stamp, {"config": fresh.model_dump(mode="json"), "sha256": fresh.sha256, "files": files})
    return fresh


def below_root(folder: str, data_root: Path | None, source: Path) -> Path:
    """Return `folder` itself when it is absolute, else `folder` below the data root."""
    if Path(folder).is_absolute():
        return Path(folder)
    if data_root is None:
        raise UserError(f"{source}: its data lies below a data root; add --data-root DIR (the folder with {folder}/)")
    return data_root / folder


def plan_jobs(
    model: ModelInfo, checkpoint: str, encoder: str, benchmarks: list[PlannedBenchmark], out: Path, seed: int
) -> list[PlannedJob]:
    """The jobs of one model whose weights are known: trial i has the seed `seed` + i."""
    return [
        _plan_job(model, checkpoint, encoder, entry, out, trial, seed + trial)
        for entry in benchmarks
        for trial in range(entry.trials)
    ]


def plan_blocked_jobs(
    name: str, benchmarks: list[PlannedBenchmark], out: Path, seed: int, problem: str
) -> list[PlannedJob]:
    """The jobs of a model that has no weights, because of `problem`."""
    model = ModelInfo(name=name, sha256="", arch="")
    jobs = plan_jobs(model, "", "auto", benchmarks, out, seed)
    return [dataclasses.replace(job, problem=problem, folder=_blocked(job)) for job in jobs]


def _plan_job(
    model: ModelInfo, checkpoint: str, encoder: str, entry: PlannedBenchmark, out: Path, trial: int, seed: int
) -> PlannedJob:
    config = entry.config
    dataset = entry.dataset or DatasetInfo(name=config.dataset.name, fingerprint="", num_images=0)
    identity = JobIdentity(config=config, model=model, dataset=dataset, trial=trial, seed=seed)
    folder = out / "jobs" / model.name / f"{_slug(config.id)}-t{trial}-{identity.key[:8]}"
    job = PlannedJob(
        entry=entry,
        identity=identity,
        checkpoint=checkpoint,
        encoder=encoder,
        folder=folder,
        problem=entry.problem,
    )
    return dataclasses.replace(job, folder=_blocked(job)) if entry.problem else job


def _blocked(job: PlannedJob) -> Path:
    """The folder of a job that has no key yet, for lack of data or weights: told apart by its config alone."""
    stem = job.folder.name.rpartition("-")[0]
    return job.folder.with_name(f"{stem}-blocked_{job.identity.config.info().config_sha256[:8]}")


def _slug(benchmark_id: str) -> str:
    return re.sub(r"[^\w.+=-]", "_", benchmark_id)


def forget_superseded_failures(jobs: list[PlannedJob]) -> None:
    """Take away the failed records of earlier plans of these very jobs.

    A job that failed for lack of data, or on data that was put right since, has another key now and would stand
    on the leaderboard beside the new one. Records with numbers are never touched.
    """
    planned = {job.folder for job in jobs}
    for job in jobs:
        stem = job.folder.name.rpartition("-")[0]
        if not job.folder.parent.is_dir():
            continue
        for folder in job.folder.parent.iterdir():
            if folder in planned or folder.name.rpartition("-")[0] != stem:
                continue
            try:
                failed = read_record(folder).status == "failed"
            except UserError:
                continue
            if failed:
                (folder / RECORD_NAME).unlink(missing_ok=True)
