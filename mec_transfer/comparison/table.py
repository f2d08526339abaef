"""Comparisons as a table of plain text, as markdown, or as json."""

from __future__ import annotations

import itertools
import json
from typing import Any

from mec_transfer.comparison.compare import Comparison, Comparisons

FORMATS = ("text", "md", "json")
_RIGHT = (3, 4, 5)
"""The columns with a number."""


def format_comparisons(found: Comparisons, fmt: str) -> str:
    """Return what is printed: the same bytes for the same records."""
    if fmt == "json":
        return json.dumps(_as_json(found), indent=2, ensure_ascii=False) + "\n"
    parts = []
    for (first, second), made in itertools.groupby(found.made, key=lambda one: one.models):
        rows = [_row(one) for one in made]
        heads = ("benchmark", "protocol", "metric", first, second, "difference", "interval", "over", "verdict")
        parts.append(_markdown([heads, *rows]) if fmt == "md" else _plain([heads, *rows]))
    notes = [*_notes(found), *(f"Refused: {line}" for line in found.refused)]
    start = "- " if fmt == "md" else ""
    parts.append("".join(f"{start}{note}\n" for note in notes))
    return "\n".join(parts)


def verdict(one: Comparison) -> str:
    """Return what follows from an interval, in words."""
    if one.reach is None:
        return f"no interval: {one.reason}"
    return "not distinguishable" if one.better is None else f"{one.models[one.better]} is better"


def _row(one: Comparison) -> tuple[str, ...]:
    numbers = [f"{mean:.2f}" + (f" (n={n})" if n > 1 else "") for mean, n in zip(one.means, one.trials, strict=True)]
    arrow = "↑" if one.column.higher_is_better else "↓"
    interval = f"{one.interval[0]:+.2f} to {one.interval[1]:+.2f}" if one.interval else ""
    units = f"{one.units} {one.kind}" if one.units else ""
    return (
        *(one.column.title, one.column.protocol, f"{one.column.metric} {arrow}", *numbers, f"{one.difference:+.2f}"),
        *(interval, units + (", trials" if one.over_trials else ""), verdict(one)),
    )


def _notes(found: Comparisons) -> list[str]:
    count = found.intervals
    if not count:
        return ["No comparison has an interval."]
    together = f"{100 * found.confidence:g} %"
    lines = [
        f"Paired bootstrap, {found.resamples} draws; an interval is of the first model's number less the second's."
    ]
    if count > 1:
        each = f"{100 * found.level:.4g} %"
        lines.append(
            f"Corrected for {count} comparisons: each interval is of {each}, so that all hold with {together}."
        )
    else:
        lines.append(f"One comparison: its interval is of {together}.")
    if any(one.reach is not None and not one.over_trials for one in found.made):
        lines.append("Without `trials`, an interval says nothing of what another training or seed would have given.")
    return lines


def _plain(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if at in _RIGHT else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def _markdown(rows: list[tuple[str, ...]]) -> str:
    rule = tuple("---:" if at in _RIGHT else "---" for at in range(len(rows[0])))
    cells = [tuple(text.replace("|", "\\|") for text in row) for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in (cells[0], rule, *cells[1:]))


def _as_json(found: Comparisons) -> dict[str, Any]:
    return {
        "schema": 1,
        "confidence": found.confidence,
        "intervals": found.intervals,
        "level": found.level,
        "resamples": found.resamples,
        "comparisons": [
            {
                "benchmark": one.column.benchmark,
                "protocol": one.column.protocol,
                "config_sha256": one.column.config_sha256,
                "dataset": one.column.dataset,
                "fingerprint": one.column.fingerprint,
                "metric": one.column.metric,
                "higher_is_better": one.column.higher_is_better,
                "models": list(one.models),
                "means": list(one.means),
                "trials": list(one.trials),
                "difference": one.difference,
                "interval": list(one.interval) if one.interval else None,
                "units": {"kind": one.kind, "count": one.units},
                "over_trials": one.over_trials,
                "better": None if one.better is None else one.models[one.better],
                "verdict": verdict(one),
            }
            for one in found.made
        ],
        "refused": list(found.refused),
    }
