"""The record: one `record.json` a job, written atomically and never edited.

docs/record.md explains every key; docs/record.schema.json is made from the models below, by `python -m tools.schemas`.
A key that is added has a default, so that older records are read; `SCHEMA` changes only where that cannot be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from mec_transfer.common.config import DescribedModel
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json, write_json

SCHEMA = 1
RECORD_NAME = "record.json"


class MeasuredModel(DescribedModel):
    """Base of what holds measured numbers, which may be nan: a class that no image shows has no AP."""

    model_config = ConfigDict(allow_inf_nan=True)


class ModelInfo(DescribedModel):
    """What was evaluated."""

    name: str
    """The row of the leaderboard."""
    sha256: str
    """Hash of the weights (Backbone.sha256), not of the file; empty where they could not be read."""
    arch: str
    """The network, such as `resnet50`; empty where it is not known."""
    source: str = ""
    """The checkpoint as it was named on the command line, or what stands in its place, such as `random:resnet50`."""
    encoder: str = "only"
    """Which network of a checkpoint that holds several, such as `online` or `teacher`."""
    epoch: int | None = None
    """The epoch that the checkpoint names."""


class BenchmarkInfo(DescribedModel):
    """By which protocol."""

    id: str
    """The config's name."""
    family: str
    """`classification`, `detection`, `segmentation` or `tracking`."""
    protocol: str
    """The protocol id, with the suffix `+custom-<hash>` where a key was overridden."""
    config_sha256: str
    """Hash of all that moves the number."""
    version: int = 1
    """The protocol's version: another one means that numbers may have moved."""
    kind: str = ""
    """Which class of the family, so that `verify` needs no config file."""
    title: str = ""
    """The leaderboard's column head."""
    also: dict[str, str] = Field(default_factory=dict)
    """Further metrics that have a column of their own, and its head."""


class DatasetInfo(DescribedModel):
    """On which data."""

    name: str
    """What the config calls it; a folder of the user's own has the folder's name."""
    fingerprint: str
    """Hash of what it holds; empty where it could not be read."""
    train_fingerprint: str = ""
    """The fingerprint of the training splits alone: what they taught stays good when the test split is mended."""
    num_images: int
    """Images of all splits; of videos the frames."""
    classes: int | None = None
    """How many classes there are, where the data has classes."""
    splits: dict[str, int] = Field(default_factory=dict)
    """Images of each split, or frames of the one that is tracked in."""
    sequences: int | None = None
    """How many sequences there are; None where the data is not videos."""
    note: str = ""
    """Anything that makes it other than the published data, such as a label subset of our own drawing."""


class Selection(DescribedModel):
    """Which epoch's (or hyper-parameter's) number is the record's, and what chose it."""

    chosen: str
    """For instance "epoch 20 of 20" or "lr 0.3"."""
    by: Literal["protocol", "held-out training images", "test set", "nothing to choose"]
    """`test set` marks a choice made on the images that the number is measured on."""


class Record(MeasuredModel):
    """One benchmark of one model on one data set, one trial.

    `metrics` holds percentages as 0-100; `primary` names the one that the leaderboard shows.
    """

    schema_: int = Field(default=SCHEMA, alias="schema", json_schema_extra={"const": SCHEMA})
    """The version of this format."""
    status: Literal["ok", "failed"]
    """A failed record has no metrics, and its `error` says why."""
    model: ModelInfo
    benchmark: BenchmarkInfo
    trial: int = 0
    """Which repetition, from 0."""
    seed: int = 0
    """Seeds everything random in it; tells trials of several runs apart."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Every number that was measured; ratios are percentages from 0 to 100."""
    primary: str
    """The one of `metrics` that rows are ranked by."""
    higher_is_better: bool = True
    """The direction of `primary`."""
    dataset: DatasetInfo | None = None
    """None where the job failed before it knew its data."""
    selection: Selection | None = None
    seconds: float = 0.0
    """How long the whole job took."""
    finished: str = ""
    """When it ended: date and time (UTC, ISO 8601)."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of Python, of this program and of the libraries that can move a number."""
    hardware: dict[str, str | int] = Field(default_factory=dict)
    """Processor, cores, threads, GPU and how many there are."""
    warnings: list[str] = Field(default_factory=list)
    """What a reader of the number should know, a line each."""
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
