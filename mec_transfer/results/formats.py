"""The leaderboard as markdown (to be read), csv (one line a number) and json (for programs).

All three are the same bytes for the same records: no dates, durations or paths of this machine.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from mec_transfer.results.leaderboard import Cell, Leaderboard
from mec_transfer.results.markdown import describe_reference, format_markdown, warning_lines
from mec_transfer.results.record import Record

SCHEMA = 1
FORMATS = ("md", "csv", "json")


def format_leaderboard(board: Leaderboard, form: str) -> str:
    """Return `board` as "md", "csv" or "json"."""
    return {"md": format_markdown, "csv": _csv, "json": _json}[form](board)


CSV_FIELDS = (
    *("measured", "model", "arch", "weights_sha256", "benchmark", "protocol", "config_sha256", "dataset"),
    *("fingerprint", "metric", "primary", "higher_is_better", "trial", "seed", "status", "value", "chosen"),
    *("chosen_by", "note", "source"),
)


def _csv(board: Leaderboard) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_measured(board))
    for ref in board.published:
        for metric, value in ref.metrics.items():
            about = {"model": ref.method, "arch": ref.arch, "protocol": ref.protocol, "status": "published"}
            number = {"metric": metric, "value": value, "note": describe_reference(ref), "source": ref.source}
            writer.writerow({"measured": "no", **about, **number})
    return out.getvalue()


def _measured(board: Leaderboard) -> Iterable[dict[str, Any]]:
    """Return a line for each number: a record is in the board once for each of its columns, its numbers here once."""
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in board.records:
        for row in _csv_rows(record):
            number = tuple(value for name, value in row.items() if name != "primary")
            if number not in lines or row["primary"] == "yes":
                lines[number] = row
    return lines.values()


def _csv_rows(record: Record) -> list[dict[str, Any]]:
    row = {
        "measured": "yes",
        "model": record.model.name,
        "arch": record.model.arch,
        "weights_sha256": record.model.sha256,
        "benchmark": record.benchmark.id,
        "protocol": record.benchmark.protocol,
        "config_sha256": record.benchmark.config_sha256,
        "dataset": record.dataset.name if record.dataset else "",
        "fingerprint": record.dataset.fingerprint if record.dataset else "",
        "higher_is_better": "yes" if record.higher_is_better else "no",
        "trial": record.trial,
        "seed": record.seed,
        "status": record.status,
        "chosen": record.selection.chosen if record.selection else "",
        "chosen_by": record.selection.by if record.selection else "",
        "note": record.error or (record.dataset.note if record.dataset else ""),
    }
    metrics = record.metrics if record.status == "ok" else {record.primary: ""}
    return [
        {**row, "metric": name, "primary": "yes" if name == record.primary else "no", "value": value}
        for name, value in metrics.items()
    ]


def _json(board: Leaderboard) -> str:
    columns = [
        {
            "protocol": column.protocol,
            "benchmark": column.benchmark,
            "family": column.family,
            "title": column.title,
            "metric": column.metric,
            "higher_is_better": column.higher_is_better,
            "dataset": column.dataset,
            "fingerprint": column.fingerprint,
            "config_sha256": column.config_sha256,
            "published_data": column.published_data,
        }
        for column in board.columns
    ]
    rows = [
        {
            "model": model.name,
            "arch": model.arch,
            "weights_sha256": model.sha256,
            "encoder": model.encoder,
            "epoch": model.epoch,
            "cells": [_json_cell(board.cells.get((row, column))) for column in range(len(columns))],
        }
        for row, model in enumerate(board.models)
    ]
    published = [ref.model_dump(mode="json") for ref in board.published]
    value = {
        "schema": SCHEMA,
        "columns": columns,
        "rows": rows,
        "published": published,
        "warnings": warning_lines(board),
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _json_cell(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {
        "mean": cell.mean,
        "std": cell.std,
        "values": list(cell.values),
        "failures": list(cell.failures),
        "chosen_on_test_set": cell.chosen_on_test_set,
    }
