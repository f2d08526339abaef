"""Curves of trainings: pretraining's log.jsonl, the epochs that a record keeps, the lines of a job's log."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.results.record import Record

Points = list[tuple[float, float]]
"""(step or epoch, finite value), rising in the first."""

PRETRAINING = {
    "loss": "loss",
    "coding_length": "coding length per sample",
    "effective_rank": "effective rank of the embeddings",
    "knn_top1": "online k-NN, top-1 in %",
}
_POINTS = 160
_LINE = re.compile(r"^[^\[\]]+ \[(\d+)/\d+ (\w+)\]  (.*)$")
"""A line that `common.progress.Meter` prints into a log."""
_LOSS = re.compile(r"(?:^|  )loss (\S+)")


def pretraining_curves(roots: Iterable[Path], model: str) -> dict[str, Points]:
    """Return the figures of a model's pretraining, from the first of the runs' folders that has its log."""
    from mec_transfer.common.step_log import read_log

    if "\0" in model or Path(model).name != model:  # such a name would lead to another folder
        return {}
    for root in roots:
        try:
            series = read_log(root / "models" / model / "log.jsonl")
        except DataError:
            continue
        found = {
            name: _thinned([(float(x), float(y)) for x, y in zip(*series[name], strict=True)])
            for name in PRETRAINING
            if name in series
        }
        return {name: points for name, points in found.items() if len(points) > 1}
    return {}


def training_curves(record: Record, folder: Path) -> Iterator[tuple[str, str, Points]]:
    """Yield each figure of a job's own training: its name, what its steps are, and its points."""
    epochs = record.details.get("epochs")
    if isinstance(epochs, list):
        for name in ("loss", record.primary):
            points = [
                (float(one["epoch"]), float(one[name]))
                for one in epochs
                if isinstance(one, dict) and all(isinstance(one.get(key), int | float) for key in ("epoch", name))
            ]
            if len(points := _thinned(sorted(points))) > 1:
                yield name, "epoch", points
        return
    found: dict[str, dict[int, float]] = {}
    for step, unit, loss in _logged_losses(folder / "log.txt"):
        found.setdefault(unit, {})[step] = loss  # a step that a resumed training repeats has a later line, which counts
    for unit, losses in found.items():
        if len(points := _thinned(sorted((float(step), loss) for step, loss in losses.items()))) > 1:
            yield "loss", unit.removesuffix("s"), points


def _logged_losses(log: Path) -> Iterator[tuple[int, str, float]]:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if (found := _LINE.match(line)) and (loss := _LOSS.search(found[3])):
            try:
                yield int(found[1]), found[2], float(loss[1])
            except ValueError:
                continue


def _thinned(points: Sequence[tuple[float, float]]) -> Points:
    """Leave out what is not finite, and of a long curve all but some evenly spread points."""
    finite = [point for point in points if math.isfinite(point[1])]
    if len(finite) <= _POINTS:
        return finite
    last = len(finite) - 1
    return [finite[round(k * last / (_POINTS - 1))] for k in range(_POINTS)]
