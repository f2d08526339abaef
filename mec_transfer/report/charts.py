"""Profiles, bars and curves: what they show, and where it lies in a drawing 360 wide; page.html draws them as SVG."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

from mec_transfer.report.curves import Points
from mec_transfer.results.leaderboard import Cell, Leaderboard
from mec_transfer.results.markdown import format_cell

Intervals = Mapping[tuple[int, int], tuple[float, float]]
"""(row, column) to both ends of an interval about the mean."""

BARS = 20
"""Models in a chart of bars; the others are in the table."""
CURVES = 6
"""Models in a chart of curves: as many as can be told apart."""
PROFILES = 12
"""Models with a profile each; of more, one is chosen."""
_BARS_FROM, _BARS_TO = 124.0, 274.0
"""Where bars lie: names stand before them, numbers after them."""
_BAR_ROW = 22
_LEFT, _TOP, _RIGHT, _BOTTOM = 44.0, 10.0, 352.0, 150.0
"""Where curves lie."""
_NAME_LETTERS = 18


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """What a model gains over a baseline, column by column."""

    row: int
    gains: list[float | None]
    """In the metric's own points, above zero where the model is the better; None where either has no number."""
    lengths: list[float]
    """How long the bars are, from -100 to 100."""


def profiles(board: Leaderboard, baseline: int) -> list[Profile]:
    """Return the profile of each row but the baseline's, on one scale; of many rows the first one's."""
    rows = [row for row in range(len(board.models)) if row != baseline or len(board.models) == 1]
    gains = {row: _gains(board, row, baseline) for row in (rows if len(board.models) <= PROFILES else rows[:1])}
    widest = max((abs(gain) for found in gains.values() for gain in found if gain), default=1.0)
    return [
        Profile(row=row, gains=found, lengths=[round(100 * (gain or 0.0) / widest, 1) for gain in found])
        for row, found in gains.items()
    ]


def _gains(board: Leaderboard, row: int, baseline: int) -> list[float | None]:
    found: list[float | None] = []
    for at, column in enumerate(board.columns):
        here, there = (finite_mean(board.cells.get((one, at))) for one in (row, baseline))
        sign = 1 if column.higher_is_better else -1
        found.append(None if here is None or there is None else sign * (here - there))
    return found


def finite_mean(cell: Cell | None) -> float | None:
    """Return a cell's mean; None where it has none that can be drawn."""
    return cell.mean if cell and cell.mean is not None and math.isfinite(cell.mean) else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """One model's bar in the chart of a column."""

    name: str
    short: str
    text: str
    best: bool
    y: float
    x: float
    width: float
    whisker: tuple[float, float] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BarChart:
    """A column's bars, the best first."""

    column: int
    height: float
    zero: float
    bars: list[Bar]


def bar_charts(board: Leaderboard, labels: Sequence[str], intervals: Intervals) -> Iterator[BarChart]:
    """Yield a chart for each column that has a number. A whisker is ± std where `intervals` has no other."""
    for at, column in enumerate(board.columns):
        found = [
            (mean, row) for row in range(len(labels)) if (mean := finite_mean(board.cells.get((row, at)))) is not None
        ]
        found.sort(key=lambda one: (-one[0] if column.higher_is_better else one[0], one[1]))
        if found:
            yield _bar_chart(board, labels, at, found[:BARS], intervals)


def _bar_chart(
    board: Leaderboard, labels: Sequence[str], column: int, found: list[tuple[float, int]], intervals: Intervals
) -> BarChart:
    cells = {row: board.cells[row, column] for _, row in found}
    ends = {row: intervals.get((row, column)) or _deviation(cell) for row, cell in cells.items()}
    all_ends = [end for pair in ends.values() if pair for end in pair]
    low = min(0.0, *(mean for mean, _ in found), *all_ends)
    high = max(0.0, *(mean for mean, _ in found), *all_ends)
    scale = (_BARS_TO - _BARS_FROM) / ((high - low) or 1.0)

    def x(value: float) -> float:
        return round(_BARS_FROM + (value - low) * scale, 1)

    bars, best = [], board.best(column)
    for place, (mean, row) in enumerate(found):
        pair = ends[row]
        bars.append(
            Bar(
                name=labels[row],
                short=_shortened(labels[row]),
                text=format_cell(cells[row]),
                best=row in best,
                y=place * _BAR_ROW + 4,
                x=min(x(0.0), x(mean)),
                width=round(abs(x(mean) - x(0.0)), 1),
                whisker=(x(pair[0]), x(pair[1])) if pair else None,
            )
        )
    return BarChart(column=column, height=len(bars) * _BAR_ROW + 4, zero=x(0.0), bars=bars)


def _deviation(cell: Cell) -> tuple[float, float] | None:
    if cell.mean is None or cell.std is None or not math.isfinite(cell.std):
        return None
    return cell.mean - cell.std, cell.mean + cell.std


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1]}…"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One model's line."""

    name: str
    first: str
    last: str
    points: str
    """As SVG's polyline takes them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveChart:
    """Lines over steps or epochs."""

    title: str
    unit: str
    curves: list[Curve]
    y_ticks: list[tuple[float, str]]
    x_ticks: list[tuple[float, str]]


def curve_chart(title: str, unit: str, series: Mapping[str, Points]) -> CurveChart:
    """Lay the curves of some models out: of each two finite points or more."""
    steps = [step for points in series.values() for step, _ in points]
    values = [value for points in series.values() for _, value in points]
    first, last, low, high = min(steps), max(steps), min(values), max(values)
    if low == high:
        low, high = low - 1, high + 1

    def x(step: float) -> float:
        return round(_LEFT + (step - first) / ((last - first) or 1.0) * (_RIGHT - _LEFT), 1)

    def y(value: float) -> float:
        return round(_BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP), 1)

    return CurveChart(
        title=title,
        unit=unit,
        curves=[
            Curve(
                name=name,
                first=f"{points[0][1]:.4g}",
                last=f"{points[-1][1]:.4g}",
                points=" ".join(f"{x(step):g},{y(value):g}" for step, value in points),
            )
            for name, points in series.items()
        ],
        y_ticks=[(y(value), f"{value:.3g}") for value in (low, (low + high) / 2, high)],
        x_ticks=[(x(step), f"{step:g}") for step in (first, last)],
    )
