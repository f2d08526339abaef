"""Where things lie in a chart, in pixels of a drawing 360 wide; page.html draws them as SVG."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mec_transfer.report.curves import Points

WIDTH = 360
_BARS = (124.0, 274.0)
"""From where to where bars reach: names stand before them, numbers after them."""
_ROW = 22
_PLOT = (44.0, 10.0, 352.0, 150.0)
"""The left, upper, right and lower edge of curves."""
_NAME_LETTERS = 18
CURVES = 6
"""As many as can be told apart."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """One model's bar in a chart of a column."""

    name: str
    short: str
    text: str
    best: bool
    y: float
    x: float
    width: float
    interval: tuple[float, float] | None
    """Both ends of the interval about the mean."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BarChart:
    """A column's bars, the best first."""

    height: float
    zero: float
    bars: list[Bar]


def bar_chart(rows: Sequence[tuple[str, str, bool, float, tuple[float, float] | None]]) -> BarChart:
    """Lay bars out: of each its name, text, whether it is the best, its value, and the interval about that."""
    ends = [value for *_, mean, interval in rows for value in (mean, *(interval or ()))]
    low, high = min(0.0, *ends), max(0.0, *ends)
    scale = (_BARS[1] - _BARS[0]) / ((high - low) or 1.0)

    def x(value: float) -> float:
        return round(_BARS[0] + (value - low) * scale, 1)

    bars = [
        Bar(
            name=name,
            short=shorten(name, _NAME_LETTERS),
            text=text,
            best=best,
            y=at * _ROW + 4,
            x=min(x(0.0), x(mean)),
            width=round(abs(x(mean) - x(0.0)), 1),
            interval=(x(interval[0]), x(interval[1])) if interval else None,
        )
        for at, (name, text, best, mean, interval) in enumerate(rows)
    ]
    return BarChart(height=len(rows) * _ROW + 4, zero=x(0.0), bars=bars)


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
    """Lay the curves of some models out: of each two points or more."""
    steps = [x for points in series.values() for x, _ in points]
    values = [y for points in series.values() for _, y in points]
    (left, top, right, bottom), (low, high) = _PLOT, (min(values), max(values))
    if low == high:
        low, high = low - 1, high + 1
    first, last = min(steps), max(steps)

    def x(step: float) -> float:
        return round(left + (step - first) / ((last - first) or 1) * (right - left), 1)

    def y(value: float) -> float:
        return round(bottom - (value - low) / (high - low) * (bottom - top), 1)

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


def shorten(text: str, letters: int) -> str:
    """Cut a text that is longer than so many letters, and show that it is cut."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
