"""The leaderboard as people read it: markdown, and a plain table for a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from mec_transfer.results.leaderboard import Cell, Leaderboard
from mec_transfer.results.means import Mean
from mec_transfer.results.record import Record
from mec_transfer.results.references import Reference

OTHERS_HEAD = "Published under other protocols: not comparable with a column"


def format_markdown(board: Leaderboard) -> str:
    """Return the leaderboard, the published numbers and the notes as markdown."""
    failures: list[str] = []
    rows = [
        [
            _label(board, row),
            *(_shown(board, row, column, failures) for column in range(len(board.columns))),
            *(_bold(mean.shown(row), row in mean.best) for mean in board.derived),
        ]
        for row in range(len(board.models))
    ]
    parts = [
        "# Leaderboard",
        _table(["model", *_heads(board), *map(_mean_head, board.derived)], rows),
        *_published(board),
        "## Notes",
        _bullets(legend_lines(board)),
    ]
    if failures:
        parts += ["Failures:", "\n".join(f"{number}. {text}" for number, text in enumerate(failures, 1))]
    parts += ["Data:", _bullets(data_notes(board))]
    parts += ["Models:", _bullets(model_notes(board))]
    warnings = warning_lines(board)
    if warnings:
        parts += ["Warnings:", _bullets(warnings)]
    if versions := version_lines(board):
        parts += ["Versions:", _bullets(versions)]
    parts += _other_protocols(board)
    return "\n\n".join(parts) + "\n"


def _table(heads: list[str], rows: list[list[str]], numbers: str = "---:") -> str:
    lines = [heads, ["---", *("---" if head == "source" else numbers for head in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _heads(board: Leaderboard) -> list[str]:
    heads = []
    for column, twin in zip(board.columns, twin_notes(board), strict=True):
        arrow = "↑" if column.higher_is_better else "↓"
        lines = [table_text(column.title), f"`{column.protocol}`", f"{table_text(column.metric)} {arrow}"]
        if twin:
            lines.append(twin)
        heads.append("<br>".join(lines))
    return heads


def _mean_head(mean: Mean) -> str:
    arrow = "↑" if mean.spec.higher_is_better else "↓"
    return f"{table_text(mean.spec.title)}<br>of {len(mean.spec.of)} columns<br>mean {arrow}"


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def twin_notes(board: Leaderboard) -> list[str]:
    """Return what tells columns of one protocol id and metric apart: data or config. Empty without a twin."""
    places = [(column.protocol, column.metric) for column in board.columns]
    return [
        f"data {column.fingerprint[:8]}{'' if column.published_data else ' (see notes)'}, "
        f"config {column.config_sha256[:8]}"
        if places.count((column.protocol, column.metric)) > 1
        else ""
        for column in board.columns
    ]


def _label(board: Leaderboard, row: int) -> str:
    return table_text(board.label(row))


def _shown(board: Leaderboard, row: int, column: int, failures: list[str]) -> str:
    cell = board.cells.get((row, column))
    if cell is None:
        return ""
    parts = []
    if cell.mean is not None:
        parts.append(_bold(format_cell(cell), row in board.best(column)))
    for failure in cell.failures:
        failures.append(f"{_label(board, row)}, `{board.columns[column].protocol}`, {table_text(failure)}")
        parts.append(f"failed ({len(failures)})")
    return " ".join(parts)


def format_cell(cell: Cell) -> str:
    """Return the mean of a cell that has one, its † and its ±: "82.10† ± 0.20 (n=3)"."""
    spread = f" ± {cell.std:.2f} (n={len(cell.values)})" if cell.std is not None else ""
    return f"{cell.mean:.2f}{'†' if cell.chosen_on_test_set else ''}{spread}"


def _published(board: Leaderboard) -> list[str]:
    """The quoted numbers: a table of their own, under the heads of the columns that they belong to."""
    quoted = {ref.protocol for ref in board.published}
    shown = [at for at, column in enumerate(board.columns) if column.protocol in quoted and board.quotable(at)]
    if not shown:
        return []
    heads = _heads(board)
    rows: dict[tuple[str, str], list[str]] = {}
    for ref in board.published:
        cells = rows.setdefault((table_text(ref.method), cite(ref)), [""] * len(shown))
        for at, column in enumerate(board.columns[column] for column in shown):
            if column.protocol == ref.protocol and column.metric in ref.metrics:
                cells[at] = as_printed(ref.metrics[column.metric])
    table = _table(
        ["method", *(heads[at] for at in shown), "source"],
        [[method, *cells, source] for (method, source), cells in rows.items()],
    )
    return ["## Published numbers (quoted, not measured here)", table]


@dataclasses.dataclass(frozen=True)
class OtherNumbers:
    """What was published on a data set by protocols that are no column's."""

    dataset: str
    differences: list[str]
    """How the protocols differ from the nearest that configs have, a line each."""
    rows: list[tuple[str, str, str, str]]
    """Method, protocol, numbers, source."""


def other_numbers(board: Leaderboard) -> list[OtherNumbers]:
    """Return what was published on the columns' data by other protocols: numbers that no column may hold."""
    parts = []
    for dataset in dict.fromkeys(ref.dataset for ref in board.others):
        found = [ref for ref in board.others if ref.dataset == dataset]
        rows: dict[tuple[str, str, str], list[str]] = {}
        for ref in found:
            source = cite(ref.model_copy(update={"pretraining": ""}))
            rows.setdefault((table_text(ref.method), _protocol(ref.protocol), source), []).append(_values(ref))
        lines = [(method, protocol, "; ".join(values), source) for (method, protocol, source), values in rows.items()]
        parts.append(OtherNumbers(table_text(dataset), _differences(found), lines))
    return parts


def _other_protocols(board: Leaderboard) -> list[str]:
    parts = []
    for other in other_numbers(board):
        table = _table(["method", "protocol", "numbers", "source"], [[*row] for row in other.rows], "---")
        parts += [f"### On {other.dataset}", _bullets(other.differences), table]
    return [f"## {OTHERS_HEAD}", *parts] if parts else []


def _differences(references: list[Reference]) -> list[str]:
    differs = [f"{_protocol(r.protocol)} is not {_protocol(r.nearest)}: {r.differs}" for r in references if r.nearest]
    known = [_protocol(ref.protocol) for ref in references if not ref.nearest]
    alone = [f"Not run here; the protocol cards have the settings: {', '.join(dict.fromkeys(known))}."] if known else []
    return [*dict.fromkeys(map(table_text, differs)), *alone]


def _protocol(name: str) -> str:
    return f"`{table_text(name)}`"


def _values(ref: Reference) -> str:
    values = ", ".join(f"{table_text(metric)} {as_printed(value)}" for metric, value in ref.metrics.items())
    return f"{values} ({table_text(ref.pretraining)})" if ref.pretraining else values


def cite(ref: Reference) -> str:
    """Return where a number is printed and, in brackets, what is known of its run."""
    return table_text(f"{ref.source} ({describe_reference(ref)})")


def as_printed(value: float) -> str:
    """Return a published number with at least one decimal: 55.0 and 39.07."""
    return f"{value:.1f}" if value == round(value, 1) else f"{value:g}"


def describe_reference(ref: Reference) -> str:
    """Say which network it was, how it was pretrained, who ran it, what else its source says, and who added it."""
    run_by = "" if ref.by_authors else "not the authors' run"
    added = f"added from {ref.added_from}" if ref.added_from else ""
    return ", ".join(filter(None, (ref.arch, ref.pretraining, run_by, ref.note, added)))


def legend_lines(board: Leaderboard) -> list[str]:
    """Return what the signs in the table mean, as far as they occur."""
    lines = ["Rows are in the order of their mean rank over the columns. Bold: the best of a column. Empty: not run."]
    if any(cell.std is not None for cell in board.cells.values()):
        lines.append("±: sample standard deviation over n trials.")
    if any(cell.chosen_on_test_set for cell in board.cells.values()):
        lines.append("†: the best of several epochs or settings, chosen on the very images it is measured on.")
    if any("+" in column.protocol for column in board.columns):
        lines.append(
            "A protocol id with a `+` is not the published protocol: a setting, the labels or the data are others."
        )
    return lines + [table_text(mean.hindrance or mean.text) for mean in board.means if mean.values or mean.hindrance]


def data_notes(board: Leaderboard) -> list[str]:
    """Return each column's data set, its size and fingerprint, and why it is not the published where it is not."""
    lines = []
    for at, column in enumerate(board.columns):
        found = [r.dataset for r in _records_of(board, at) if r.dataset and r.dataset.fingerprint == column.fingerprint]
        notes = sorted({dataset.note for dataset in found if dataset.note})
        sizes = sorted({dataset.num_images for dataset in found if dataset.fingerprint})
        known = (
            f"{', '.join(map(str, sizes))} images, fingerprint {column.fingerprint[:12]}" if sizes else "not readable"
        )
        lines.append(
            "; ".join(
                [f"`{column.protocol}`: {table_text(column.dataset) or 'data'}, {known}", *map(table_text, notes)]
            )
        )
    return list(dict.fromkeys(lines))


def model_notes(board: Leaderboard) -> list[str]:
    """Return each row's network, encoder, epoch and weights."""
    lines = []
    for row, model in enumerate(board.models):
        encoder = "" if model.encoder == "only" else f", {model.encoder} encoder"
        epoch = "" if model.epoch is None else f", epoch {model.epoch}"
        weights = f", weights {model.sha256[:12]}" if model.sha256 else ""
        lines.append(f"{_label(board, row)}: {model.arch or 'unknown network'}{encoder}{epoch}{weights}")
    return lines


def warning_lines(board: Leaderboard) -> list[str]:
    """Return the trials whose records differ, and every warning of a record once, with its model and protocol."""
    lines = dict.fromkeys(map(table_text, board.conflicts))
    for record in board.records:
        for warning in record.warnings:
            lines[f"{table_text(record.model.name)}, `{record.benchmark.protocol}`: {table_text(warning)}"] = None
    return list(lines)


def version_lines(board: Leaderboard) -> list[str]:
    """Return each combination of libraries that the records were computed with."""
    found = {tuple(sorted(record.versions.items())) for record in board.records if record.versions}
    return sorted(", ".join(f"{name} {version}" for name, version in versions) for versions in found)


def _records_of(board: Leaderboard, column: int) -> list[Record]:
    return [record for record, at in zip(board.records, board.columns_of_records, strict=True) if at == column]


def table_text(words: str) -> str:
    """Return `words` as text that cannot break a table."""
    return " ".join(words.split()).replace("|", "\\|")


def format_text(board: Leaderboard) -> str:
    """Return the measured numbers as a plain table for a terminal, with the reasons of failures below it."""
    failures: list[str] = []
    heads = ["model"]
    for column, twin in zip(board.columns, twin_notes(board), strict=True):
        heads.append(f"{column.protocol} {column.metric}{f' ({twin})' if twin else ''}")
    heads += [mean.spec.title for mean in board.derived]
    rows = [
        [
            _label(board, row),
            *(_shown(board, row, at, failures) for at in range(len(board.columns))),
            *(mean.shown(row) for mean in board.derived),
        ]
        for row in range(len(board.models))
    ]
    widths = [max(len(line[at]) for line in [heads, *rows]) for at in range(len(heads))]
    lines = [
        "  ".join(
            text.ljust(width) if at == 0 else text.rjust(width) for at, (text, width) in enumerate(zip(line, widths))
        )
        for line in [heads, *rows]
    ]
    reasons = [f"({number}) {text}" for number, text in enumerate(failures, 1)]
    return "\n".join(line.replace("**", "").rstrip() for line in [*lines, *reasons])
