"""One protocol card for benchmarks of a kind that differ in little but their data set."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.common.config import scalar
from mec_transfer.report.cards import data_parts, further_columns, item, pairs, points, ranking
from mec_transfer.report.family_values import published_values

Members = Sequence[BenchmarkConfig]
_SENTENCE = re.compile(r"(?<=\.) (?=[A-Z])")
_ABSENT = "-"
_MOST_INLINE = 3
"""Columns of what differs that the table of the members has room for."""


def family_card(title: str, members: Members) -> Iterator[str]:
    """Yield the lines of a card for several benchmarks, as markdown.

    A table of them comes first, then what holds for all, then of anything else which of them it holds for. Nothing that
    their own cards say is left out.
    """
    ids = [config.id for config in members]
    same, differing = _settings(members)
    inline = len(differing) <= _MOST_INLINE
    yield f"### {title}\n"
    yield from table([row + own for row, own in zip(_members(members), _rows(members, differing if inline else {}))])
    yield ""
    for names, sentences in _by_members({config.id: _SENTENCE.split(config.published) for config in members}):
        yield from item("Published", " ".join(sentences), naming(names, ids))
    if shared := _shared_parts(members):
        yield from item("Data", "; ".join(shared))
    yield from (line for name, text in same.items() for line in item(name, text))
    if not inline:
        yield "- **Other settings**:\n"
        rows = [["config"], *([f"`{name}`"] for name in ids)]
        rows = [row + own for row, own in zip(rows, _rows(members, differing), strict=True)]
        yield from table(rows if len(differing) < len(rows) else list(zip(*rows, strict=True)))
        yield ""
    for names, sentences in _by_members({config.id: config.deviations for config in members}):
        of = naming(names, ids)
        alone = len(sentences) == 1
        yield from item("Known deviation", sentences[0], of) if alone else points("Known deviations", sentences, of)
    yield from published_values(members)


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, the first row of which is its head."""
    head, *others = rows
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in others:
        yield f"| {' | '.join(row)} |"


def naming(names: Sequence[str], among: Sequence[str]) -> str:
    """Return how those of a card's benchmarks are called that something is said of; "" for all of them.

    A pattern stands for them where it matches no other one, and `all but` where that is shorter.
    """
    if len(names) == len(among):
        return ""
    others = [name for name in among if name not in names]
    if len(others) < min(len(names), 3):
        return f" (all but {_listed(others)})"
    words = [name.split("_") for name in names]
    pattern = "_".join([*_start(words), "*", *reversed(_start([own[::-1] for own in words]))])
    if len(names) > 1 and fnmatch.filter(among, pattern) == list(names):
        return f" (`{pattern}`)"
    return f" ({_listed(names)})"


def _start(words: Sequence[Sequence[str]]) -> list[str]:
    """Return the words that all begin with, less the last of the shortest."""
    together = itertools.takewhile(
        lambda column: len(set(column)) == 1, zip(*(own[:-1] for own in words), strict=False)
    )
    return [column[0] for column in together]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _members(members: Members) -> list[list[str]]:
    """Return the rows of the table of all members."""
    promised = [config.dataset.promised for config in members]
    counted = [what for what in ("classes", "sequences") if any(getattr(one, what, None) for one in promised)]
    shared = _shared_parts(members)
    rows = [["config", "title", "protocol id", "version", "data", *counted, "images"]]
    for config, held in zip(members, promised, strict=True):
        _, *parts = data_parts(config)
        data = [f"{config.dataset.name} (`{config.dataset.layout}`)", *(part for part in parts if part not in shared)]
        counts = [getattr(held, what, None) for what in counted]
        images = ", ".join(f"{count:,} in `{split}`" for split, count in (held.images if held else {}).items())
        cells = [f"`{config.id}`", config.title, f"`{config.protocol}`", str(config.version), "; ".join(data)]
        rows.append([*cells, *("" if count is None else f"{count:,}" for count in counts), images])
    return rows


def _shared_parts(members: Members) -> list[str]:
    """Return what is said of the data of all members, beside their names."""
    first, *others = (list(data_parts(config))[1:] for config in members)
    return [part for part in first if all(part in own for own in others)]


def _rows(members: Members, columns: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the columns' heads, and of each member what they say of it."""
    return [list(columns), *([column[index] for column in columns.values()] for index in range(len(members)))]


def _by_members(said: Mapping[str, Sequence[str]]) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return which members say what, those things together that the same members say; what all say comes first."""
    about: dict[str, list[str]] = {}
    for name, texts in said.items():
        for text in texts:
            about.setdefault(text, []).append(name)
    together: dict[tuple[str, ...], list[str]] = {}
    for text, names in about.items():
        together.setdefault(tuple(names), []).append(text)
    return sorted(together.items(), key=lambda entry: len(entry[0]) < len(said))


def _settings(members: Members) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return what is to be said of the ranking and the settings of all members, and columns of what differs."""
    same: dict[str, str] = {}
    differing: dict[str, list[str]] = {}
    for name, texts in (("Ranked by", [*map(ranking, members)]), ("Further columns", [*map(further_columns, members)])):
        if len(set(texts)) > 1:
            differing[name.lower()] = texts
        elif texts[0]:
            same[name] = texts[0]
    settings = _comparable([config.settings() for config in members])
    keys = list(dict.fromkeys(key for one in settings for key in one))
    shared = [key for key in keys if all(key in one and one[key] == settings[0][key] for one in settings)]
    if shared:
        same["Settings"] = ", ".join(pairs({key: settings[0][key] for key in shared}))
    for key in keys:
        if key not in shared:
            differing[f"`{key}`"] = [f"`{scalar(one[key])}`" if key in one else _ABSENT for one in settings]
    return same, differing


def _comparable(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return settings in which mappings that differ stand key by key, as `--set` names them."""
    first, *others = settings
    mixed = [
        key
        for key, value in first.items()
        if isinstance(value, dict) and all(isinstance(one.get(key), dict) for one in others)
        if any(one[key] != value for one in others)
    ]
    return [
        {key: value for key, value in one.items() if key not in mixed}
        | {f"{key}.{inner}": value for key in mixed for inner, value in one[key].items()}
        for one in settings
    ]
