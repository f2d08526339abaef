"""One job as a file: the plan writes it, any process can run it, and it identifies the folder that holds it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SerializeAsAny, field_validator

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.benchmark import Benchmark, BenchmarkConfig, Job, job_key
from mec_transfer.common import runtime
from mec_transfer.common.config import StrictModel, parse_config
from mec_transfer.common.errors import ConfigError, UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.registry import open_data
from mec_transfer.results.record import BenchmarkInfo, DatasetInfo, ModelInfo, Record
from mec_transfer.results.store import JOB_NAME
from mec_transfer.suite.registry import make_benchmark, parse_saved_config

_PLACES = ("checkpoint", "data", "index", "workdir", "cache")


class JobSpec(StrictModel):
    """One trial of one benchmark of one model on one data set, with everything that is needed to run it."""

    model: ModelInfo
    benchmark: BenchmarkInfo
    """Its hash includes the files that the config names, as they were when the job was planned."""
    dataset: DatasetInfo
    trial: int
    seed: int
    config: SerializeAsAny[BenchmarkConfig]
    """Every setting, so that no config file is needed."""
    checkpoint: str
    encoder: str
    data: Path
    """The data set's own folder."""
    index: Path | None = None
    """The index of that folder, so that nothing is listed a second time."""
    workdir: Path
    """The job's own folder."""
    cache: Path
    """Shared between jobs, for extracted features."""
    device: str
    workers: int

    @field_validator("config", mode="before")
    @classmethod
    def _of_its_own_class(cls, value: Any) -> Any:
        return value if isinstance(value, BenchmarkConfig) else parse_saved_config(value, "config")

    @property
    def key(self) -> str:
        """The job's identity, as `Job.key`: known before the weights are loaded."""
        fingerprint = self.dataset.fingerprint
        return job_key(self.model.sha256, self.benchmark.config_sha256, fingerprint, self.trial, self.seed)

    def write(self) -> Path:
        """Write job.json in the job's folder, and return its path. Raises RunError where the disk is full."""
        path = self.workdir / JOB_NAME
        write_json(path, {"key": self.key, **self.model_dump(mode="json")})
        return path

    @classmethod
    def read(cls, path: Path) -> JobSpec:
        """Read a job.json. Raises UserError if it is missing, damaged or from an earlier version."""
        data = read_json(path)
        if not isinstance(data, dict):
            raise UserError(f"{path}: does not hold a job")
        # The validation of JSON wants text in a valid encoding, which a path need not be.
        places = {name: data[name] for name in _PLACES if isinstance(data.get(name), str)}
        values = {name: value for name, value in data.items() if name != "key"}
        try:
            spec = parse_config(cls, {**values, **dict.fromkeys(places, "")}, str(path))
        except ConfigError as error:  # from the benchmark's config, which does not know the file
            raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
        kept = {name: value if name == "checkpoint" else Path(value) for name, value in places.items()}
        return spec.model_copy(update=kept)

    def load(self) -> tuple[Benchmark, Job]:
        """Read the weights, open the data, and return the job and the benchmark that does it.

        Raises:
            UserError: the weights, the config or the data cannot be used, or are no longer those of the plan.
        """
        from mec_transfer.backbone.source import resolve_backbone

        data = open_data(self.config.dataset, self.data, Index.read(self.index))
        backbone = resolve_backbone(self.checkpoint, self.encoder)
        settings = " or ".join(map(str, self.config.files)) or self.workdir / JOB_NAME
        for what, now, planned in (
            (self.data, data.fingerprint, self.dataset.fingerprint),
            (self.checkpoint, backbone.sha256, self.model.sha256),
            (settings, self.config.sha256, self.benchmark.config_sha256),
        ):
            if now != planned:
                raise UserError(f"{what} changed since the run began; start it again")
        return make_benchmark(self.config), self.job(backbone, data)

    def job(self, backbone: Backbone, data: Data) -> Job:
        """Return the job, given its weights and its opened data."""
        return Job(
            model_name=self.model.name,
            backbone=backbone,
            data=data,
            dataset=self.dataset,
            workdir=self.workdir,
            cache=self.cache,
            trial=self.trial,
            seed=self.seed,
            device=self.device,
            workers=self.workers,
        )

    def failed_record(self, reason: str) -> Record:
        """Return the record of a job that failed, with its `reason` (one line)."""
        return Record(
            status="failed",
            model=self.model,
            benchmark=self.benchmark,
            trial=self.trial,
            seed=self.seed,
            primary=self.config.metrics.primary,
            higher_is_better=self.config.metrics.higher_is_better,
            dataset=self.dataset,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=runtime.versions(),
            error=reason,
        )
