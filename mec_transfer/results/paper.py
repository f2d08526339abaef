"""The leaderboard as papers print it: a table for each family, short heads, one decimal, AP with AP50 and AP75.

The tables are the same in markdown (`format_paper`) and in LaTeX (`mec_transfer.results.latex`).
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Collection, Iterator

from mec_transfer.results.leaderboard import Leaderboard
from mec_transfer.results.markdown import as_printed, describe_reference, table_text, twin_notes
from mec_transfer.results.means import Mean
from mec_transfer.results.references import Reference

MISSING = "–"
PUBLISHED = "published, quoted from its source"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """A protocol's head, over one column of the table for each of its metrics."""

    title: str
    protocol: str
    metrics: tuple[str, ...]
    higher_is_better: bool

    @property
    def names(self) -> list[str]:
        """What stands over each column; the title says already whether boxes or masks are meant."""
        arrow = "" if self.higher_is_better else " ↓"
        return [f"{metric.removeprefix('mask_')}{arrow}" for metric in self.metrics]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number:
    """What one cell shows."""

    mean: str
    std: str = ""
    count: str = ""
    """"n=3" where the table's numbers are of different n, else empty."""
    best: bool = False
    chosen_on_test_set: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One family's numbers; a row has a cell for each metric of each head."""

    family: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[str, tuple[Number | None, ...]], ...]
    published: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def paper_tables(board: Leaderboard) -> list[PaperTable]:
    """Return a table for each family of `board`, in the order of its columns."""
    families = dict.fromkeys(column.family for column in board.columns)
    return [_table(board, family) for family in families]


def _table(board: Leaderboard, family: str) -> PaperTable:
    places = [at for at, column in enumerate(board.columns) if column.family == family]
    heads = _heads(board, places)
    columns = [(at, metric) for at, head in zip(places, heads, strict=True) for metric in head.metrics]
    values = {
        (row, at, metric): [record.metrics[metric] for record in records if metric in record.metrics]
        for (row, place), records in board.measured.items()
        for at, metric in columns
        if place == at
    }
    values = {place: found for place, found in values.items() if found}
    counts = {len(found) for found in values.values() if len(found) > 1}
    by_column = [_column(board, values, at, metric, len(counts) > 1) for at, metric in columns]
    rows = sorted({row for row, at in board.cells if at in places})
    published, sources = _published(board, places, heads)
    derived = _derived(board, family)
    by_column += [_mean_column(mean) for mean in derived]
    return PaperTable(
        family=family,
        heads=(*heads, *map(_mean_head, derived)),
        rows=tuple((board.label(row), tuple(column.get(row) for column in by_column)) for row in rows),
        published=tuple((method, (*numbers, *[""] * len(derived))) for method, numbers in published),
        notes=(
            *_notes(board, heads, rows, by_column, counts),
            *(mean.text.replace("`", "") for mean in derived),
            *_signs(published),
            *sources,
        ),
    )


def _derived(board: Leaderboard, family: str) -> list[Mean]:
    """Return the means over columns of this family alone."""
    own = {column.protocol for column in board.columns if column.family == family}
    return [mean for mean in board.derived if {part.protocol for part in mean.spec.of} <= own]


def _mean_head(mean: Mean) -> Head:
    return Head(title=mean.spec.title, protocol="", metrics=("mean",), higher_is_better=mean.spec.higher_is_better)


def _mean_column(mean: Mean) -> dict[int, Number]:
    decimals = _decimals(mean.values.values())
    return {
        row: Number(
            mean=f"{value:.{decimals}f}", best=row in mean.best, chosen_on_test_set=row in mean.chosen_on_test_set
        )
        for row, value in mean.values.items()
    }


def _decimals(numbers: Collection[float]) -> int:
    """One decimal, and three where all numbers are below 1."""
    return 3 if numbers and all(abs(number) < 1 for number in numbers) else 1


def _heads(board: Leaderboard, places: list[int]) -> tuple[Head, ...]:
    titles, twins = [board.columns[at].title for at in places], twin_notes(board)
    heads = []
    for at in places:
        column = board.columns[at]
        custom = f"+{column.protocol.partition('+')[2]}" if "+" in column.protocol else ""
        unlike = " ".join(filter(None, (custom, f"({twins[at]})" if twins[at] else "")))
        title = f"{column.title} {unlike}" if unlike and titles.count(column.title) > 1 else column.title
        heads.append(
            Head(
                title=title,
                protocol=column.protocol,
                metrics=board.shown_metrics(at),
                higher_is_better=column.higher_is_better,
            )
        )
    return tuple(heads)


def _column(
    board: Leaderboard, values: dict[tuple[int, int, str], list[float]], at: int, metric: str, tell_count: bool
) -> dict[int, Number]:
    """Return the numbers of one metric by row."""
    found = {row: numbers for (row, place, name), numbers in values.items() if (place, name) == (at, metric)}
    means = {row: statistics.fmean(numbers) for row, numbers in found.items()}
    decimals = _decimals(means.values())
    better = max if board.columns[at].higher_is_better else min
    top = better(means.values()) if len(means) > 1 else None
    return {
        row: Number(
            mean=f"{mean:.{decimals}f}",
            std=f"{statistics.stdev(found[row]):.{decimals}f}" if len(found[row]) > 1 else "",
            count=f"n={len(found[row])}" if tell_count and len(found[row]) > 1 else "",
            best=mean == top,
            chosen_on_test_set=board.cells[row, at].chosen_on_test_set,
        )
        for row, mean in means.items()
    }


def _published(
    board: Leaderboard, places: list[int], heads: tuple[Head, ...]
) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], list[str]]:
    """Return the quoted rows below the heads that they belong to, and the list of their sources."""
    sources: dict[str, dict[str, None]] = {}
    rows: dict[tuple[str, str], list[str]] = {}
    columns = [(at, head, metric) for at, head in zip(places, heads, strict=True) for metric in head.metrics]
    for ref in board.published:
        cells = [
            as_printed(ref.metrics[metric])
            if board.quotable(at) and head.protocol == ref.protocol and metric in ref.metrics
            else ""
            for at, head, metric in columns
        ]
        if any(cells):
            about = describe_reference(ref.model_copy(update={"pretraining": "", "by_authors": True}))
            sources.setdefault(ref.source, {})[about] = None
            row = rows.setdefault((_method(ref), ref.source), [""] * len(columns))
            rows[_method(ref), ref.source] = [new or old for old, new in zip(row, cells, strict=True)]
    numbers = {source: number for number, source in enumerate(sources, 1)}
    listed = [f"[{numbers[source]}] {source} ({'; '.join(about)})" for source, about in sources.items()]
    return tuple((f"{method} [{numbers[source]}]", tuple(cells)) for (method, source), cells in rows.items()), listed


def _method(ref: Reference) -> str:
    return f"{ref.method}{', ' if ref.pretraining else ''}{ref.pretraining}{'' if ref.by_authors else '‡'}"


def _notes(
    board: Leaderboard, heads: tuple[Head, ...], rows: list[int], columns: list[dict[int, Number]], counts: set[int]
) -> Iterator[str]:
    yield f"Protocols: {'; '.join(f'{head.title}: {head.protocol}' for head in heads)}."
    networks = {board.label(row): board.models[row].arch or "unknown network" for row in rows}
    alike = set(networks.values())
    yield f"Network: {alike.pop()}." if len(alike) == 1 else f"Networks: {', '.join(map(' '.join, networks.items()))}."
    if counts:
        yield f"±: sample standard deviation over {f'n = {counts.pop()}' if len(counts) == 1 else 'n'} seeds."
    shown = [column.get(row) for column in columns for row in rows]
    if any(number is not None and number.chosen_on_test_set for number in shown):
        yield "†: the best of several epochs or settings, chosen on the data that it is measured on."
    if None in shown:
        yield f"{MISSING}: not run, or without a number."


def _signs(published: tuple[tuple[str, tuple[str, ...]], ...]) -> Iterator[str]:
    if any("‡" in method for method, _ in published):
        yield "‡: not run by the method's authors."


def format_paper(board: Leaderboard) -> str:
    """Return the tables as markdown, each with its notes."""
    parts = []
    for table in paper_tables(board):
        heads = ["model"]
        for head in table.heads:
            heads += [f"{head.title}<br>{head.names[0]}", *head.names[1:]]
        rows = [[label, *map(_markdown, numbers)] for label, numbers in table.rows]
        if table.published:
            rows.append([f"*{PUBLISHED}*", *[""] * (len(heads) - 1)])
            rows += [[method, *cells] for method, cells in table.published]
        lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
        shown = "\n".join(f"| {' | '.join(map(table_text, line))} |" for line in lines)
        notes = "\n".join(f"- {' '.join(note.split())}" for note in table.notes)
        parts += [f"## {table.family.capitalize()}", shown, notes]
    return "\n\n".join(parts) + "\n"


def _markdown(number: Number | None) -> str:
    if number is None:
        return MISSING
    spread = f" ± {number.std}" if number.std else ""
    count = f" ({number.count})" if number.count else ""
    shown = f"{number.mean}{spread}"
    return f"{f'**{shown}**' if number.best else shown}{'†' if number.chosen_on_test_set else ''}{count}"
