"""The bootstrap against formulas, against the metric on a draw that is really made, and its coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mec_transfer.comparison.bootstrap import (
    Spread,
    draws,
    margin,
    resample,
    student_quantile,
    trial_spread,
    unit_spread,
)
from mec_transfer.units import Pooled, Ratios


def ratios(totals: np.ndarray, sizes: np.ndarray | None = None) -> Ratios:
    sizes = np.ones(len(totals)) if sizes is None else sizes
    return Ratios(kind="images", truth="", totals={"score": totals}, sizes=sizes)


def test_draws_are_as_many_units_as_there_are_and_the_same_every_time() -> None:
    once = np.concatenate(list(draws(30, 50)), axis=1)
    assert once.shape == (30, 50) and (once.sum(axis=0) == 30).all() and (once == 0).any()
    assert np.array_equal(once, np.concatenate(list(draws(30, 50)), axis=1))


def test_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    once = np.concatenate(list(draws(30, 50)), axis=1)
    monkeypatch.setattr("mec_transfer.comparison.bootstrap._CELLS", 7 * 30)
    parts = list(draws(30, 50))
    assert [part.shape[1] for part in parts] == [7] * 7 + [1] and np.array_equal(np.concatenate(parts, axis=1), once)


def test_a_metric_on_draws_is_the_metric_of_the_drawn_units() -> None:
    random = np.random.default_rng(1)
    totals, sizes = random.normal(size=12), random.integers(1, 4, 12)

    def measure(units: list[int]) -> float:
        return float(totals[units].sum() / sizes[units].sum())

    pooled = Pooled(kind="sequences", truth="", count=12, pool=lambda metric: measure)
    found = resample(ratios(totals, sizes), "score", 40)
    assert found == pytest.approx(resample(pooled, "score", 40)) and found.std() > 0
    (counts,) = draws(12, 40)
    units = np.repeat(np.arange(12), counts[:, 17])
    assert found[17] == pytest.approx(totals[units].sum() / sizes[units].sum())


@pytest.mark.parametrize("freedom", [1, 2.5, 9, 23, 199, 4999])
@pytest.mark.parametrize("probability", [0.5, 0.9, 0.975, 0.9975, 0.99999])
def test_the_quantile_is_students(freedom: float, probability: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(
        stats.t.ppf(probability, freedom), rel=1e-6, abs=1e-6
    )


def test_of_a_mean_the_interval_is_the_paired_t_tests() -> None:
    differences = np.random.default_rng(2).normal(1, 2, 40)
    reach = margin([unit_spread(resample(ratios(differences), "score", 20_000), 40)], 0.99)
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.99)
    assert reach == pytest.approx((high - low) / 2, rel=0.02)


def test_of_trials_the_interval_is_welchs() -> None:
    one, two = [70.1, 70.9, 71.4, 70.2], [69.0, 69.9, 68.1]
    low, high = stats.ttest_ind(one, two, equal_var=False).confidence_interval(0.95)
    spreads = [trial_spread(values, np.zeros((len(values), 5))) for values in (one, two)]
    assert margin(spreads, 0.95) == pytest.approx((high - low) / 2)


def test_what_trials_differ_by_on_their_images_by_chance_is_no_spread_of_theirs() -> None:
    random, count = np.random.default_rng(5), 2000
    (counts,) = draws(count, 400)
    rights = 100.0 * (random.random((2, count)) < 0.7)  # two trials that are equally good, each on images of its own
    drawn = np.array([ratios(right).measure("score", counts) for right in rights])
    wide = [50.0, 60.0]
    whole, left = (trial_spread(wide, part).variance for part in (np.zeros((2, 400)), drawn))
    assert whole == pytest.approx(25) and whole - left == pytest.approx(100**2 * 0.7 * 0.3 / count / 2, rel=0.25)
    assert trial_spread([50.0, 50.1], drawn).variance == 0


def test_images_and_trials_add_their_variances() -> None:
    parts = [Spread(variance=0.4, freedom=10**9), Spread(variance=0.6, freedom=10**9)]
    assert margin(parts, 0.95) == pytest.approx(1.959964, rel=1e-5)
    assert margin([Spread(variance=0.0, freedom=5)], 0.95) == 0


def test_a_draw_with_nothing_to_measure_is_left_out() -> None:
    drawn = np.array([1.0, np.nan, 3.0, 2.0])
    assert unit_spread(drawn, 101) == Spread(variance=pytest.approx(1.01), freedom=100)


def simulate(count: int, experiments: int, seed: int, shape: str) -> float:
    """Return how often the 95 % interval holds the true difference of two models measured on `count` units."""
    random = np.random.default_rng(seed)
    (counts,) = draws(count, 200)
    whole, hits = np.ones((count, 1), np.int32), 0
    for _ in range(experiments):
        one, two, truth = EXPERIMENTS[shape](random, count)
        drawn = one.measure("score", counts) - two.measure("score", counts)
        difference = float((one.measure("score", whole) - two.measure("score", whole))[0])
        hits += abs(difference - truth) <= margin([unit_spread(drawn, count)], 0.95)
    return hits / experiments


def right_or_wrong(random: np.random.Generator, count: int) -> tuple[Ratios, Ratios, float]:
    """70 % against 66 %; an image that is hard for one is hard for the other."""
    hard = random.random(count)  # P(hard + 0.4 V < limit) = limit - 0.2 for uniform V and limits of 0.4 to 1
    one, two = (100.0 * (hard + 0.4 * random.random(count) < limit) for limit in (0.9, 0.86))
    return ratios(one), ratios(two), 4.0


def sequences(random: np.random.Generator, count: int) -> tuple[Ratios, Ratios, float]:
    """Sequences of one to five objects; how easy one is has a long tail, and both models have it in common."""
    sizes, ease = random.integers(1, 6, count), random.exponential(20, count)
    one, two = (ratios((ease + random.normal(mean, 8, count)) * sizes, sizes) for mean in (30, 27))
    return one, two, 3.0


EXPERIMENTS = {"right or wrong": right_or_wrong, "sequences": sequences}


@pytest.mark.parametrize(
    ("shape", "count"), [("right or wrong", 200), ("right or wrong", 1000), ("sequences", 10), ("sequences", 30)]
)
def test_an_interval_of_95_percent_holds_the_truth_as_often(shape: str, count: int) -> None:
    assert 0.93 <= simulate(count, 2000, 3, shape) <= 0.97


def test_with_trials_it_holds_the_difference_of_the_recipes_not_of_the_trained_networks() -> None:
    random, count, trials, hits, without = np.random.default_rng(4), 300, 3, 0, 0
    (counts,) = draws(count, 200)
    for _ in range(800):
        hard, drawn, means, spreads = random.random(count), np.zeros(200), [], []
        for sign, limit in ((1, 0.80), (-1, 0.76)):
            limits = limit + random.normal(0, 0.02, trials)  # what a seed makes of the recipe
            rights = [100.0 * (hard + 0.4 * random.random(count) < one) for one in limits]
            single = np.array([ratios(right).measure("score", counts) for right in rights])
            drawn += sign * single.mean(axis=0)
            means.append(np.mean(rights))
            spreads.append(trial_spread([float(right.mean()) for right in rights], single))
        difference, units = means[0] - means[1], unit_spread(drawn, count)
        hits += abs(difference - 4.0) <= margin([units, *spreads], 0.95)
        without += abs(difference - 4.0) <= margin([units], 0.95)
    assert 0.93 <= hits / 800 <= 0.97 and without / 800 < 0.90
