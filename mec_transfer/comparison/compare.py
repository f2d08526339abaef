"""Every pair of models in every column that both have: the difference, its interval, and what follows from it.

A column is the leaderboard's: one protocol, config, metric and data fingerprint. What two models have measured of one
benchmark in different columns is refused.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.comparison.bootstrap import LEAST_UNITS, RESAMPLES, margin, resample, trial_spread, unit_spread
from mec_transfer.comparison.models import Contender
from mec_transfer.results.leaderboard import Column, build_leaderboard
from mec_transfer.results.record import Record
from mec_transfer.results.store import Stored
from mec_transfer.units import Units

ReadUnits = Callable[[Stored], "Units | str"]
"""Gives the units of a job, or the reason why there are none."""

_TOLERANCE = 1e-9
"""Between a record's number and the one that follows from its units, as `verify` has it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models in one column."""

    column: Column
    models: tuple[str, str]
    means: tuple[float, float]
    """Over the trials, as the leaderboard has them."""
    trials: tuple[int, int]
    kind: str = ""
    """What was drawn anew, such as `images`."""
    units: int = 0
    reach: float | None = None
    """Half the length of the interval; None where there is none."""
    over_trials: bool = False
    """Whether the interval is over trials as well."""
    reason: str = ""
    """Why there is no interval."""

    @property
    def difference(self) -> float:
        """The first model's mean less the second's."""
        return self.means[0] - self.means[1]

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends."""
        return None if self.reach is None else (self.difference - self.reach, self.difference + self.reach)

    @property
    def better(self) -> Literal[0, 1] | None:
        """The place in `models` of the better one; None where they are not distinguishable, or nobody can tell."""
        if self.reach is None or abs(self.difference) <= self.reach:
            return None
        return 0 if (self.difference > 0) == self.column.higher_is_better else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparisons:
    """All that was compared."""

    made: tuple[Comparison, ...]
    refused: tuple[str, ...]
    """A line for each pair of measurements of one benchmark that are not of one protocol on the same data."""
    confidence: float
    """That all intervals together hold, 0 to 1."""
    resamples: int

    @property
    def intervals(self) -> int:
        """How many comparisons have an interval: what the correction is for."""
        return sum(one.reach is not None for one in self.made)

    @property
    def level(self) -> float:
        """The confidence of each interval (Bonferroni)."""
        return 1 - (1 - self.confidence) / max(1, self.intervals)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Measured:
    """One model in one column."""

    values: tuple[float, ...]
    drawn: np.ndarray | None = None
    """The mean over the trials on each draw."""
    units: Units | None = None
    reason: str = ""


def compare(
    models: Sequence[Contender], read_units: ReadUnits, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Comparisons:
    """Compare every two of at least two models.

    Raises:
        UserError: they have no measurement in common.
    """
    board = build_leaderboard([job.record for model in models for job in model.jobs])
    folders: dict[tuple[object, ...], Stored] = {}
    for job in (job for model in models for job in model.jobs):
        folders.setdefault(_key(job.record), job)
    jobs: dict[tuple[str, str, int], list[Stored]] = {}
    for record, at in zip(board.records, board.columns_of_records, strict=True):
        if record.status == "ok":
            jobs.setdefault((record.model.name, record.model.sha256, at), []).append(folders[_key(record)])
    measured: dict[tuple[int, int], _Measured] = {}

    def measure(number: int, at: int) -> _Measured:  # once, in however many pairs the model is
        if (number, at) not in measured:
            model = models[number]
            mine = jobs[model.name, model.sha256, at]
            measured[number, at] = _measure(mine, board.columns[at].metric, read_units, resamples)
        return measured[number, at]

    pairs, refused = [], []
    for first, second in itertools.combinations(range(len(models)), 2):
        own, other = (
            [at for at in range(len(board.columns)) if (models[n].name, models[n].sha256, at) in jobs]
            for n in (first, second)
        )
        pairs += [(first, second, at) for at in own if at in other]
        label = f"{models[first].label} and {models[second].label}"
        refused += [f"{label}: {line}" for line in _refusals(*([board.columns[at] for at in c] for c in (own, other)))]
    if not pairs:
        raise UserError(refused[0] if refused else _nothing_shared(models))
    found = [
        (board.columns[at], (models[a].label, models[b].label), measure(a, at), measure(b, at)) for a, b, at in pairs
    ]
    reasons = [_no_interval(one, two) for _, _, one, two in found]
    level = 1 - (1 - confidence) / max(1, reasons.count(""))
    made = tuple(_compared(*parts, reason, level) for parts, reason in zip(found, reasons, strict=True))
    return Comparisons(made=made, refused=tuple(refused), confidence=confidence, resamples=resamples)


def _key(record: Record) -> tuple[object, ...]:
    benchmark, data = record.benchmark, record.dataset
    return (
        *(record.model.name, record.model.sha256, benchmark.protocol, benchmark.config_sha256),
        *(data.fingerprint if data else "", record.trial, record.seed, record.status),
    )


def _measure(jobs: Sequence[Stored], metric: str, read_units: ReadUnits, resamples: int) -> _Measured:
    values = tuple(job.record.metrics[metric] for job in jobs)
    units: Units | None = None
    total = np.zeros(resamples)
    for job in jobs:
        try:
            mine = read_units(job)
            if isinstance(mine, str):
                return _Measured(values=values, reason=mine)
            if units is not None and mine.truth != units.truth:
                return _Measured(
                    values=values, reason=f"{job.folder}: was not measured on the {units.kind} of the others"
                )
            units = mine
            if units.count < LEAST_UNITS:
                return _Measured(values=values, units=units, reason=_too_few(units))
            whole = float(units.measure(metric, np.ones((units.count, 1), np.int32))[0])
            if not abs(whole - job.record.metrics[metric]) <= _TOLERANCE:
                reason = f"{job.folder}: {metric} is {whole} by its predictions; see mec-transfer verify"
                return _Measured(values=values, reason=reason)
            total += resample(units, metric, resamples)
        except KeyError:
            return _Measured(values=values, reason=f"{metric} does not follow from single images or sequences")
        except (UserError, RunError) as error:
            return _Measured(values=values, reason=str(error))
    return _Measured(values=values, drawn=total / len(jobs), units=units)


def _too_few(units: Units) -> str:
    return f"{units.count} {units.kind}, and an interval takes {LEAST_UNITS}"


def _no_interval(one: _Measured, two: _Measured) -> str:
    if one.reason or two.reason:
        return one.reason or two.reason
    assert one.units is not None and two.units is not None
    return "" if one.units.truth == two.units.truth else f"they were not measured on the same {one.units.kind}"


def _compared(
    column: Column, labels: tuple[str, str], one: _Measured, two: _Measured, reason: str, level: float
) -> Comparison:
    trials = len(one.values), len(two.values)
    units = one.units or two.units
    reach, over_trials = None, False
    if not reason:
        assert units is not None and one.drawn is not None and two.drawn is not None
        spreads = [unit_spread(one.drawn - two.drawn, units.count)]
        if over_trials := min(trials) > 1:
            spreads += [trial_spread(one.values), trial_spread(two.values)]
        reach = margin(spreads, level)
    return Comparison(
        column=column,
        models=labels,
        means=(float(np.mean(one.values)), float(np.mean(two.values))),
        trials=trials,
        kind=units.kind if units else "",
        units=units.count if units else 0,
        reach=reach,
        over_trials=over_trials,
        reason=reason,
    )


def _refusals(own: Sequence[Column], other: Sequence[Column]) -> list[str]:
    """Return a line for each benchmark and metric that both have, and nowhere in one column."""
    lines = []
    shared = {(column.benchmark, column.metric) for column in own if column in other}
    for mine in own:
        place = (mine.benchmark, mine.metric)
        theirs = next((column for column in other if (column.benchmark, column.metric) == place), None)
        if theirs is not None and place not in shared:
            shared.add(place)
            lines.append(f"{mine.benchmark} ({mine.metric}) is refused: {_how_they_differ(mine, theirs)}")
    return lines


def _how_they_differ(one: Column, two: Column) -> str:
    if one.protocol != two.protocol:
        return f"protocol {one.protocol} and protocol {two.protocol} are different measurements"
    if one.fingerprint != two.fingerprint:
        names = (f"{column.dataset} with fingerprint {column.fingerprint[:12]}" for column in (one, two))
        return f"{one.protocol} on different data: {' and '.join(names)}"
    if one.config_sha256 != two.config_sha256:
        return f"{one.protocol} of config {one.config_sha256[:8]} and of config {two.config_sha256[:8]}"
    return f"{one.protocol} on the published data and on other data"


def _nothing_shared(models: Sequence[Contender]) -> str:
    each = []
    for model in models:
        protocols = {job.record.benchmark.protocol for job in model.jobs if job.record.status == "ok"}
        each.append(f"{model.label} has {', '.join(sorted(protocols)) or 'no number'}")
    return f"no two models have a number by the same protocol: {'; '.join(each)}"
