"""A run as one page: report.html, which any browser opens from the disk, without a network.

The numbers are the leaderboard's, in its own words; nothing here is computed a second time.
"""

from __future__ import annotations

import base64
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
from mec_transfer.report.charts import (
    BARS,
    CURVES,
    PROFILES,
    CurveChart,
    Intervals,
    bar_charts,
    curve_chart,
    profiles,
)
from mec_transfer.report.curves import PRETRAINING, Points, pretraining_curves, training_curves
from mec_transfer.report.jobs import Jobs
from mec_transfer.report.panels import as_script, panel_data
from mec_transfer.report.pictures import Picture, find_pictures
from mec_transfer.report.table import Head, cells, heads, quoted
from mec_transfer.results.leaderboard import Leaderboard, build_leaderboard
from mec_transfer.results.markdown import (
    OTHERS_HEAD,
    as_printed,
    data_notes,
    describe_reference,
    legend_lines,
    model_notes,
    other_numbers,
    version_lines,
    warning_lines,
)
from mec_transfer.results.record import Record
from mec_transfer.results.references import Reference, load_references
from mec_transfer.results.store import Store

REPORT = "report.html"
_PICTURED_ROWS = 4
_Records = Mapping[tuple[int, int], Record]
"""(row, column) to the record whose curves and pictures are shown."""


def write_report(
    out: Path,
    store: Store,
    target: Path | None = None,
    *,
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
        intervals: about the means, drawn in place of the standard deviation over trials.

    Raises:
        RunError: the page cannot be written.
    """
    target = target or out / REPORT
    board = build_leaderboard(store.records, load_references() if references is None else references, store.means)
    values = _values(out, store, board, intervals or {}, target if pictures else None)
    css, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    page = _template().render(
        css=Markup(css), script=Markup(script), style_hash=_hash(css), script_hash=_hash(script), **values
    )
    write_bytes(target, page.encode("utf-8", "replace"))
    return target


def _values(out: Path, store: Store, board: Leaderboard, intervals: Intervals, page: Path | None) -> dict[str, Any]:
    """Return what the template shows; `page` is where pictures are seen from, None for a page without any."""
    jobs, columns = Jobs(store), heads(board)
    labels = [board.label(row) for row in range(len(board.models))]
    names = [model.name for model in board.models]
    baseline = names.index("random") if "random" in names else len(names) - 1
    table, failures = cells(board, labels)
    records = _shown_records(board)
    return {
        "heads": columns,
        "labels": labels,
        "cells": table,
        "failures": failures,
        "derived": board.derived,
        "published": list(quoted(board)),
        "families": list(dict.fromkeys(column.family for column in board.columns)),
        "protocols": list(dict.fromkeys(column.protocol for column in board.columns)),
        "legend": legend_lines(board),
        "notes": {
            "Data": data_notes(board),
            "Models": model_notes(board),
            "Warnings": warning_lines(board),
            "Records that cannot be read": store.problems,
            "Versions": version_lines(board),
        },
        "dates": sorted({record.finished[:10] for record in board.records if record.finished}),
        "total": len(store.records),
        "failed": sum(record.status != "ok" for record in store.records),
        "baseline": baseline,
        "profiles": profiles(board, baseline),
        "one_profile": len(labels) > PROFILES,
        "bars": list(bar_charts(board, labels, intervals)),
        "has_intervals": bool(intervals),
        "most_bars": BARS if len(labels) > BARS else None,
        "most_curves": CURVES if len(labels) > CURVES else None,
        "pretraining": list(_pretraining(out, board, labels, jobs, records)),
        "trainings": list(_trainings(columns, labels, jobs, records)),
        "pictures": _pictures(jobs, records, page) if page else {},
        "others_head": OTHERS_HEAD,
        "others": other_numbers(board),
        "cards": list(_cards(board, columns, jobs)),
        "data": Markup(as_script(panel_data(board, jobs, labels, [head.name for head in columns]))),
    }


def _shown_records(board: Leaderboard) -> dict[tuple[int, int], Record]:
    """Return the first record of each cell that has a number, else the first."""
    rows = {(model.name, model.sha256): row for row, model in enumerate(board.models)}
    found: dict[tuple[int, int], Record] = {}
    for record, column in zip(board.records, board.columns_of_records, strict=True):
        place = rows[record.model.name, record.model.sha256], column
        if place not in found or (found[place].status != "ok" and record.status == "ok"):
            found[place] = record
    return found


def _pretraining(
    out: Path, board: Leaderboard, labels: list[str], jobs: Jobs, records: _Records
) -> Iterator[CurveChart]:
    """Yield a chart of each figure of the models that were pretrained in `out`, or in the run of their records."""
    roots: dict[int, dict[Path, None]] = defaultdict(dict)
    for (row, _), record in records.items():
        folder = jobs.folder(record)
        if folder.parent.parent.name == "jobs":  # OUT/jobs/MODEL/JOB
            roots[row][folder.parent.parent.parent] = None
    found: dict[str, dict[str, Points]] = defaultdict(dict)
    pretrained = 0
    for row, model in enumerate(board.models):
        curves = pretraining_curves([out, *roots[row]], model.name)
        for name, points in curves.items():
            found[name][labels[row]] = points
        pretrained += bool(curves)
        if pretrained == CURVES:
            break
    for name, title in PRETRAINING.items():
        if name in found:
            yield curve_chart(title, "step", found[name])


def _trainings(columns: list[Head], labels: list[str], jobs: Jobs, records: _Records) -> Iterator[CurveChart]:
    """Yield a chart of each figure of the trainings behind a column; of a training behind two of them once."""
    charted = set()
    for at, head in enumerate(columns):
        found: dict[tuple[str, str], dict[str, Points]] = defaultdict(dict)
        for row, label in enumerate(labels[:CURVES]):
            if (record := records.get((row, at))) is not None:
                for name, unit, points in training_curves(record, jobs.folder(record)):
                    found[name, unit][label] = points
        for (name, unit), series in found.items():
            same = name, head.column.protocol, str(series)
            if same not in charted:
                charted.add(same)
                yield curve_chart(f"{head.name}: {name}", unit, series)


def _pictures(jobs: Jobs, records: _Records, page: Path) -> dict[int, dict[int, list[Picture]]]:
    """Return what the jobs of the first rows drew, by column and row; of a job that fills two columns by the first."""
    folders: dict[Path, tuple[int, int]] = {}
    for column, row in sorted((column, row) for row, column in records if row < _PICTURED_ROWS):
        folders.setdefault(jobs.folder(records[row, column]), (column, row))
    found: dict[int, dict[int, list[Picture]]] = defaultdict(lambda: defaultdict(list))
    for picture in find_pictures([(place, folder) for folder, place in folders.items()], page):
        found[picture.column][picture.row].append(picture)
    return found


def _cards(board: Leaderboard, columns: list[Head], jobs: Jobs) -> Iterator[dict[str, Any]]:
    """Yield the protocol card of each config, and the columns that it is the card of."""
    by_config: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, column in enumerate(board.columns):
        by_config[column.protocol, column.config_sha256].append(at)
    for (protocol, _), places in by_config.items():
        config = jobs.config(board.records[board.columns_of_records.index(places[0])])
        published = [entry for entry in load_references() if entry.protocol == protocol]
        yield {
            "columns": places,
            "name": columns[places[0]].name,
            "protocol": protocol,
            "facts": list(card_facts(config)) if config else [],
            "deviations": list(config.deviations) if config else [],
            "published": [(entry, describe_reference(entry)) for entry in published],
            "metrics": list(dict.fromkeys(metric for entry in published for metric in entry.metrics)),
        }


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"inline": inline, "printed": as_printed}
    return environment.get_template("page.html")


def inline(text: str) -> Markup:
    """Show a line of the leaderboard's markdown: code between backticks, and a bar that was kept from ending a cell.

    >>> inline("`a|b` < c")
    Markup('<code>a|b</code> &lt; c')
    """
    parts = text.replace("\\|", "|").split("`")
    if len(parts) % 2 == 0:  # a backtick that is meant as one
        return escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def _hash(text: str) -> str:
    """Return what the page's policy calls a style or script that it lets run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
