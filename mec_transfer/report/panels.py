"""The details of each number, as the JSON that fills the panels of the page.

Ten thousand records repeat the same versions, hardware and data: a long value that is not specific to one number is
kept once and referred to by its index in a list.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import Any

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.report.jobs import Jobs, describe_changes, end_of_log, read_job
from mec_transfer.results.leaderboard import Column, Leaderboard
from mec_transfer.results.record import Record
from mec_transfer.results.store import JOB_NAME

FIELDS = (
    *("trial", "seed", "status", "metrics", "values", "selection", "data", "seconds", "finished", "versions"),
    *("hardware", "warnings", "error", "log", "weights", "source", "repeat", "job"),
)
_LOG_BYTES = 300_000
"""The most that the logs of all failures take together, so that the page of a run in which everything failed still
opens."""


class _Shared:
    """A list of values that keeps each of them once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int | None:
        """Return the index of a value in the list; None for an empty one."""
        if not value:
            return None
        place = self._places.setdefault(json.dumps(value, sort_keys=True), len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place


def panel_data(board: Leaderboard, jobs: Jobs, labels: list[str], titles: list[str]) -> dict[str, Any]:
    """Return what the page's script needs: the means, and what each cell's panel says.

    Args:
        board: the leaderboard.
        jobs: the folders of its records.
        labels: what the rows are called.
        titles: what the columns are called.
    """
    shared = _Shared()
    rows = {(model.name, model.sha256): row for row, model in enumerate(board.models)}
    cells: dict[str, list[list[Any]]] = defaultdict(list)
    left = _LOG_BYTES
    for record, at in zip(board.records, board.columns_of_records, strict=True):
        log = end_of_log(jobs.folder(record)) if record.status != "ok" and left > 0 else ""
        left -= len(log)
        row = rows[record.model.name, record.model.sha256]
        cells[f"{row}:{at}"].append(_trial(record, log, jobs, shared))
    means: list[list[float | None]] = [[None] * len(board.columns) for _ in board.models]
    for (row, at), cell in board.cells.items():
        if cell.mean is not None and math.isfinite(cell.mean):
            means[row][at] = cell.mean
    for row, line in enumerate(means):
        values = [mean.values.get(row, math.nan) for mean in board.derived]
        line += [value if math.isfinite(value) else None for value in values]
    columns = []
    for at, column in enumerate(board.columns):
        first = board.records[board.columns_of_records.index(at)]
        config = jobs.config(first)
        columns.append(
            {
                "title": titles[at],
                "protocol": column.protocol,
                "metric": column.metric,
                "higher": column.higher_is_better,
                "config": column.config_sha256,
                "fingerprint": column.fingerprint,
                "published": shared.place(config.published if config else None),
                "differs": shared.place(_differences(column, config)),
            }
        )
    return {
        "rows": labels,
        "columns": columns,
        "derived": [{"title": mean.spec.title, "higher": mean.spec.higher_is_better} for mean in board.derived],
        "means": means,
        "fields": FIELDS,
        "cells": cells,
        "shared": shared.values,
    }


def _differences(column: Column, config: BenchmarkConfig | None) -> list[str]:
    """Return in what a column differs from the published protocol on the published data, as lines of markdown."""
    lines = []
    if "+" in column.protocol:
        base, _, suffix = column.protocol.partition("+")
        lines.append(f"`+{suffix}`: this is not `{base}`, but the same with a setting, labels or data of its own")
    if config is not None:
        lines += describe_changes(config)
        lines += [f"Known deviation: {sentence}" for sentence in config.deviations]
    return lines


def _trial(record: Record, log: str, jobs: Jobs, shared: _Shared) -> list[Any]:
    folder = jobs.folder(record)
    job = read_job(folder)
    data = record.dataset
    workdir = job.get("workdir")
    values: dict[str, Any] = {
        "trial": record.trial,
        "seed": record.seed,
        "status": record.status,
        "metrics": shared.place(list(record.metrics)),
        "values": [round(value, 4) if math.isfinite(value) else None for value in record.metrics.values()],
        "selection": shared.place(record.selection.model_dump() if record.selection else None),
        "data": shared.place(data.model_dump(mode="json") if data else None),
        "seconds": round(record.seconds, 1),
        "finished": record.finished,
        "versions": shared.place(record.versions),
        "hardware": shared.place(record.hardware),
        "warnings": shared.place(record.warnings),
        "error": shared.place(record.error),
        "log": shared.place(log),
        "weights": shared.place(_weights(record)),
        "source": shared.place(record.model.source),
        "repeat": shared.place(jobs.command(record, job)),
        "job": f"{workdir}/{JOB_NAME}" if isinstance(workdir, str) else None,
    }
    return [values[field] for field in FIELDS]


def _weights(record: Record) -> dict[str, Any]:
    model = record.model
    return {"network": model.arch, "encoder": model.encoder, "epoch": model.epoch, "sha256": model.sha256}


def as_script(value: Any) -> str:
    """Return `value` as JSON that can stand in a page: nothing in it ends a script or begins a tag."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # all but ASCII is escaped, U+2028 too
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
