"""Every pair of models in every column that both have: the difference, its interval, and what follows from it.

A column is the leaderboard's: one protocol, config, metric and data fingerprint. What two models have measured of one
benchmark in different columns is refused.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Literal

import numpy as np

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.extras import explain
from mec_transfer.comparison.bootstrap import LEAST_UNITS, RESAMPLES, margin, resample, trial_spread, unit_spread
from mec_transfer.comparison.models import Contender
from mec_transfer.results.leaderboard import Column, Leaderboard, build_leaderboard
from mec_transfer.results.record import Record
from mec_transfer.results.store import Stored
from mec_transfer.units import Units

ReadUnits = Callable[[Stored], "Units | None"]
"""Returns the units of a job, or None if its kind has none."""

_TOLERANCE = 1e-9
"""Between a record's number and the one that follows from its units, as `verify` has it."""
_EMPTY = 0.05
"""The share of draws without a number, such as VOT's where all long sequences are missing, that are left out."""


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
    """Why there is no interval; empty if there is one."""

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
        """The index in `models` of the better one; None if they are not distinguishable, or there is no interval."""
        if self.reach is None or abs(self.difference) <= self.reach:
            return None
        return 0 if (self.difference > 0) == self.column.higher_is_better else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparisons:
    """All comparisons that were made."""

    made: tuple[Comparison, ...]
    refused: tuple[str, ...]
    """A line for each pair of measurements of one benchmark that are not of one protocol on the same data."""
    confidence: float
    """The confidence, 0 to 1, that all intervals hold together."""
    resamples: int

    @property
    def intervals(self) -> int:
        """How many comparisons have an interval: what the correction is for."""
        return sum(one.reach is not None for one in self.made)

    @property
    def level(self) -> float:
        """The confidence of each interval."""
        return _level(self.confidence, self.intervals)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Measured:
    """One model in one column."""

    values: tuple[float, ...]
    drawn: np.ndarray | None = None
    """(trials, draws): each trial's metric on each draw; None where `reason` says why there is none."""
    reason: str = ""
    kind: str = ""
    count: int = 0
    truth: str = ""
    """As the units have them, whose predictions need not stay in memory."""


def compare(
    models: Sequence[Contender], read_units: ReadUnits, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Comparisons:
    """Compare every two of at least two models.

    Raises:
        UserError: they have no measurement in common.
    """
    stored = [job for model in models for job in model.jobs]
    board = build_leaderboard([job.record for job in stored])
    jobs = _jobs_of_cells(board, stored)
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
    found = [(measure(a, at), measure(b, at)) for a, b, at in pairs]
    reasons = [_no_interval(*pair) for pair in found]
    level = _level(confidence, reasons.count(""))
    made = tuple(
        Comparison(
            column=board.columns[at],
            models=(models[a].label, models[b].label),
            means=(fmean(one.values), fmean(two.values)),
            trials=(len(one.values), len(two.values)),
            kind=one.kind or two.kind,
            units=one.count or two.count,
            reach=None if reason else _reach(one, two, level),
            over_trials=not reason and _over_trials(one, two),
            reason=reason,
        )
        for (a, b, at), (one, two), reason in zip(pairs, found, reasons, strict=True)
    )
    return Comparisons(made=made, refused=tuple(refused), confidence=confidence, resamples=resamples)


def cell_intervals(
    jobs: Sequence[Stored], read_units: ReadUnits, confidence: float = 0.95, resamples: int = RESAMPLES
) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the interval of each number alone, by (row, column) of the leaderboard of `jobs`, where it has one.

    Two intervals that overlap may well belong to models that differ: the images are the same, which `compare` uses.
    Nothing is corrected for how many there are.
    """
    board = build_leaderboard([job.record for job in jobs])
    row_of = {(model.name, model.sha256): row for row, model in enumerate(board.models)}
    found = {}
    for (name, weights, at), mine in _jobs_of_cells(board, jobs).items():
        one = _measure(mine, board.columns[at].metric, read_units, resamples)
        if one.drawn is None or np.isnan(one.drawn).mean() > _EMPTY:
            continue
        spreads = [unit_spread(one.drawn.mean(axis=0), one.count)]
        if len(one.values) > 1:
            spreads.append(trial_spread(one.values, one.drawn))
        mean, reach = fmean(one.values), margin(spreads, confidence)
        found[row_of[name, weights], at] = (mean - reach, mean + reach)
    return found


def _jobs_of_cells(board: Leaderboard, stored: Sequence[Stored]) -> dict[tuple[str, str, int], list[Stored]]:
    """Return the finished jobs behind each number: by model's name, weights' hash and column."""
    folders: dict[tuple[object, ...], Stored] = {}
    for job in stored:
        folders.setdefault(_key(job.record), job)
    jobs: dict[tuple[str, str, int], list[Stored]] = {}
    for record, at in zip(board.records, board.columns_of_records, strict=True):
        if record.status == "ok":
            jobs.setdefault((record.model.name, record.model.sha256, at), []).append(folders[_key(record)])
    return jobs


def _level(confidence: float, intervals: int) -> float:
    """Return the level of each of several intervals that hold together with some confidence (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, intervals)


def _key(record: Record) -> tuple[object, ...]:
    benchmark, data = record.benchmark, record.dataset
    return (
        *(record.model.name, record.model.sha256, benchmark.protocol, benchmark.config_sha256),
        *(data.fingerprint if data else "", record.trial, record.seed, record.status),
    )


def _measure(jobs: Sequence[Stored], metric: str, read_units: ReadUnits, resamples: int) -> _Measured:
    found = _Measured(values=tuple(job.record.metrics[metric] for job in jobs))
    drawn = []
    for number, job in enumerate(jobs):
        try:
            units = read_units(job)
            if units is None:
                return dataclasses.replace(found, reason=f"{job.record.benchmark.kind} keeps no single results")
            if number and units.truth != found.truth:
                return dataclasses.replace(
                    found, reason=f"{job.folder}: was measured on other {units.kind} than before"
                )
            found = dataclasses.replace(found, kind=units.kind, count=units.count, truth=units.truth)
            if units.count < LEAST_UNITS:
                return dataclasses.replace(found, reason=f"too few {units.kind}, it takes {LEAST_UNITS}")
            whole = float(units.measure(metric, np.ones((units.count, 1), np.int32))[0])
            if not abs(whole - job.record.metrics[metric]) <= _TOLERANCE:
                return dataclasses.replace(found, reason=f"{job.folder}: its predictions say {whole}; run verify")
            drawn.append(resample(units, metric, resamples))
        except KeyError:
            return dataclasses.replace(found, reason=f"{metric} cannot be computed from single images or sequences")
        except (UserError, RunError) as error:
            return dataclasses.replace(found, reason=str(error))
        except ImportError as error:
            if missing := explain(error):
                return dataclasses.replace(found, reason=str(missing))
            raise
    return dataclasses.replace(found, drawn=np.array(drawn))


def _no_interval(one: _Measured, two: _Measured) -> str:
    """Return why a pair has none; empty where it has one."""
    if one.drawn is None or two.drawn is None:
        return one.reason or two.reason
    if one.truth != two.truth:
        return f"they were not measured on the same {one.kind}"
    empty = np.isnan(_differences(one, two)).mean()
    return f"in {100 * empty:.0f} % of the draws there is nothing to measure" if empty > _EMPTY else ""


def _reach(one: _Measured, two: _Measured, level: float) -> float:
    spreads = [unit_spread(_differences(one, two), one.count)]
    if _over_trials(one, two):
        spreads += [trial_spread(model.values, model.drawn) for model in (one, two) if model.drawn is not None]
    return margin(spreads, level)


def _differences(one: _Measured, two: _Measured) -> np.ndarray:
    """Return the difference of the means over the trials on each draw."""
    assert one.drawn is not None and two.drawn is not None
    return np.asarray(one.drawn.mean(axis=0) - two.drawn.mean(axis=0))


def _over_trials(one: _Measured, two: _Measured) -> bool:
    return min(len(one.values), len(two.values)) > 1


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
