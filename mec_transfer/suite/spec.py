"""One job as a file: what the plan hands to the process that does it."""

from __future__ import annotations

from pathlib import Path

from mec_transfer.benchmark import Benchmark, Job
from mec_transfer.common.config import StrictModel
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.registry import open_data
from mec_transfer.results.record import DatasetInfo
from mec_transfer.suite.registry import load_benchmark


class JobSpec(StrictModel):
    """Everything that a process, on this machine or another, needs to do one job."""

    key: str
    """As `Job.key` has it when the job is planned: what is loaded later must be the same."""
    model_name: str
    checkpoint: str
    encoder: str
    benchmark: str
    """The config's file."""
    overrides: list[str]
    data: str
    """The data set's own folder."""
    index: str
    """What is known of that folder: nothing is listed a second time."""
    dataset: DatasetInfo
    trial: int
    seed: int
    device: str
    workers: int
    workdir: str
    cache: str

    def write(self, path: Path) -> None:
        """Write the spec as JSON. Raises RunError where the disk is full."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> JobSpec:
        """Read a spec. Raises UserError where the file is missing or damaged."""
        try:
            return cls.model_validate(read_json(path))
        except ValueError as error:
            raise UserError(f"{path}: not a job ({' '.join(str(error).split())[:200]})") from None

    def load(self) -> tuple[Benchmark, Job]:
        """Read the weights, open the data, and return the job.

        Raises:
            UserError: the weights, the config or the data cannot be used, or are no longer those of the plan.
        """
        from mec_transfer.backbone.source import resolve_backbone

        benchmark = load_benchmark(Path(self.benchmark), self.overrides)
        data = open_data(benchmark.config.dataset, Path(self.data), Index(Path(self.index)))
        job = Job(
            model_name=self.model_name,
            backbone=resolve_backbone(self.checkpoint, self.encoder),
            data=data,
            dataset=self.dataset,
            workdir=Path(self.workdir),
            cache=Path(self.cache),
            trial=self.trial,
            seed=self.seed,
            device=self.device,
            workers=self.workers,
        )
        if data.fingerprint != self.dataset.fingerprint:
            raise UserError(f"{self.data} changed since the run began; start it again")
        if job.key(benchmark.config) != self.key:
            raise UserError(f"{self.checkpoint} or {self.benchmark} changed since the run began; start it again")
        return benchmark, job
