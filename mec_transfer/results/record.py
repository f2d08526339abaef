"""The record: one `record.json` a job, written atomically and never edited."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from mec_transfer.common.config import StrictModel
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json, write_json

SCHEMA = 1
RECORD_NAME = "record.json"


class ModelInfo(StrictModel):
    """What was evaluated."""

    name: str
    sha256: str
    """Hash of the weights (Backbone.sha256), not of the file."""
    arch: str
    source: str = ""
    encoder: str = "only"
    epoch: int | None = None


class BenchmarkInfo(StrictModel):
    """By which protocol."""

    id: str
    family: str
    protocol: str
    """With the suffix `+custom-<hash>` where a key was overridden."""
    config_sha256: str
    version: int = 1
    kind: str = ""
    """Which class of the family, so that `verify` needs no config file."""
    title: str = ""
    """The leaderboard's column head."""
    also: dict[str, str] = Field(default_factory=dict)
    """Further metrics that have a column of their own, and its head."""


class DatasetInfo(StrictModel):
    """On which data."""

    name: str
    fingerprint: str
    train_fingerprint: str = ""
    """The fingerprint of the training splits alone: what they taught stays good when the test split is mended."""
    num_images: int
    classes: int | None = None
    splits: dict[str, int] = Field(default_factory=dict)
    """Images of each split, or frames of the one that is tracked in."""
    sequences: int | None = None
    """How many sequences there are; None where the data is not videos."""
    note: str = ""
    """Anything that makes it other than the published data, such as a label subset of our own drawing."""


class Selection(StrictModel):
    """Which epoch's (or hyper-parameter's) number is the record's, and what chose it."""

    chosen: str
    """For instance "epoch 20 of 20" or "lr 0.3"."""
    by: Literal["protocol", "held-out training images", "test set", "nothing to choose"]
    """`test set` marks a choice made on the images that the number is measured on."""


class Record(StrictModel):
    """One benchmark of one model on one data set, one trial.

    `metrics` holds percentages as 0-100; `primary` names the one that the leaderboard shows.
    """

    schema_: int = Field(default=SCHEMA, alias="schema")
    status: Literal["ok", "failed"]
    model: ModelInfo
    benchmark: BenchmarkInfo
    trial: int = 0
    seed: int = 0
    metrics: dict[str, float] = Field(default_factory=dict)
    primary: str
    higher_is_better: bool = True
    dataset: DatasetInfo | None = None
    selection: Selection | None = None
    seconds: float = 0.0
    finished: str = ""
    """Date and time (UTC, ISO 8601)."""
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, str | int] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None
    """Why the job failed: one line."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Whatever else the family keeps, such as the metrics of every epoch."""


def write_record(folder: Path, record: Record) -> Path:
    """Write `record` to `folder`/record.json atomically, and return that path."""
    path = folder / RECORD_NAME
    write_json(path, record.model_dump(mode="json", by_alias=True))
    return path


def read_record(path: Path) -> Record:
    """Read a record (a folder that holds one, or the file itself).

    Raises:
        UserError: it is missing, malformed, or of another schema.
    """
    path = path / RECORD_NAME if path.is_dir() else path
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise UserError(f"{path}: not a record of schema {SCHEMA}")
    try:
        return Record.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(".".join(str(part) for part in first["loc"]).split())  # a key may hold what ends a line
        raise UserError(f"{path}: not a valid record ('{where}': {first['msg']})") from None
