"""The leaderboard in every format: markdown to read and for papers, LaTeX, CSV, JSON, a model card's metadata.

All of them are the same bytes for the same records: no dates, durations or paths of this machine.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from mec_transfer.results.board_json import format_json
from mec_transfer.results.latex import format_latex
from mec_transfer.results.leaderboard import Leaderboard
from mec_transfer.results.markdown import describe_reference, format_markdown
from mec_transfer.results.means import Mean
from mec_transfer.results.model_index import format_model_index
from mec_transfer.results.paper import format_paper
from mec_transfer.results.record import Record
from mec_transfer.results.references import Reference

FORMATS = ("md", "csv", "json")
"""What a run leaves."""
EXPORTS = (*FORMATS, "paper", "latex", "hf")


def format_leaderboard(board: Leaderboard, form: str, model: str | None = None) -> str:
    """Return `board` in one of EXPORTS; "hf" is of one `model` (`model_index.format_model_index`)."""
    if form == "hf":
        return format_model_index(board, model)
    writers = {"md": format_markdown, "csv": _csv, "json": format_json, "paper": format_paper, "latex": format_latex}
    return writers[form](board)


CSV_FIELDS = (
    *("measured", "model", "arch", "weights", "family", "benchmark", "protocol", "config", "dataset", "fingerprint"),
    *("metric", "primary", "higher_is_better", "trial", "seed", "status", "value", "chosen", "chosen_by", "note"),
    "source",
)
_DIGITS = 12
"""How many digits of a hash are shown."""


def _csv(board: Leaderboard) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_measured(board))
    for mean in board.derived:
        writer.writerows(_derived(board, mean))
    for ref in (*board.published, *board.others):
        writer.writerows(_published(ref))
    return out.getvalue()


def _published(ref: Reference) -> Iterable[dict[str, Any]]:
    differs = f"in place of {ref.nearest}: {ref.differs}" if ref.nearest else ""
    about = {
        "measured": "no",
        "model": ref.method,
        "arch": ref.arch,
        "protocol": ref.protocol,
        "dataset": ref.dataset,
        "status": "published",
        "note": "; ".join(filter(None, (describe_reference(ref), differs))),
        "source": ref.source,
    }
    return ({**about, "metric": metric, "value": value} for metric, value in ref.metrics.items())


def _derived(board: Leaderboard, mean: Mean) -> Iterable[dict[str, Any]]:
    """Return a line for each row that has the mean."""
    for row, value in mean.values.items():
        model = board.models[row]
        yield {
            "measured": "derived",
            "model": model.name,
            "arch": model.arch,
            "weights": model.sha256[:_DIGITS],
            "benchmark": mean.spec.title,
            "metric": "mean",
            "primary": "yes",
            "higher_is_better": "yes" if mean.spec.higher_is_better else "no",
            "status": "ok",
            "value": value,
            "note": mean.text,
        }


def _measured(board: Leaderboard) -> Iterable[dict[str, Any]]:
    """Return a line for each number: a record is in the board once for each of its columns, its numbers here once."""
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in board.records:
        for row in _csv_rows(record):
            number = tuple(value for name, value in row.items() if name not in ("primary", "higher_is_better"))
            if number not in lines or row["primary"] == "yes":
                lines[number] = row
    return lines.values()


def _csv_rows(record: Record) -> list[dict[str, Any]]:
    dataset, selection = record.dataset, record.selection
    row = {
        "measured": "yes",
        "model": record.model.name,
        "arch": record.model.arch,
        "weights": record.model.sha256[:_DIGITS],
        "family": record.benchmark.family,
        "benchmark": record.benchmark.id,
        "protocol": record.benchmark.protocol,
        "config": record.benchmark.config_sha256[:_DIGITS],
        "dataset": dataset.name if dataset else "",
        "fingerprint": dataset.fingerprint[:_DIGITS] if dataset else "",
        "trial": record.trial,
        "seed": record.seed,
        "status": record.status,
        "chosen": selection.chosen if selection else "",
        "chosen_by": selection.by if selection else "",
        "note": record.error or (dataset.note if dataset else ""),
    }
    metrics = record.metrics if record.status == "ok" else {record.primary: ""}
    direction = "yes" if record.higher_is_better else "no"
    return [
        {**row, "metric": name, "value": value, "primary": "yes", "higher_is_better": direction}
        if name == record.primary
        else {**row, "metric": name, "value": value, "primary": "no"}  # whose direction the record does not tell
        for name, value in metrics.items()
    ]
