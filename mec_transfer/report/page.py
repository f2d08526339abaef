"""A run as one page: report.html, which any browser opens from the disk, without a network.

The numbers are the leaderboard's, in its own words; nothing here is computed a second time.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mec_transfer.common.files import write_bytes
from mec_transfer.report.cards import card_facts
from mec_transfer.report.charts import CURVES, BarChart, CurveChart, bar_chart, curve_chart, shorten
from mec_transfer.report.curves import PRETRAINING, Points, pretraining_curves, training_curves
from mec_transfer.report.jobs import Jobs
from mec_transfer.report.panels import as_script, panel_data
from mec_transfer.report.pictures import Picture, find_pictures
from mec_transfer.results.leaderboard import Cell, Leaderboard, build_leaderboard
from mec_transfer.results.markdown import (
    as_printed,
    data_notes,
    describe_reference,
    format_cell,
    legend_lines,
    model_label,
    model_notes,
    twin_notes,
    version_lines,
    warning_lines,
)
from mec_transfer.results.record import Record
from mec_transfer.results.references import Reference, load_references
from mec_transfer.results.store import Store

REPORT = "report.html"
Intervals = Mapping[tuple[int, int], tuple[float, float]]
"""(row, column) to both ends of an interval about a mean."""
_BARS = 20
"""Models in a chart of bars; the others are in the table."""
_PROFILES = 12
"""Models with a profile of their own at once; of more, one is chosen."""
_PICTURED_ROWS = 4


def write_report(
    out: Path,
    store: Store,
    target: Path | None = None,
    pictures: bool = True,
    references: Sequence[Reference] | None = None,
    intervals: Intervals | None = None,
) -> Path:
    """Write the report of a run's records, and return its path. The same records give the same bytes.

    Args:
        out: the run's folder, or any with records below it.
        store: the records below it; at least one.
        target: the page; None: report.html in `out`.
        pictures: whether it holds what the jobs drew.
        references: published numbers; None: those that ship.
        intervals: about the means, in place of the standard deviation over trials.

    Raises:
        RunError: the page cannot be written.
    """
    target = target or out / REPORT
    board = build_leaderboard(store.records, load_references() if references is None else references)
    page = _Page(out=out, target=target, store=store, board=board, intervals=intervals or {})
    write_bytes(target, page.render(pictures).encode("utf-8", "replace"))
    return target


def is_current(target: Path, out: Path) -> bool:
    """Whether a page is newer than every record of the run in `out`."""
    newest = max((path.stat().st_mtime_ns for path in out.glob("jobs/*/*/record.json")), default=0)
    return target.is_file() and target.stat().st_mtime_ns >= newest


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shown:
    """A cell of the table."""

    text: str
    best: bool = False
    failed: list[int] = dataclasses.field(default_factory=list)
    """Numbers of the notes that say why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Page:
    """A report that is being made."""

    out: Path
    target: Path
    store: Store
    board: Leaderboard
    intervals: Intervals

    def render(self, pictures: bool) -> str:
        """Return the page."""
        board = self.board
        css, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
        labels = [model_label(board, row) for row in range(len(board.models))]
        jobs = Jobs(self.store)
        cells, failures = self._cells(labels)
        first_records = self._first_records()
        baseline = self._baseline(labels)
        return (
            _environment()
            .get_template("page.html")
            .render(
                css=Markup(css),
                script=Markup(script),
                style_hash=_hash(css),
                script_hash=_hash(script),
                board=board,
                heads=self._heads(),
                labels=labels,
                cells=cells,
                failures=failures,
                published=list(self._published()),
                families=list(dict.fromkeys(column.family for column in board.columns)),
                protocols=list(dict.fromkeys(column.protocol for column in board.columns)),
                legend=legend_lines(board),
                notes={
                    "Data": data_notes(board),
                    "Models": model_notes(board),
                    "Warnings": warning_lines(board),
                    "Records that cannot be read": self.store.problems,
                    "Versions": version_lines(board),
                },
                dates=sorted({record.finished[:10] for record in board.records if record.finished}),
                failed=sum(stored.record.status != "ok" for stored in self.store.stored),
                total=len(self.store.stored),
                baseline=baseline,
                profiles=self._profiles(baseline, len(labels)),
                one_profile=len(labels) > _PROFILES,
                bars=list(self._bars(labels)),
                bars_left_out=max(0, len(labels) - _BARS),
                pretraining=list(self._pretraining(labels, jobs, first_records)),
                trainings=list(self._trainings(labels, jobs, first_records)),
                curves_left_out=len(labels) > CURVES,
                pictures=self._pictures(jobs, first_records) if pictures else {},
                cards=list(self._cards(jobs)),
                data=Markup(as_script(panel_data(board, jobs, labels))),
            )
        )

    def _heads(self) -> list[dict[str, Any]]:
        return [
            {"column": column, "twin": twin, "arrow": "↑" if column.higher_is_better else "↓"}
            for column, twin in zip(self.board.columns, twin_notes(self.board), strict=True)
        ]

    def _cells(self, labels: list[str]) -> tuple[list[list[_Shown | None]], list[str]]:
        """Return the table's cells by row and column, and the failures that they refer to, from 1."""
        best = [self.board.best(column) for column in range(len(self.board.columns))]
        failures: list[str] = []
        table: list[list[_Shown | None]] = []
        for row, label in enumerate(labels):
            line: list[_Shown | None] = []
            for at, column in enumerate(self.board.columns):
                cell = self.board.cells.get((row, at))
                if cell is None:
                    line.append(None)
                    continue
                start = len(failures)
                failures += [f"{label}, `{column.protocol}`, {failure}" for failure in cell.failures]
                line.append(
                    _Shown(
                        text="" if cell.mean is None else format_cell(cell),
                        best=row in best[at],
                        failed=list(range(start + 1, len(failures) + 1)),
                    )
                )
            table.append(line)
        return table, failures

    def _published(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of quoted numbers: one for what one source says of one method."""
        rows: dict[tuple[str, str, str], dict[int, float]] = {}
        for ref in self.board.published:
            values = rows.setdefault((ref.method, ref.source, describe_reference(ref)), {})
            for at, column in enumerate(self.board.columns):
                if column.protocol == ref.protocol and column.metric in ref.metrics and self.board.quotable(at):
                    values[at] = ref.metrics[column.metric]
        for (method, source, about), values in rows.items():
            cells = [
                (values[at], as_printed(values[at])) if at in values else None for at in range(len(self.board.columns))
            ]
            if values:
                yield {"method": method, "source": source, "about": about, "cells": cells}

    def _first_records(self) -> dict[tuple[int, int], Record]:
        """The first record of each cell: the one whose curves and pictures are shown."""
        rows = {(model.name, model.sha256): row for row, model in enumerate(self.board.models)}
        found: dict[tuple[int, int], Record] = {}
        for record, column in zip(self.board.records, self.board.columns_of_records, strict=True):
            place = rows[record.model.name, record.model.sha256], column
            if place not in found or (found[place].status != "ok" and record.status == "ok"):
                found[place] = record
        return found

    def _baseline(self, labels: list[str]) -> int:
        """The row that profiles are relative to at first: random weights, else the last."""
        names = [model.name for model in self.board.models]
        return names.index("random") if "random" in names else len(labels) - 1

    def _mean(self, row: int, column: int) -> float | None:
        cell = self.board.cells.get((row, column))
        return cell.mean if cell else None

    def _profiles(self, baseline: int, rows: int) -> list[dict[str, Any]]:
        """Each model's columns against the baseline; of many models the first alone."""
        chosen = [row for row in range(rows) if row != baseline or rows == 1]
        chosen = chosen[:1] if rows > _PROFILES else chosen
        lines: dict[int, list[dict[str, Any]]] = {}
        for row in chosen:
            lines[row] = []
            for at, column in enumerate(self.board.columns):
                here, there = self._mean(row, at), self._mean(baseline, at)
                gain = (
                    None if here is None or there is None else (here - there) * (1 if column.higher_is_better else -1)
                )
                lines[row].append({"at": at, "here": here, "there": there, "gain": gain})
        widest = max((abs(line["gain"]) for found in lines.values() for line in found if line["gain"]), default=1.0)
        return [{"row": row, "lines": found, "widest": widest} for row, found in lines.items()]

    def _bars(self, labels: list[str]) -> Iterator[tuple[int, BarChart]]:
        for at, column in enumerate(self.board.columns):
            best = self.board.best(at)
            found = []
            for row, label in enumerate(labels):
                cell = self.board.cells.get((row, at))
                if cell and cell.mean is not None:
                    found.append((label, format_cell(cell), row in best, cell.mean, self._interval(row, at, cell)))
            found.sort(key=lambda bar: -bar[3] if column.higher_is_better else bar[3])
            if found:
                yield at, bar_chart(found[:_BARS])

    def _interval(self, row: int, column: int, cell: Cell) -> tuple[float, float] | None:
        if (row, column) in self.intervals:
            return self.intervals[row, column]
        if cell.mean is None or cell.std is None:
            return None
        return cell.mean - cell.std, cell.mean + cell.std

    def _pretraining(
        self, labels: list[str], jobs: Jobs, records: Mapping[tuple[int, int], Record]
    ) -> Iterator[CurveChart]:
        """Yield the curves of the models that were pretrained in a run here."""
        roots: dict[int, dict[Path, None]] = defaultdict(dict)
        for (row, _), record in records.items():
            folder = jobs.folder(record)
            if folder.parent.parent.name == "jobs":  # OUT/jobs/MODEL/JOB
                roots[row][folder.parent.parent.parent] = None
        found: dict[str, dict[str, Points]] = defaultdict(dict)
        pretrained = 0
        for row, model in enumerate(self.board.models):
            curves = pretraining_curves([self.out, *roots[row]], model.name)
            for name, points in curves.items():
                found[name][labels[row]] = points
            pretrained += bool(curves)
            if pretrained == CURVES:
                break
        for name, title in PRETRAINING.items():
            if name in found:
                yield curve_chart(title, "step", found[name])

    def _trainings(
        self, labels: list[str], jobs: Jobs, records: Mapping[tuple[int, int], Record]
    ) -> Iterator[CurveChart]:
        """Yield the curves of the trainings that numbers are of, a chart for each of a column's figures."""
        charted = set()
        for at, column in enumerate(self.board.columns):
            found: dict[tuple[str, str], dict[str, Points]] = defaultdict(dict)
            for row, label in list(enumerate(labels))[:CURVES]:
                record = records.get((row, at))
                if record is not None:
                    for name, unit, points in training_curves(record, jobs.folder(record)):
                        found[name, unit][label] = points
            for (name, unit), series in found.items():
                chart = curve_chart(f"{column.title}: {name}", unit, series)
                same = name, [curve.points for curve in chart.curves]
                if str(same) not in charted:  # a training that fills two columns
                    charted.add(str(same))
                    yield chart

    def _pictures(self, jobs: Jobs, records: Mapping[tuple[int, int], Record]) -> dict[int, dict[int, list[Picture]]]:
        """What the jobs of the first rows drew, by column and row; of a job that fills two columns under the first."""
        folders: dict[Path, tuple[int, int]] = {}
        for column, row in sorted((column, row) for row, column in records if row < _PICTURED_ROWS):
            folders.setdefault(jobs.folder(records[row, column]), (column, row))
        places = [(f"{row}:{column}", folder) for folder, (column, row) in folders.items()]
        found: dict[int, dict[int, list[Picture]]] = defaultdict(lambda: defaultdict(list))
        for picture in find_pictures(places, self.target):
            row, column = map(int, picture.cell.split(":"))
            found[column][row].append(picture)
        return found

    def _cards(self, jobs: Jobs) -> Iterator[dict[str, Any]]:
        """Yield the protocol card of each config, and the columns that it is the card of."""
        by_config: dict[tuple[str, str], list[int]] = defaultdict(list)
        for at, column in enumerate(self.board.columns):
            by_config[column.protocol, column.config_sha256].append(at)
        published = load_references()
        for (protocol, _), columns in by_config.items():
            record = self.board.records[self.board.columns_of_records.index(columns[0])]
            config = jobs.config(record)
            quoted = [entry for entry in published if entry.protocol == protocol]
            yield {
                "columns": columns,
                "title": self.board.columns[columns[0]].title,
                "protocol": protocol,
                "facts": list(card_facts(config)) if config else [],
                "deviations": list(config.deviations) if config else [],
                "published": [(ref, describe_reference(ref)) for ref in quoted],
                "metrics": list(dict.fromkeys(metric for ref in quoted for metric in ref.metrics)),
            }


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"inline": _inline, "printed": as_printed, "shorten": shorten}
    return environment


def _inline(text: str) -> Markup:
    """Show a line of the leaderboard's markdown: code between backticks, and a bar that was kept from ending a cell."""
    parts = text.replace("\\|", "|").split("`")
    if len(parts) % 2 == 0:  # a backtick that is meant as one
        return escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def _hash(text: str) -> str:
    """Return what the page's policy calls a style or script that it lets run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
