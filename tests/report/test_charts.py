"""Profiles, bars and curves: lengths against what they must be by the rule of three."""

from __future__ import annotations

import pytest

from mec_transfer.report.charts import BARS, PROFILES, bar_charts, curve_chart, profiles
from mec_transfer.results.leaderboard import Leaderboard, build_leaderboard
from mec_transfer.results.record import BenchmarkInfo, ModelInfo, Record


def record(model: str, protocol: str, value: float, seed: int = 0, higher: bool = True) -> Record:
    return Record(
        status="ok",
        model=ModelInfo(name=model, sha256=model.encode().hex(), arch="resnet18"),
        benchmark=BenchmarkInfo(id=protocol, family="f", protocol=protocol, config_sha256=protocol),
        metrics={"m": value},
        primary="m",
        higher_is_better=higher,
        seed=seed,
        trial=seed,
    )


@pytest.fixture
def board() -> Leaderboard:
    return build_leaderboard(
        [
            *(record("a", "p", value, seed) for seed, value in enumerate((50.0, 54.0))),
            record("b", "p", 40.0),
            record("random", "p", 32.0),
            record("a", "q", 3.0, higher=False),
            record("b", "q", 9.0, higher=False),
            record("random", "q", 8.0, higher=False),
            record("a", "only-a", 1.0),
        ]
    )


def test_a_profile_is_the_difference_to_the_baseline_and_better_is_above_zero(board: Leaderboard) -> None:
    names = [model.name for model in board.models]
    columns = [column.protocol for column in board.columns]
    found = {names[one.row]: one for one in profiles(board, names.index("random"))}
    assert set(found) == {"a", "b"}
    gains = {name: dict(zip(columns, one.gains, strict=True)) for name, one in found.items()}
    assert gains == {"a": {"p": 20.0, "q": 5.0, "only-a": None}, "b": {"p": 8.0, "q": -1.0, "only-a": None}}
    lengths = dict(zip(columns, found["b"].lengths, strict=True))
    assert lengths == {"p": 40.0, "q": -5.0, "only-a": 0.0}  # in hundredths of the widest, 20


def test_a_profile_of_many_models_is_of_the_first_and_of_one_model_is_its_own() -> None:
    many = build_leaderboard([record(f"m{at}", "p", at) for at in range(PROFILES + 1)])
    (only,) = profiles(many, PROFILES)
    assert many.models[only.row].name == f"m{PROFILES}" or only.row == 0
    (alone,) = profiles(build_leaderboard([record("a", "p", 3.0)]), 0)
    assert alone.gains == [0.0] and alone.lengths == [0.0]


def test_bars_are_as_long_as_their_numbers_and_begin_at_zero(board: Leaderboard) -> None:
    labels = [model.name for model in board.models]
    charts = {board.columns[chart.column].protocol: chart for chart in bar_charts(board, labels, {})}
    p, q = charts["p"], charts["q"]
    assert [bar.name for bar in p.bars] == ["a", "b", "random"] and [bar.name for bar in q.bars] == ["a", "random", "b"]
    assert all(bar.x == p.zero for bar in p.bars)
    unit = p.bars[1].width / 40
    assert [bar.width for bar in p.bars] == pytest.approx([52 * unit, 40 * unit, 32 * unit], abs=0.1)
    half = 8**0.5  # the sample deviation of 50 and 54
    ends = p.zero + unit * (52 - half), p.zero + unit * (52 + half)
    assert p.bars[0].whisker == pytest.approx(ends, abs=0.2) and p.bars[1].whisker is None
    assert p.bars[0].best and not p.bars[1].best and p.bars[0].text == "52.00 ± 2.83 (n=2)"


def test_given_intervals_take_the_place_of_the_deviation(board: Leaderboard) -> None:
    labels = [model.name for model in board.models]
    column = [column.protocol for column in board.columns].index("p")
    chart = next(
        c for c in bar_charts(board, labels, {(labels.index("b"), column): (20.0, 60.0)}) if c.column == column
    )
    bar = next(bar for bar in chart.bars if bar.name == "b")
    unit = bar.width / 40
    assert bar.whisker == pytest.approx((chart.zero + 20 * unit, chart.zero + 60 * unit), abs=0.2)


def test_below_zero_bars_lie_on_the_other_side() -> None:
    board = build_leaderboard([record("a", "p", 10.0), record("b", "p", -10.0)])
    (chart,) = bar_charts(board, [model.name for model in board.models], {})
    up, down = chart.bars
    assert up.x == chart.zero and down.x + down.width == pytest.approx(chart.zero) and up.width == down.width


def test_numbers_that_are_none_take_no_place() -> None:
    board = build_leaderboard([record("a", "p", float("nan")), record("b", "p", 0.0), record("c", "q", float("inf"))])
    labels = [model.name for model in board.models]
    (chart,) = bar_charts(board, labels, {})
    assert [(bar.name, bar.width) for bar in chart.bars] == [("b", 0.0)]
    assert all(gain in (None, 0.0) for one in profiles(board, 0) for gain in one.gains)


def test_of_many_models_the_best_are_drawn() -> None:
    board = build_leaderboard([record(f"m{at}", "p", at) for at in range(BARS + 5)])
    (chart,) = bar_charts(board, [model.name for model in board.models], {})
    assert [bar.name for bar in chart.bars] == [f"m{at}" for at in range(BARS + 4, 4, -1)]


def test_a_curve_goes_from_corner_to_corner() -> None:
    chart = curve_chart("loss", "step", {"a": [(1, 4.0), (2, 3.0), (3, 2.0)], "b": [(1, 2.5), (3, 2.5)]})
    first, middle, last = (tuple(map(float, point.split(","))) for point in chart.curves[0].points.split())
    assert first == (44, 10) and middle == (198, 80) and last == (352, 150)
    assert [text for _, text in chart.y_ticks] == ["2", "3", "4"] and chart.y_ticks[0][0] == 150
    assert [text for _, text in chart.x_ticks] == ["1", "3"]
    assert (chart.curves[0].first, chart.curves[0].last) == ("4", "2")


def test_a_curve_that_never_moves_lies_in_the_middle() -> None:
    chart = curve_chart("loss", "step", {"a": [(5, 1.0), (6, 1.0)]})
    assert {point.split(",")[1] for point in chart.curves[0].points.split()} == {"80"}
