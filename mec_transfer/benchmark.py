"""The contract between the suite and a family of benchmarks.

A family offers each benchmark as one class with a typed config. The class checks a job before any computing
(`check`), runs it (`run`), and recomputes its metrics from the saved predictions (`recompute`). It never
prints a table, chooses a folder or reads argv.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.common.config import StrictModel, json_sha256
from mec_transfer.common.files import sha256_file
from mec_transfer.common.runtime import hardware, versions
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.results.record import BenchmarkInfo, DatasetInfo, ModelInfo, Record, Selection

if TYPE_CHECKING:
    from mec_transfer.datasets.data import Data
    from mec_transfer.units import Units

FAST = frozenset({"mixed_precision", "precision", "tf32"})
"""The keys of recipes that trade the published float32 for speed."""
TRAINING_NAME = "training.json"
"""What the training in a job's folder depends on (`Benchmark.training_identity`), for as long as it is of use."""


class MetricsConfig(StrictModel):
    """What is measured."""

    primary: str
    higher_is_better: bool = True
    also: dict[str, str] = Field(default_factory=dict)
    """Further metrics that have a column of their own on the leaderboard, and its head: masks beside boxes. Null takes
    away those of a `base`."""

    @field_validator("also", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return {} if value is None else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """A part of a job's computing, as far as its speed is known by measurement (`suite/rates.yaml`)."""

    kind: str
    """For instance `features`."""
    setting: str
    """What its speed depends on beside the network, for instance `224 px`."""
    units: float
    """How many of what a rate counts: images, frames, pairs."""
    half: bool = False
    """In bfloat16, float16 or TensorFloat-32, where it is computed on a GPU."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job takes, known before it begins. None: only the run itself shows it."""

    work: tuple[Work, ...] | None = None
    """All of its computing that takes time."""
    own_bytes: int | None = None
    """The most that its own folder takes on the disk at once."""
    more: bool = False
    """Whether predictions come on top, whose size only the run itself shows."""
    cached_bytes: Mapping[str, int] | None = None
    """What it keeps in the run's cache, by what that is: jobs of one model that name the same share it."""


class BenchmarkConfig(StrictModel):
    """The keys that every benchmark YAML has; each benchmark class adds its own `recipe`."""

    extra: ClassVar[str] = ""
    """The part in `extras.PARTS` that running it takes besides its family's."""
    own_python: ClassVar[bool] = False
    """Its engine changes what it imports, so a job of it takes an interpreter of its own."""

    id: str
    """The file's own name, for instance `knn_dino`."""
    family: str
    kind: str
    """Which class of the family: the key in the suite's registry, for instance `knn`."""
    protocol: str
    """The protocol id. Two files with one protocol id must give the same number."""
    version: int = 1
    """Bumped whenever numbers may move; part of the hash."""
    title: str
    """The leaderboard's column head."""
    published: str
    """Where the protocol is published, and what of it this file follows."""
    deviations: tuple[str, ...] = ()
    """A sentence for each thing that a reader of the number should know: where it is not computed as published, and
    which oddities of the published code are kept."""
    dataset: DatasetConfig
    metrics: MetricsConfig
    trials: int = Field(default=1, ge=1)

    @field_validator("id", "protocol")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if not value or any(character.isspace() for character in value):
            raise ValueError("must be one word")
        return value

    @property
    def processes(self) -> int:
        """How many processes, with a GPU each, the published run had. Any divisor of them keeps the protocol."""
        return 1

    @property
    def needs(self) -> str:
        """The protocol id of the benchmark whose job of the same model and trial has to be finished first; "": none.

        What that job has left is found beside this one's folder.
        """
        return ""

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Return what a job on a network of this architecture and on this data takes."""
        return Resources()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files beside this one whose text its hash holds as well."""
        return ()

    @property
    def sha256(self) -> str:
        """Hash of what can move a number: not the words, where the data lies, what it promises, or the trials."""
        own = json_sha256(self.hashed())
        return json_sha256([own, self.file_hashes()]) if self.files else own

    def file_hashes(self) -> list[str]:
        """Return the sha256 of each of `files`."""
        return [sha256_file(path) for path in self.files]

    def hashed(self) -> dict[str, Any]:
        """Return the values that `sha256` is of, as JSON values."""
        words: Any = dict.fromkeys(("title", "published", "deviations", "trials", "dataset"), True)
        values = self.model_dump(mode="json", exclude={**words, "metrics": {"also"}})
        return values | {"dataset": self.dataset.hashed()}

    def units(self, folder: Path, record: Record) -> Units | None:
        """Return what the finished job in `folder` was measured on, image by image or sequence by sequence.

        It needs no torch. None where only the whole is kept.

        Raises:
            UserError: a file is missing or damaged.
        """
        return None

    def settings(self) -> dict[str, Any]:
        """Return the settings that move the number, by key, as a protocol card shows them."""
        recipe: dict[str, Any] = self.model_dump(mode="json").get("recipe", {})
        return {key: value for key, value in recipe.items() if key not in FAST and value not in ("", {})}

    def info(self) -> BenchmarkInfo:
        """What a record says of this benchmark."""
        return BenchmarkInfo(
            id=self.id,
            family=self.family,
            protocol=self.protocol,
            config_sha256=self.sha256,
            version=self.version,
            kind=self.kind,
            title=self.title,
            also=self.metrics.also,
        )

    def with_custom_protocol(self) -> BenchmarkConfig:
        """This config under a protocol id of its own: a doctored run cannot pass for the published one."""
        return self.model_copy(update={"protocol": f"{self.protocol}+custom-{self.sha256[:8]}"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that would make a job fail or its number wrong: what, where, what to do, in one line."""

    message: str
    severity: Literal["error", "warning"] = "error"


def primary_problems(config: BenchmarkConfig, measured: Sequence[str]) -> list[Problem]:
    """Return that the primary metric is none of those that are measured, where that is so."""
    if config.metrics.primary in measured:
        return []
    return [Problem(message=f"metrics.primary: '{config.metrics.primary}' is not one of {', '.join(measured)}")]


def memory_problems(batch: str, needed: float, available: int | None, cure: str) -> list[Problem]:
    """Return a warning if a CPU's memory is too small for a batch: the machine would swap, or end the job.

    Args:
        batch: the batch in words, such as "a batch of 16 images".
        needed: bytes that its training takes.
        available: bytes that are free; None if that is not known.
        cure: the setting that makes the batch smaller.
    """
    if available is None or needed <= available:
        return []
    message = (
        f"{batch} takes about {needed / 2**30:.0f} GiB on a CPU, and {available / 2**30:.0f} GiB are free: expect "
        f"swapping for hours, or a killed job; take a GPU, or {cure}"
    )
    return [Problem(message=message, severity="warning")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One benchmark of one model on one data set, one trial."""

    model_name: str
    backbone: Backbone
    data: Data
    dataset: DatasetInfo
    """What a record says of the data."""
    workdir: Path
    """Everything that the job writes lies here; what it finds here is an earlier attempt at the same job."""
    cache: Path | None = None
    """Shared between jobs, for extracted features; None to keep nothing."""
    trial: int = 0
    seed: int = 0
    device: str = "auto"
    workers: int = 0
    batch_size: int | None = None
    """Images in one forward pass where that does not change the result; None for the family's own choice."""

    def key(self, benchmark: BenchmarkConfig) -> str:
        """The job's identity: one directory a key."""
        return job_key(self.backbone.sha256, benchmark.sha256, self.dataset.fingerprint, self.trial, self.seed)

    def model_info(self) -> ModelInfo:
        """What a record says of this job's model."""
        return describe_model(self.model_name, self.backbone)


def describe_model(name: str, backbone: Backbone) -> ModelInfo:
    """What a record says of `backbone`, called `name`."""
    origin = backbone.provenance
    return ModelInfo(
        name=name,
        sha256=backbone.sha256,
        arch=backbone.arch,
        source=origin.source,
        encoder=origin.encoder,
        epoch=origin.epoch,
    )


def job_key(backbone_sha256: str, config_sha256: str, fingerprint: str, trial: int, seed: int) -> str:
    """Hash (backbone, benchmark, data, trial) with the seed to 16 hex digits."""
    parts = [backbone_sha256, config_sha256, fingerprint, trial, seed, {}]  # {}: what earlier versions had there
    return json_sha256(parts)[:16]


def describe_data(data: Data) -> DatasetInfo:
    """Return what a record says of a data set. Raises DataError where a file cannot be read."""
    return DatasetInfo(
        name=data.config.name,
        fingerprint=data.fingerprint,
        train_fingerprint=data.train_fingerprint,
        num_images=sum(data.splits.values()),
        classes=data.classes,
        splits=data.splits,
        sequences=data.sequences,
        note=data.note,
    )


class Benchmark(abc.ABC):
    """One benchmark: made from its config, then asked to check and to run jobs."""

    def __init__(self, config: BenchmarkConfig) -> None:
        self.config = config

    @abc.abstractmethod
    def check(self, job: Job) -> list[Problem]:
        """Return what is wrong with the data, the packages or the disk: before any computing, without a GPU."""

    @abc.abstractmethod
    def run(self, job: Job) -> Record:
        """Do the work and return the record (status "ok"), leaving the predictions in `job.workdir`.

        An earlier, interrupted attempt in `job.workdir` is continued. Raises what stopped it.
        """

    def training_identity(self, job: Job) -> dict[str, Any] | None:
        """Return what a training that `run` leaves in `job.workdir` depends on: not what it is then measured on.

        None where nothing is left that is worth keeping when a job fails after its training. A benchmark that returns
        something names the files of that state `training*`, and writes this value into `TRAINING_NAME` before them.
        """
        return None

    def finished(self, job: Job) -> None:
        """Remove what only an unfinished job needs; called once its record is written."""
        return

    @abc.abstractmethod
    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """Recompute every metric of `record` from the predictions in `folder`, without a GPU."""


def make_record(
    config: BenchmarkConfig,
    job: Job,
    *,
    metrics: Mapping[str, float],
    selection: Selection,
    seconds: float,
    warnings: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
    dataset: DatasetInfo | None = None,
) -> Record:
    """Return the record (status "ok") of a finished job.

    Args:
        config: the benchmark's.
        job: what was run.
        metrics: by name; hold the config's primary one.
        selection: whose number it is, and what chose it.
        seconds: the wall clock of the whole job.
        warnings: what a reader of the number should know.
        details: whatever else is worth keeping, as JSON values.
        dataset: in place of `job.dataset`, where the job has something to note about the data.
    """
    return Record(
        status="ok",
        model=job.model_info(),
        benchmark=config.info(),
        trial=job.trial,
        seed=job.seed,
        metrics=dict(metrics),
        primary=config.metrics.primary,
        higher_is_better=config.metrics.higher_is_better,
        dataset=dataset or job.dataset,
        selection=selection,
        seconds=round(seconds, 3),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        hardware=hardware(),
        warnings=list(warnings),
        details=dict(details or {}),
    )
