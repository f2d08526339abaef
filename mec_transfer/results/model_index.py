"""One model's numbers as `model-index`, the metadata of a model card on the Hugging Face Hub."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import yaml

from mec_transfer.common.errors import UserError, did_you_mean
from mec_transfer.results.leaderboard import Column, Leaderboard
from mec_transfer.results.means import Mean

_TASKS = {
    "classification": "image-classification",
    "detection": "object-detection",
    "segmentation": "image-segmentation",
    "tracking": "object-tracking",
}
_TYPES = {"top1": "accuracy"}
"""Metrics that have an id of the Hub's; any other goes by its own name."""


def format_model_index(board: Leaderboard, model: str | None = None) -> str:
    """Return the front matter of one model.

    A result is one protocol on one data set: `dataset.config` is the protocol id and `dataset.revision` the data's
    fingerprint. Its metrics are the means over the seeds, and `args` has what a reader of the number should know.

    Args:
        board: a leaderboard.
        model: a row's name, or its label where two rows have that name; None where there is one row alone.

    Raises:
        UserError: there is no such row, several could be meant, or it has no number.
    """
    row = _row(board, model)
    results: dict[tuple[str, ...], dict[str, Any]] = {}
    for at, column in enumerate(board.columns):
        if (row, at) in board.measured:
            place = (column.family, column.protocol, column.config_sha256, column.fingerprint)
            results.setdefault(place, _result(column))["metrics"] += _metrics(board, row, at)
    if not results:
        raise UserError(f"{board.label(row)}: has no number yet")
    derived = [_derived(mean, row) for mean in board.derived if row in mean.values]
    index = {"model-index": [{"name": board.models[row].name, "results": [*results.values(), *derived]}]}
    return f"---\n{yaml.safe_dump(index, sort_keys=False, allow_unicode=True, width=1000)}---\n"


def _result(column: Column) -> dict[str, Any]:
    name = column.dataset or "unknown"
    data = {"type": name, "name": name, "config": column.protocol, "revision": column.fingerprint}
    about = {"config_sha256": column.config_sha256, "published_data": column.published_data}
    task = {"type": _TASKS.get(column.family, column.family), "name": column.title}
    return {"task": task, "dataset": {**data, "args": about}, "metrics": []}


def _derived(mean: Mean, row: int) -> dict[str, Any]:
    """A mean as a result of its own, whose data set says what it is a mean of."""
    title, about = mean.spec.title, {"columns": len(mean.spec.of), "higher_is_better": mean.spec.higher_is_better}
    if row in mean.chosen_on_test_set:
        about["chosen_on_test_set"] = True
    data = {"type": "mean", "name": title, "config": ", ".join(part.protocol for part in mean.spec.of)}
    number = {"type": "mean", "name": f"{title}: mean", "value": round(mean.values[row], 4), "args": about}
    return {"task": {"type": "mean", "name": title}, "dataset": data, "metrics": [number]}


def _metrics(board: Leaderboard, row: int, at: int) -> Iterator[dict[str, Any]]:
    column = board.columns[at]
    for metric in board.shown_metrics(at):
        values = [record.metrics[metric] for record in board.measured[row, at] if metric in record.metrics]
        if values:
            about: dict[str, Any] = {"n": len(values), "higher_is_better": column.higher_is_better}
            if len(values) > 1:
                about["std"] = round(statistics.stdev(values), 4)
            if board.cells[row, at].chosen_on_test_set:
                about["chosen_on_test_set"] = True
            number = {"value": round(statistics.fmean(values), 4), "args": about}
            yield {"type": _TYPES.get(metric, metric), "name": f"{column.title}: {metric}", **number}


def _row(board: Leaderboard, model: str | None) -> int:
    labels = [board.label(row) for row in range(len(board.models))]
    if model is None and len(labels) == 1:
        return 0
    if model is None:
        raise UserError(f"a model card is of one model: choose it with --model, of {', '.join(labels)}")
    found = [row for row, label in enumerate(labels) if model in (label, board.models[row].name)]
    if len(found) > 1:
        raise UserError(f"two rows are called '{model}': choose one of {', '.join(labels[row] for row in found)}")
    if not found:
        raise UserError(f"no row is called '{model}'.{did_you_mean(model, labels)} There are: {', '.join(labels)}")
    return found[0]
