"""The leaderboard as JSON, for programs: its schema is the models below, and docs/leaderboard.schema.json."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from mec_transfer.common.config import DescribedModel
from mec_transfer.results.leaderboard import Leaderboard
from mec_transfer.results.markdown import warning_lines
from mec_transfer.results.means import Mean, MeanSpec
from mec_transfer.results.record import MeasuredModel, Record
from mec_transfer.results.references import Reference

SCHEMA: Literal[3] = 3
"""2 had no `means`; 1 had no `others` either, and of a cell neither `seeds` nor `metrics`."""


class JsonColumn(DescribedModel):
    """One protocol on one data set, by one metric."""

    protocol: str
    """The protocol id; with a `+` it is not the published protocol."""
    benchmark: str
    """The config's name."""
    family: str
    title: str
    metric: str
    """The metric that the column's cells are of."""
    higher_is_better: bool
    dataset: str
    fingerprint: str
    """Hash of what the data holds; empty where no job of the column came as far as its data."""
    config_sha256: str
    """Hash of all that moves the number."""
    published_data: bool
    """Whether the data is the published data, so that published numbers may stand beside the column."""


class JsonNumber(MeasuredModel):
    """A metric's mean over the seeds."""

    mean: float
    std: float | None
    """Sample standard deviation; null for fewer than two seeds."""
    n: int
    """How many seeds have it."""


class JsonCell(MeasuredModel):
    """One model's trials by one column."""

    mean: float | None
    """Mean of the column's metric over the trials; null where all trials failed."""
    std: float | None
    """Sample standard deviation; null for fewer than two seeds."""
    values: list[float]
    """The column's metric, seed by seed."""
    seeds: list[int]
    """The seeds of `values`."""
    metrics: dict[str, JsonNumber]
    """Every metric of these trials, the column's own among them."""
    failures: list[str]
    """"trials 0, 2: reason", for each reason."""
    chosen_on_test_set: bool
    """Whether epoch or settings were chosen on the data that is measured on."""


class JsonMean(MeasuredModel):
    """One model's number in a derived column."""

    mean: float
    """The mean of the means that its cells hold."""
    chosen_on_test_set: bool
    """Whether this holds for one of its cells."""


class JsonRow(DescribedModel):
    """One set of weights, best rows first."""

    model: str
    arch: str
    weights_sha256: str
    encoder: str
    """Which network of the checkpoint it is."""
    epoch: int | None
    cells: list[JsonCell | None]
    """One for each column, in their order; null where nothing was run."""
    means: list[JsonMean | None]
    """One for each derived column, in their order; null for a row that lacks a number which it is a mean of."""


class JsonLeaderboard(DescribedModel):
    """What `mec-transfer leaderboard --format json` prints."""

    schema_: Literal[3] = Field(alias="schema")
    """The version of this format."""
    columns: list[JsonColumn]
    means: list[MeanSpec]
    """Derived columns: what each is a mean of."""
    rows: list[JsonRow]
    published: list[Reference]
    """Published numbers by the protocols of the columns."""
    others: list[Reference]
    """Published numbers on the columns' data by protocols that no column has."""
    warnings: list[str]


def format_json(board: Leaderboard) -> str:
    """Return `board` as JSON by the schema of `JsonLeaderboard`."""
    document = JsonLeaderboard(
        schema=SCHEMA,
        columns=[
            JsonColumn(**{name: getattr(column, name) for name in JsonColumn.model_fields}) for column in board.columns
        ],
        means=[mean.spec for mean in board.derived],
        rows=[
            JsonRow(
                model=model.name,
                arch=model.arch,
                weights_sha256=model.sha256,
                encoder=model.encoder,
                epoch=model.epoch,
                cells=[_cell(board, row, column) for column in range(len(board.columns))],
                means=[_mean(mean, row) for mean in board.derived],
            )
            for row, model in enumerate(board.models)
        ],
        published=list(board.published),
        others=list(board.others),
        warnings=warning_lines(board),
    )
    return document.model_dump_json(by_alias=True, indent=2) + "\n"


def _mean(mean: Mean, row: int) -> JsonMean | None:
    if row not in mean.values:
        return None
    return JsonMean(mean=mean.values[row], chosen_on_test_set=row in mean.chosen_on_test_set)


def _cell(board: Leaderboard, row: int, column: int) -> JsonCell | None:
    cell = board.cells.get((row, column))
    if cell is None:
        return None
    records = board.measured.get((row, column), [])
    return JsonCell(
        mean=cell.mean,
        std=cell.std,
        values=list(cell.values),
        seeds=[record.seed for record in records],
        metrics={name: _number(records, name) for name in dict.fromkeys(name for r in records for name in r.metrics)},
        failures=list(cell.failures),
        chosen_on_test_set=cell.chosen_on_test_set,
    )


def _number(records: Sequence[Record], metric: str) -> JsonNumber:
    values = [record.metrics[metric] for record in records if metric in record.metrics]
    std = statistics.stdev(values) if len(values) > 1 else None
    return JsonNumber(mean=statistics.fmean(values), std=std, n=len(values))
