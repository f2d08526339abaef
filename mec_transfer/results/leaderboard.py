"""The leaderboard: a pure function of records and references.

Rows are models, columns are protocols on one data set. Two records share a column only when their protocol id,
their config and their data agree; a data set with a note (other than the published one) has a column of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from mec_transfer.results.means import Mean, MeanSpec
from mec_transfer.results.record import ModelInfo, Record
from mec_transfer.results.references import Reference


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One protocol on one data set."""

    family: str
    kind: str
    benchmark: str
    protocol: str
    config_sha256: str
    title: str
    metric: str
    higher_is_better: bool
    dataset: str
    fingerprint: str
    """Empty if no job of the column got as far as its data."""
    published_data: bool
    """Whether this is the published data: it has no note that says otherwise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One model's trials by one protocol, in order of their seeds."""

    values: tuple[float, ...] = ()
    failures: tuple[str, ...] = ()
    """"trials 0, 2: reason", for each reason."""
    chosen_on_test_set: bool = False

    @property
    def mean(self) -> float | None:
        """Mean over the trials; None if all of them failed."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the trials; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """What every format shows. A (row, column) without a cell was never run."""

    models: tuple[ModelInfo, ...]
    columns: tuple[Column, ...]
    cells: dict[tuple[int, int], Cell]
    """(row, column) to cell."""
    published: tuple[Reference, ...]
    """The published numbers whose protocol and metric a column has."""
    records: tuple[Record, ...]
    """The records that the cells were made of, in the order of the rows, the columns and the seeds."""
    columns_of_records: tuple[int, ...]
    others: tuple[Reference, ...] = ()
    """The published numbers on the data of a column, by a protocol that no column has."""
    conflicts: tuple[str, ...] = ()
    """A line for each trial that has two records with different numbers, of which one is shown."""
    means: tuple[Mean, ...] = ()
    """The derived columns, including those without any number."""

    @property
    def derived(self) -> tuple[Mean, ...]:
        """The derived columns that are shown, to the right of the others."""
        return tuple(mean for mean in self.means if mean.values)

    def label(self, row: int) -> str:
        """Return the row's name, with the beginning of its hash if another row has the same name."""
        model = self.models[row]
        twins = [other for other in self.models if other.name == model.name]
        return f"{model.name} ({model.sha256[:8] or 'no weights'})" if len(twins) > 1 else model.name

    def best(self, column: int) -> set[int]:
        """Return the rows with the best mean of a column; none if fewer than two rows have one."""
        return self._best[column]

    @functools.cached_property
    def _best(self) -> list[set[int]]:
        means: list[dict[int, float]] = [{} for _ in self.columns]
        for (row, column), cell in self.cells.items():
            if cell.mean is not None:
                means[column][row] = cell.mean
        tops = [
            (max if column.higher_is_better else min)(found.values(), default=None)
            for column, found in zip(self.columns, means, strict=True)
        ]
        return [
            {row for row, mean in found.items() if mean == top} if len(found) > 1 else set()
            for found, top in zip(means, tops, strict=True)
        ]

    @functools.cached_property
    def measured(self) -> dict[tuple[int, int], list[Record]]:
        """The records with numbers of each (row, column), in the order of their seeds."""
        rows = {(model.name, model.sha256): row for row, model in enumerate(self.models)}
        found: dict[tuple[int, int], list[Record]] = defaultdict(list)
        for record, column in zip(self.records, self.columns_of_records, strict=True):
            if record.status == "ok":
                found[rows[record.model.name, record.model.sha256], column].append(record)
        return dict(found)

    def shown_metrics(self, column: int) -> tuple[str, ...]:
        """Return the column's metric; for an average precision AP, AP50 and AP75, as far as they were measured."""
        metric = self.columns[column].metric
        match = re.fullmatch(r"(|\w+_)AP(?:50|75)?", metric)
        if not match:
            return (metric,)
        found = [records for (_, at), records in self.measured.items() if at == column]
        measured = {name for records in found for record in records for name in record.metrics}
        names = [f"{match[1]}{name}" for name in ("AP", "AP50", "AP75")]
        return tuple(name for name in names if name in measured or name == metric)

    def quotable(self, column: int) -> bool:
        """Whether published numbers may be shown beside this column: only if its data is the published data."""
        return self.columns[column].published_data


def build_leaderboard(
    records: Iterable[Record], references: Sequence[Reference] = (), means: Iterable[MeanSpec] = ()
) -> Leaderboard:
    """Arrange `records` in a leaderboard; the order in which they come makes no difference.

    Args:
        records: of any number of runs.
        references: published numbers.
        means: derived columns.
    """
    views = (view for record in records for view in _views(record))
    records, conflicts = _current(sorted(views, key=_record_key))
    column_of = _assign_columns(records)
    columns = sorted(set(column_of), key=_column_key)
    places = {column: at for at, column in enumerate(columns)}
    models = list({(record.model.name, record.model.sha256): record.model for record in records}.values())
    groups: dict[tuple[int, int], list[Record]] = defaultdict(list)
    rows = {(model.name, model.sha256): row for row, model in enumerate(models)}
    for record, column in zip(records, column_of, strict=True):
        groups[rows[record.model.name, record.model.sha256], places[column]].append(record)
    cells = {place: _cell(group) for place, group in groups.items()}
    order = _ranking(len(models), columns, cells, [model.name for model in models])
    new_row = {row: place for place, row in enumerate(order)}
    placed = sorted((new_row[row], column) for row, column in groups)
    used = [(column, record) for row, column in placed for record in groups[order[row], column]]
    published, others = _beside(columns, references)
    cells = {(new_row[row], column): cell for (row, column), cell in cells.items()}
    return Leaderboard(
        models=tuple(models[row] for row in order),
        columns=tuple(columns),
        cells=cells,
        published=published,
        records=tuple(record for _, record in used),
        columns_of_records=tuple(column for column, _ in used),
        others=others,
        conflicts=conflicts,
        means=tuple(_mean(spec, columns, cells) for spec in means),
    )


def _mean(spec: MeanSpec, columns: Sequence[Column], cells: Mapping[tuple[int, int], Cell]) -> Mean:
    """Return a derived column: the mean over columns of published protocols on published data, one for each part."""
    places = []
    for part in spec.of:
        same = [at for at, c in enumerate(columns) if (c.protocol, c.metric) == (part.protocol, part.metric)]
        same = [at for at in same if columns[at].published_data and "+" not in part.protocol]
        if len(same) > 1:
            why = f"{spec.title}: not made, for `{part.protocol}` has {len(same)} columns, of other data or configs."
            return Mean(spec=spec, values={}, chosen_on_test_set=frozenset(), hindrance=why)
        places += same
    rows = {row for row, _ in cells} if len(places) == len(spec.of) else set()
    own = {row: [cells[row, at] for at in places if (row, at) in cells] for row in sorted(rows)}
    numbers = {row: [cell.mean for cell in found if cell.mean is not None] for row, found in own.items()}
    return Mean(
        spec=spec,
        values={row: statistics.fmean(found) for row, found in numbers.items() if len(found) == len(places)},
        chosen_on_test_set=frozenset(row for row, found in own.items() if any(c.chosen_on_test_set for c in found)),
    )


def _beside(
    columns: Sequence[Column], references: Iterable[Reference]
) -> tuple[tuple[Reference, ...], tuple[Reference, ...]]:
    """Return the references that belong to a column, and those on the same data by protocols without a column."""
    columns = [column for column in columns if column.published_data]
    quoted = {(column.protocol, column.metric) for column in columns}
    protocols, data = {column.protocol for column in columns}, {column.dataset for column in columns}
    published, others = [], []
    for ref in sorted(references, key=lambda r: (natural(r.method), natural(r.pretraining), r.source, r.protocol)):
        if any((ref.protocol, metric) in quoted for metric in ref.metrics):
            published.append(ref)
        elif ref.dataset and ref.dataset in data and ref.protocol not in protocols:
            others.append(ref)
    return tuple(published), tuple(sorted(others, key=lambda r: (natural(r.dataset), natural(r.protocol))))


def _views(record: Record) -> list[Record]:
    """Return the record once for each of its columns: that of its primary metric, and those of further metrics."""
    views = [record]
    for metric, title in record.benchmark.also.items():
        if metric == record.primary:  # by an override
            continue
        benchmark = record.benchmark.model_copy(update={"title": title})
        if metric in record.metrics or record.status != "ok":
            views.append(record.model_copy(update={"primary": metric, "benchmark": benchmark}))
    return views


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key by which "1%" comes before "10%"."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text.lower()) if part)


def _record_key(record: Record) -> tuple[object, ...]:
    fingerprint = record.dataset.fingerprint if record.dataset else ""
    return (
        natural(record.model.name),
        record.model.sha256,
        record.benchmark.protocol,
        record.benchmark.config_sha256,
        fingerprint,
        record.primary,
        record.seed,
        record.trial,
        record.status != "ok",
        record.error or "",
        sorted(record.metrics.items()),
    )


def _current(records: list[Record]) -> tuple[list[Record], tuple[str, ...]]:
    """Keep one record for each trial, the first in order, and report trials that have two records with different
    numbers.

    A failure is dropped if the same trial of the same weights has a number. A failure because there were no weights (no
    sha256) is dropped if any weights of that name have a number.
    """
    measured = [record for record in records if record.status == "ok"]
    finished = {(*_trial_of(record), weights) for record in measured for weights in (record.model.sha256, "")}
    kept: dict[tuple[object, ...], Record] = {}
    conflicts: dict[str, None] = {}
    for record in records:
        trial = (*_trial_of(record), record.model.sha256)
        if record.status == "ok" or trial not in finished:
            first = kept.setdefault((*trial, record.dataset and record.dataset.fingerprint), record)
            if first.status == record.status == "ok" and first.metrics != record.metrics:
                about = f"{record.model.name}, `{record.benchmark.protocol}`, seed {record.seed}"
                values = f"{first.metrics[first.primary]:g} and {record.metrics[record.primary]:g}"
                conflicts[f"{about}: two records differ ({record.primary} {values}); the first is shown"] = None
    return list(kept.values()), tuple(conflicts)


def _trial_of(record: Record) -> tuple[object, ...]:
    """Identify a trial by its seed, so that a number counts once even if two --seed bases meet in one folder."""
    benchmark = record.benchmark
    return (record.model.name, benchmark.protocol, benchmark.config_sha256, record.primary, record.seed)


def _assign_columns(records: list[Record]) -> list[Column]:
    """Return each record's column. A failure joins a column that has numbers, even if it knows less about its data."""
    measured = sorted({_column(record) for record in records if record.status == "ok"}, key=_column_key)

    def place(record: Record) -> Column:
        own = _column(record)
        if record.status == "ok":
            return own
        same = [c for c in measured if (c.config_sha256, c.metric) == (own.config_sha256, own.metric)]
        same = [c for c in same if c.protocol == own.protocol and c.fingerprint == own.fingerprint] or [
            c for c in same if c.protocol == own.protocol and not own.fingerprint
        ]
        return same[0] if same else own

    return _under_one_head([place(record) for record in records])


def _under_one_head(columns: list[Column]) -> list[Column]:
    """Give columns that differ only in their titles the same one, since a title is not a part of a config's hash."""
    bare = {column: dataclasses.replace(column, title="") for column in set(columns)}
    heads: dict[Column, str] = {}
    for column, same in bare.items():
        heads[same] = min(column.title, heads.get(same, column.title))
    named = {column: dataclasses.replace(same, title=heads[same]) for column, same in bare.items()}
    return [named[column] for column in columns]


def _column(record: Record) -> Column:
    return Column(
        family=record.benchmark.family,
        kind=record.benchmark.kind,
        benchmark=record.benchmark.id,
        protocol=record.benchmark.protocol,
        config_sha256=record.benchmark.config_sha256,
        title=record.benchmark.title or record.benchmark.id,
        metric=record.primary,
        higher_is_better=record.higher_is_better,
        dataset=record.dataset.name if record.dataset else "",
        fingerprint=record.dataset.fingerprint if record.dataset else "",
        published_data=not (record.dataset and record.dataset.note),
    )


def _column_key(column: Column) -> tuple[object, ...]:
    place = (column.family, natural(column.kind), natural(column.protocol), column.config_sha256, column.fingerprint)
    return (*place, not column.published_data, natural(column.metric))


def _cell(records: list[Record]) -> Cell:
    finished = [record for record in records if record.status == "ok"]
    return Cell(
        values=tuple(record.metrics[record.primary] for record in finished),
        failures=_failures([record for record in records if record.status != "ok"]),
        chosen_on_test_set=any(r.selection is not None and r.selection.by == "test set" for r in finished),
    )


def _failures(records: list[Record]) -> tuple[str, ...]:
    trials: dict[str, list[int]] = defaultdict(list)
    for record in records:
        trials[record.error or "no reason given"].append(record.trial)
    return tuple(
        f"trial{'s' if len(found) > 1 else ''} {', '.join(map(str, sorted(found)))}: {reason}"
        for reason, found in trials.items()
    )


def _ranking(rows: int, columns: list[Column], cells: dict[tuple[int, int], Cell], names: list[str]) -> list[int]:
    """Return the rows by their mean rank over the columns (a missing or failed cell ranks last), then by name."""
    ranks: dict[int, list[int]] = {row: [] for row in range(rows)}
    for at, column in enumerate(columns):
        means = {row: cell.mean for (row, place), cell in cells.items() if place == at and cell.mean is not None}
        for row in range(rows):
            if row not in means:
                ranks[row].append(rows)
                continue
            better = [m for m in means.values() if (m > means[row] if column.higher_is_better else m < means[row])]
            ranks[row].append(1 + len(better))
    return sorted(range(rows), key=lambda row: (statistics.fmean(ranks[row]), natural(names[row]), row))
