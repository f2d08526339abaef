"""The published values on a card of several benchmarks: each source once, and methods by data sets where many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.report.cards import about, item, points
from mec_transfer.results.markdown import as_printed
from mec_transfer.results.references import Reference, load_references

_LONG = 30
"""Published runs up to which each has a row of its own."""
_SPREAD = "± "
"""How a note begins that gives the spread of each of its row's values."""

_Entry = tuple[BenchmarkConfig, Reference]


def published_values(members: Sequence[BenchmarkConfig]) -> Iterator[str]:
    """Yield the lines of a card's last part, as markdown: tables, and where their numbers are from."""
    references = load_references()
    entries = [(config, entry) for config in members for entry in references if entry.protocol == config.protocol]
    if not entries:
        yield from item("Published values", "none are quoted under these protocol ids")
        return
    origins = dict.fromkeys(map(_origin, entries))
    marks = {origin: f"[{number}]" for number, origin in enumerate(origins, start=1)}
    yield from points(
        "Published values", (f"{mark} {origin}" for origin, mark in marks.items()), ", and where they are from"
    )
    yield from _by_data(entries, marks) if _is_grid(entries) else _row_each(entries, marks)


def _is_grid(entries: Sequence[_Entry]) -> bool:
    """Whether many methods have one run on each of several data sets, and all runs on a data set are from one place."""
    origins = {(config.id, _origin((config, entry))) for config, entry in entries}
    runs = {(config.id, entry.method, about(entry)) for config, entry in entries}
    return (
        len(entries) > _LONG and len(origins) == len({config.id for config, _ in entries}) and len(runs) == len(entries)
    )


def _origin(entry: _Entry) -> str:
    """Return where a run's values are printed, who ran it, and what is to be known of it."""
    by = "run by its authors" if entry[1].by_authors else "run by others"
    return f"{entry[1].source}; {by}" + (f"; {note}" if (note := _spread(entry[1])[1]) else "")


def _spread(entry: Reference) -> tuple[list[str], str]:
    """Return what each value has behind it, and the rest of the note."""
    numbers = entry.note.removeprefix(_SPREAD).split(", ")
    if not entry.note.startswith(_SPREAD) or len(numbers) != len(entry.metrics):
        return [""] * len(entry.metrics), entry.note
    return [f" {_SPREAD}{number}" for number in numbers], ""


def _values(entry: Reference) -> dict[str, str]:
    """Return the values as they are printed, by metric."""
    pairs = zip(entry.metrics.items(), _spread(entry)[0], strict=True)
    return {metric: f"{as_printed(value)}{spread}" for (metric, value), spread in pairs}


def _row_each(entries: Sequence[_Entry], marks: Mapping[str, str]) -> Iterator[str]:
    metrics = list(dict.fromkeys(metric for _, entry in entries for metric in entry.metrics))
    yield f"\n| config | method | network, pretraining | {' | '.join(metrics)} | from |"
    yield f"| --- | --- | --- |{' ---: |' * len(metrics)} --- |"
    for config, entry in entries:
        values = _values(entry)
        cells = [f"`{config.id}`", entry.method, about(entry), *(values.get(metric, "") for metric in metrics)]
        yield f"| {' | '.join(cells)} | {marks[_origin((config, entry))]} |"


def _by_data(entries: Sequence[_Entry], marks: Mapping[str, str]) -> Iterator[str]:
    """Yield a table of methods by data sets for each metric."""
    for metric in dict.fromkeys(metric for _, entry in entries for metric in entry.metrics):
        heads: dict[str, str] = {}
        rows: dict[tuple[str, str], dict[str, str]] = {}
        for config, entry in entries:
            if metric in entry.metrics:
                heads[config.id] = f"{config.dataset.name} {marks[_origin((config, entry))]}"
                rows.setdefault((entry.method, about(entry)), {})[config.id] = _values(entry)[metric]
        yield f"\n| {metric}: method | network, pretraining | {' | '.join(heads.values())} |"
        yield f"| --- | --- |{' ---: |' * len(heads)}"
        for (method, network), row in rows.items():
            yield f"| {method} | {network} | {' | '.join(row.get(name, '') for name in heads)} |"
