"""The paired bootstrap: a metric on draws of the images or sequences that it was measured on, and an interval from it.

Units are drawn with replacement, as many as there are, and the whole metric is measured on each draw (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 12). All models see the same draws, so the spread of
the difference is that of paired measurements. The interval is the measured difference plus and minus Student's quantile
times the bootstrap's standard error, which is scaled by sqrt(n / (n - 1)) since n drawn units vary less than n new ones
(Hesterberg, What Teachers Should Know About the Bootstrap, 2015). Over percentiles of the draws it has three
advantages: average precision is biased on draws with duplicates, which moves percentiles away from what was measured;
few units make them too narrow; and a level of 99.9 % takes tens of thousands of draws where this takes one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

from mec_transfer.units import Units

RESAMPLES = 1000
"""Draws: enough for the standard error to two digits (its own relative error is 1 / sqrt(2 x draws), 2.2 %)."""
LEAST_UNITS = 10
"""With fewer there is no interval: docs/compare.md says why."""
_SEED = 0
_CELLS = 2**22
"""Units times draws that are measured at once: 16 MB of counts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """A variance that was estimated, and from how many degrees of freedom."""

    variance: float
    freedom: float


def draws(count: int, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """Yield how often each of `count` units is in each draw, as (count, some) int32: the same ones at every call."""
    random = np.random.default_rng(_SEED)
    at_once = max(1, _CELLS // count)
    for begin in range(0, resamples, at_once):
        rows = [
            np.bincount(random.integers(0, count, count), minlength=count)
            for _ in range(min(at_once, resamples - begin))
        ]
        yield np.ascontiguousarray(np.array(rows, dtype=np.int32).T)


def resample(units: Units, metric: str, resamples: int = RESAMPLES) -> np.ndarray:
    """Return a metric on `draws` of the units, (resamples,). Raises as `Units.measure` does."""
    return np.concatenate([units.measure(metric, counts) for counts in draws(units.count, resamples)])


def unit_spread(differences: np.ndarray, count: int) -> Spread:
    """Return the variance of a difference due to its `count` units, from the difference on draws of them, (R,).

    A draw without anything to measure (NaN) is left out.
    """
    known = differences[~np.isnan(differences)]
    variance = float(np.var(known, ddof=1)) * count / (count - 1) if len(known) > 1 else math.nan
    return Spread(variance=variance, freedom=count - 1)


def trial_spread(values: Sequence[float], drawn: np.ndarray) -> Spread:
    """Return the variance of the mean of several trials that is due to the trials alone.

    Trials differ also because each is right on other images by chance. That part is in the variance due to the units
    already, and how large it is shows in how differently the trials move over the draws.

    Args:
        values: of at least two trials.
        drawn: (trials, R): each trial's metric on draws of its units.
    """
    trials = len(values)
    whole = float(np.var(values, ddof=1)) / trials
    apart = drawn - drawn.mean(axis=0)
    chance = float(np.nanvar(apart, axis=1, ddof=1).sum()) / (trials - 1) / trials
    variance = max(whole - chance, 0.0)
    # How well it is known is a matter of `whole`, of which `trials - 1` numbers tell.
    freedom = (trials - 1) * (variance / whole) ** 2 if variance else trials - 1
    return Spread(variance=variance, freedom=freedom)


def margin(spreads: Sequence[Spread], level: float) -> float:
    """Return how far an interval of `level` (0 to 1) reaches to either side; independent variances are added.

    The degrees of freedom of their sum are Welch's and Satterthwaite's.
    """
    variance = sum(spread.variance for spread in spreads)
    if variance == 0:
        return 0.0
    freedom = variance**2 / sum(spread.variance**2 / spread.freedom for spread in spreads)
    return math.sqrt(variance) * student_quantile((1 + level) / 2, freedom)


@functools.cache
def student_quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's distribution for a probability of at least 0.5, by bisection.

    With t = sqrt(freedom) tan(angle) its density is a power of the cosine, which Gauss and Legendre's rule integrates.
    (scipy would know it, but classification does not need scipy.) Beyond 10,000 degrees it is the normal one's to four
    digits.
    """
    if freedom > 10_000:
        return NormalDist().inv_cdf(probability)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)

    def below(angle: float) -> float:
        at = angle / 2 * (nodes + 1)
        return 0.5 + scale * angle / 2 * float(weights @ np.cos(at) ** (freedom - 1))

    low, high = 0.0, math.pi / 2
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < probability else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)
