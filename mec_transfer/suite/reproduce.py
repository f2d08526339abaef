"""Compares what was measured on a public checkpoint with its published numbers.

The expectations are in models/zoo.yaml (protocol, tolerance) and results/references.yaml (the number). Only a number by
a config that ships counts: one with an id that ends in `+custom-`, or on other data, does not.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.common.config import StrictModel
from mec_transfer.common.errors import ConfigError, UserError
from mec_transfer.common.files import read_json
from mec_transfer.models.zoo import Entry, load_tolerances, load_zoo
from mec_transfer.results.markdown import as_printed
from mec_transfer.results.record import MeasuredModel, Record
from mec_transfer.results.references import load_references
from mec_transfer.suite.config import BenchmarkEntry, ModelConfig, SuiteConfig
from mec_transfer.suite.registry import benchmark_config, benchmark_files, find_benchmark

RESULT_NAME = "reproduced.json"
SCHEMA = 1
Verdict = Literal["within", "outside", "not run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expectation:
    """One published number of a checkpoint, and how near to it counts as reproduced."""

    model: str
    protocol: str
    metric: str
    value: float
    tolerance: float
    reason: str
    """Why the tolerance is that large."""
    source: str
    """Where the number is published."""


class Measured(MeasuredModel):
    """The result of one protocol: the mean over the trials."""

    protocol: str
    metrics: dict[str, float]
    trials: int
    config_sha256: str
    weights_sha256: str
    """Hash of the weights, not of the file."""
    fingerprint: str
    """Hash of the data."""
    finished: str
    """When the last trial ended, UTC, ISO 8601."""
    hardware: dict[str, str | int]
    versions: dict[str, str]


class Reproduction(StrictModel):
    """What one machine measured of one checkpoint: OUT/reproduced.json, and a file of benchmarks/reproduced."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    model: str
    measured: list[Measured]

    def by_protocol(self, protocol: str) -> Measured | None:
        """Return what was measured by a protocol."""
        return next((one for one in self.measured if one.protocol == protocol), None)


def expectations(entry: Entry) -> list[Expectation]:
    """Return what is expected of a checkpoint, by protocol and metric.

    Raises:
        ConfigError: zoo.yaml names no single published number.
    """
    found = []
    tolerances = load_tolerances()
    for expect in entry.expect:
        method = entry.method if expect.method is None else expect.method
        pretraining = entry.pretraining if expect.pretraining is None else expect.pretraining
        about = (expect.protocol, method, pretraining, entry.arch)
        rows = [one for one in load_references() if about == (one.protocol, one.method, one.pretraining, one.arch)]
        rows = [one for one in rows if one.by_authors] or rows  # others may have run the same method anew
        if len(rows) != 1:
            raise ConfigError(f"{entry.name}: {len(rows)} published rows are of {', '.join(about)}; it takes one")
        tolerance = tolerances[expect.tolerance]
        found += [
            Expectation(
                model=entry.name,
                protocol=expect.protocol,
                metric=metric,
                value=value,
                tolerance=tolerance.within[metric],
                reason=tolerance.reason,
                source=rows[0].source,
            )
            for metric, value in rows[0].metrics.items()
            if metric in tolerance.within
        ]
    return found


@functools.cache
def shipped_configs() -> dict[str, BenchmarkConfig]:
    """Return the benchmark configs that ship, by protocol id."""
    return {config.protocol: config for config in map(benchmark_config, benchmark_files())}


def row_name(entry: Entry) -> str:
    """Return a checkpoint's name on a leaderboard, which names a folder too."""
    return entry.name.replace(":", "-")


def reproducing_suite(entry: Entry, suite: SuiteConfig, source: Path) -> SuiteConfig:
    """Return what a suite (read from `source`) has to reproduce of one checkpoint, in place of the suite's own models.

    Raises:
        UserError: nothing is expected of the checkpoint, or none of it by a benchmark of the suite.
    """
    expected = list(dict.fromkeys(one.protocol for one in expectations(entry)))
    if not expected:
        raise UserError(
            f"{entry.name}: no number of it is published by a protocol that runs here; nothing to reproduce"
        )
    kept = [one for one in suite.benchmarks if _protocol(one, source) in expected]
    if not kept:
        raise UserError(
            f"{source}: has no benchmark by which a number of {entry.name} is published: {', '.join(expected)}; "
            "the suite `reproduce` has all of them"
        )
    models = {row_name(entry): ModelConfig(checkpoint=entry.name)}
    return suite.model_copy(update={"models": models, "benchmarks": kept})


def protocols_of(suite: SuiteConfig, source: Path) -> set[str]:
    """Return the protocol ids of a suite that was read from `source`."""
    return {_protocol(one, source) for one in suite.benchmarks}


def _protocol(benchmark: BenchmarkEntry, source: Path) -> str:
    return benchmark_config(find_benchmark(benchmark.config, source.parent), benchmark.set).protocol


def measured(entry: Entry, records: Iterable[Record]) -> Reproduction:
    """Return what records hold of a checkpoint by the protocols that something is expected of.

    Trials are averaged. Where records of several weights or data sets meet, those that were finished last are taken.
    """
    wanted = {one.protocol for one in expectations(entry)}
    groups: dict[str, dict[tuple[str, str], dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in sorted(records, key=lambda record: record.finished):
        protocol, data = record.benchmark.protocol, record.dataset
        if record.status != "ok" or record.model.source != entry.name or protocol not in wanted:
            continue
        if data is None or data.note or record.benchmark.config_sha256 != shipped_configs()[protocol].sha256:
            continue
        groups[protocol][record.model.sha256, data.fingerprint][record.seed] = record
    found = []
    for by_place in groups.values():
        trials = max(by_place.values(), key=lambda trials: max(record.finished for record in trials.values()))
        found.append(_mean([trials[seed] for seed in sorted(trials)]))
    return Reproduction(model=entry.name, measured=sorted(found, key=lambda one: one.protocol))


def _mean(records: Sequence[Record]) -> Measured:
    first, last = records[0], max(records, key=lambda record: record.finished)
    common = [name for name in first.metrics if all(name in record.metrics for record in records) and "/" not in name]
    return Measured(
        protocol=first.benchmark.protocol,
        metrics={name: statistics.fmean(record.metrics[name] for record in records) for name in common},
        trials=len(records),
        config_sha256=first.benchmark.config_sha256,
        weights_sha256=first.model.sha256,
        fingerprint=first.dataset.fingerprint if first.dataset else "",
        finished=last.finished,
        hardware=last.hardware,
        versions=last.versions,
    )


def judge(expected: Expectation, found: Measured | None) -> Verdict:
    """Return whether the measured number is within the tolerance of the published one."""
    if found is None or expected.metric not in found.metrics:
        return "not run"
    return "within" if abs(difference(expected, found)) <= expected.tolerance + 1e-9 else "outside"


def difference(expected: Expectation, found: Measured) -> float:
    """Return the measured minus the published number."""
    return found.metrics[expected.metric] - expected.value


def read_reproductions(folder: Path) -> list[Reproduction]:
    """Read the committed results below a folder, in the order of their names.

    Raises:
        UserError: there is no such folder, or a file in it is malformed or of a checkpoint that has no name here.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            one = Reproduction.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{path}: '{'.'.join(map(str, first['loc']))}': {first['msg']}") from None
        if one.schema_ != SCHEMA or one.model not in load_zoo():
            raise UserError(f"{path}: of schema {one.schema_} and the model {one.model}, which is not known here")
        found.append(one)
    return found


_HEAD = """# Reproduced or not

Which published numbers of public checkpoints this program has given, and on whose machines. The page is made by
`mec-transfer reproduce --page benchmarks/reproduced > docs/reproduced.md` from `mec_transfer/models/zoo.yaml`, from the
published numbers in `mec_transfer/results/references.yaml` and from the results in `benchmarks/reproduced`.
[models.md](models.md#reproduced-or-not) says how a number comes onto it.

`within` and `outside` compare the mean over the trials with the published number; `not run` means that nobody has sent
a result by the protocol as it is now. Two results for one number are two rows."""
_REST = """Nothing is expected of the other checkpoints: what is published of them was measured by protocols that do not
run here, or without saying that it was on these weights"""


def page(results: Sequence[Reproduction]) -> Iterator[str]:
    """Yield the lines of docs/reproduced.md."""
    rows, nothing = [], []
    reasons: dict[str, None] = {}
    for entry in load_zoo().values():
        expected = expectations(entry)
        if not expected:
            nothing.append(f"`{entry.name}`")
        for one in expected:
            mark = list(reasons).index(one.reason) + 1 if one.reason in reasons else len(reasons) + 1
            reasons.setdefault(one.reason)
            rows += _rows(one, mark, [result for result in results if result.model == entry.name])
    verdicts = [row[-2] for row in rows]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("within", "outside", "not run"))
    yield _HEAD
    yield f"\nOf {len(rows)} rows: {counts}.\n"
    yield "| model | protocol | metric | published | tolerance | measured | difference | verdict | measured on |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield "\nWhy so much tolerance:\n"
    for number, reason in enumerate(reasons, 1):
        yield f"{number}. {reason[0].upper()}{reason[1:]}."
    yield ""
    yield from textwrap.wrap(f"{_REST}: {', '.join(nothing)}.", 120, break_on_hyphens=False)


def _rows(expected: Expectation, mark: int, results: Sequence[Reproduction]) -> list[list[str]]:
    head = [f"`{expected.model}`", f"`{expected.protocol}`", expected.metric, as_printed(expected.value)]
    head.append(f"{expected.tolerance:g} ({mark})")
    shipped = shipped_configs()[expected.protocol].sha256
    rows = []
    for found in (one for result in results for one in result.measured if one.protocol == expected.protocol):
        if (verdict := judge(expected, found)) != "not run" and found.config_sha256 == shipped:
            values = [f"{found.metrics[expected.metric]:.2f}", f"{difference(expected, found):+.2f}"]
            rows.append([*head, *values, verdict, _where(found)])
    return rows or [[*head, "", "", "not run", ""]]


def _where(found: Measured) -> str:
    """Return the machine and the date of a measurement."""
    gpus, gpu = found.hardware.get("gpus", 0), found.hardware.get("gpu", "none")
    machine = f"{gpus} x {gpu}" if gpus else str(found.hardware.get("cpu", "unknown"))
    trials = f", mean of {found.trials}" if found.trials > 1 else ""
    return f"{machine}, {found.finished[:10]}{trials}"
