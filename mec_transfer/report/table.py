"""The leaderboard's table as the page shows it: heads, cells with the notes that they refer to, published rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mec_transfer.results.leaderboard import Column, Leaderboard
from mec_transfer.results.markdown import as_printed, describe_reference, format_cell, twin_notes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """A column's head."""

    column: Column
    name: str
    """A name for the column outside the table, unique among the columns of its metric."""
    twin: str
    """What distinguishes it from another column with its protocol id and metric; empty if there is none."""

    @property
    def arrow(self) -> str:
        """An arrow towards the better numbers."""
        return "↑" if self.column.higher_is_better else "↓"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A measured cell."""

    text: str
    """Empty where every trial failed."""
    best: bool
    failed: tuple[int, ...]
    """Numbers of the notes that say why, from 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quoted:
    """A row of published numbers: what one source says of one method."""

    method: str
    source: str
    about: str
    values: dict[int, tuple[float, str]]
    """Column to the number, and how it is printed."""


def heads(board: Leaderboard) -> list[Head]:
    """Return the head of each column."""
    titles = [(column.title, column.metric) for column in board.columns]
    found = []
    for column, twin in zip(board.columns, twin_notes(board), strict=True):
        alone = titles.count((column.title, column.metric)) == 1
        name = column.title if alone else f"{column.title} ({twin or column.protocol})"
        found.append(Head(column=column, name=name, twin=twin))
    return found


def cells(board: Leaderboard, labels: list[str]) -> tuple[list[list[Shown | None]], list[str]]:
    """Return the cells by row and column, and the failures that they refer to, as lines of markdown."""
    best = [board.best(column) for column in range(len(board.columns))]
    failures: list[str] = []
    table: list[list[Shown | None]] = []
    for row, label in enumerate(labels):
        line: list[Shown | None] = []
        for at, column in enumerate(board.columns):
            cell = board.cells.get((row, at))
            if cell is None:
                line.append(None)
                continue
            first = len(failures) + 1
            failures += [f"{label}, `{column.protocol}`, {failure}" for failure in cell.failures]
            text = "" if cell.mean is None else format_cell(cell)
            line.append(Shown(text=text, best=row in best[at], failed=tuple(range(first, len(failures) + 1))))
        table.append(line)
    return table, failures


def quoted(board: Leaderboard) -> Iterator[Quoted]:
    """Yield the published rows: numbers stand in the columns of their protocol and metric, on the published data."""
    rows: dict[tuple[str, str, str], dict[int, tuple[float, str]]] = {}
    for ref in board.published:
        values = rows.setdefault((ref.method, ref.source, describe_reference(ref)), {})
        for at, column in enumerate(board.columns):
            if column.protocol == ref.protocol and column.metric in ref.metrics and board.quotable(at):
                number = ref.metrics[column.metric]
                values[at] = number, as_printed(number)
    for (method, source, about), values in rows.items():
        if values:
            yield Quoted(method=method, source=source, about=about, values=values)
