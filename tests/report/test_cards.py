"""The page of protocol cards holds whatever the configs and the published numbers say, wherever it is said once."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

import pytest

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.common.config import scalar
from mec_transfer.report.cards import about, data_parts, further_columns, ranking
from mec_transfer.report.family_cards import naming
from mec_transfer.report.protocols_page import all_cards
from mec_transfer.results.markdown import as_printed
from mec_transfer.results.references import Reference, load_references
from mec_transfer.suite.registry import benchmark_config, benchmark_files

SHIPPED = [config for path in benchmark_files() if (config := benchmark_config(path)).dataset.name != "demo"]
POINT = re.compile(r"- \*\*(?P<name>[^*]+)\*\*(?: \((?P<of>[^)]*)\))?:(?P<text>.*)")


class PageCard:
    """A card as it stands on the page: what its points say of which benchmark, and its tables."""

    def __init__(self, text: str) -> None:
        self.title, *self.lines = text.splitlines()
        own = re.findall(r"^- \*\*Config\*\*: `(.+)`$", text, re.MULTILINE)
        blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
        self.tables = [[self._cells(line) for line in block if not line.startswith("| ---")] for block in blocks]
        self.ids = own or [row[0].strip("`") for row in self.tables[0][1:]]

    @staticmethod
    def _cells(line: str) -> list[str]:
        return [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split(" |")]

    def of(self, name: str) -> str:
        """All that the points say of a benchmark, in one line."""
        said, mine = [], False
        for line in self.lines:
            if point := POINT.match(line):
                mine = name in self._named(point["of"])
                line = f"{point['name']}: {point['text']}"
            elif not line.startswith("  "):
                mine = False
            if mine:
                said.append(line.strip().removeprefix("- "))
        return " ".join(" ".join(said).split())

    def _named(self, of: str | None) -> list[str]:
        if of is None:
            return self.ids
        patterns = re.findall(r"`([^`]+)`", of)
        named = [one for one in self.ids if any(fnmatch.fnmatch(one, pattern) for pattern in patterns)]
        return [one for one in self.ids if one not in named] if of.startswith("all but") else named

    def cells_of(self, name: str) -> Iterator[tuple[str, str]]:
        """Head and cell of what tables say of a benchmark, one a row or one a column."""
        for head, *rows in self.tables:
            columns = [number for number, cell in enumerate(head) if cell == f"`{name}`"]
            for row in rows:
                if row[0] == f"`{name}`":
                    yield from zip(head, row, strict=True)
                for number in columns:
                    yield row[0], row[number]


def cards() -> dict[str, PageCard]:
    """The card of each benchmark, by its config's name."""
    texts = re.split(r"^##+ ", "\n".join(all_cards()) + "\n", flags=re.MULTILINE)
    found = [PageCard(text) for text in texts if "- **Published**" in text]
    return {name: card for card in found for name in card.ids}


PAGE = cards()


def settings(config: BenchmarkConfig) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each setting as a whole, and its parts where it has some."""
    for key, value in config.settings().items():
        parts = {f"{key}.{inner}": scalar(own) for inner, own in value.items()} if isinstance(value, dict) else {}
        yield key, scalar(value), parts


@pytest.mark.parametrize("config", SHIPPED, ids=lambda config: config.id)
def test_the_page_says_of_each_benchmark_what_its_config_says(config: BenchmarkConfig) -> None:
    card = PAGE[config.id]
    said, cells = card.of(config.id), dict(card.cells_of(config.id))
    for sentence in (*re.split(r"(?<=\.) (?=[A-Z])", config.published), *config.deviations):
        assert " ".join(sentence.split()) in said
    for key, value, parts in settings(config):
        whole = f"`{key}: {value}`" in said or cells.get(f"`{key}`") == f"`{value}`"
        parted = [f"`{name}: {own}`" in said or cells.get(f"`{name}`") == f"`{own}`" for name, own in parts.items()]
        assert whole or (parted and all(parted)), key
    assert cells.get("ranked by") == ranking(config) or f"Ranked by: {ranking(config)}" in said
    if further := further_columns(config):
        assert cells.get("further columns") == further or f"urther columns: {further}" in said
    everything = f"{card.title} {said} {' '.join(cells.values())}"
    promised, (_, *parts_of_data) = config.dataset.promised, data_parts(config)
    counts = [promised.classes, promised.sequences, *promised.images.values()] if promised else []
    for text in (config.title, f"`{config.protocol}`", config.dataset.name, f"`{config.dataset.layout}`"):
        assert text in everything
    for text in (*parts_of_data, *(f"{count:,}" for count in counts if count is not None)):
        assert text in everything


def published(card: PageCard) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Config or data set, method, network, metric, value and source of each published number on a card."""
    points = "\n".join(line for line in card.lines if not line.startswith("|"))
    sources = dict(re.findall(r"  - (\[\d+\]) ((?:.*\n    )*.*)", points))
    for head, *rows in card.tables:
        for row in rows:
            if head[:2] == ["method", "network, pretraining"]:
                for metric, value in zip(head[2:-2], row[2:-2], strict=True):
                    yield card.ids[0], row[0], row[1], metric, value, f"{row[-1]}; {row[-2]}"
            elif head[:3] == ["config", "method", "network, pretraining"]:
                for metric, value in zip(head[3:-1], row[3:-1], strict=True):
                    yield row[0].strip("`"), row[1], row[2], metric, value, sources[row[-1]]
            elif head[0].endswith(": method"):
                for name, value in zip(head[2:], row[2:], strict=True):
                    data, _, mark = name.rpartition(" ")
                    yield data, row[0], row[1], head[0].removesuffix(": method"), value, sources[mark]


@pytest.mark.parametrize("config", SHIPPED, ids=lambda config: config.id)
def test_the_page_has_every_published_number_and_where_it_is_from(config: BenchmarkConfig) -> None:
    card = PAGE[config.id]
    found = [row for row in published(card) if row[0] in (config.id, config.dataset.name) and row[4]]
    expected = [
        (entry, metric) for entry in load_references() if entry.protocol == config.protocol for metric in entry.metrics
    ]
    for entry, metric in expected:
        assert any(matches(row, entry, metric) for row in found), f"{entry.method}, {metric}"
    assert len(found) == len(expected)


def matches(row: tuple[str, ...], entry: Reference, metric: str) -> bool:
    _, method, network, measured, value, source = row
    number, spread = as_printed(entry.metrics[metric]), ""
    note = entry.note
    if note.startswith("± ") and " ± " in value:
        spread = f" ± {note[2:].split(', ')[list(entry.metrics).index(metric)]}"
        note = ""
    source, by = " ".join(source.split()), "its authors" if entry.by_authors else "others"
    told = all(part in source for part in (entry.source, by, *note.split("; ")))
    return (method, network, measured, value) == (entry.method, about(entry), metric, number + spread) and told


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a_1_x", "a_2_x", "b_1_x", "b_1_y"], ""),
        (["a_1_x", "a_2_x"], " (`a_*_x`)"),
        (["a_1_x", "b_1_x"], " (`*_1_x`)"),
        (["b_1_x", "b_1_y"], " (`b_1_*`)"),
        (["a_1_x", "b_1_y"], " (`a_1_x`, `b_1_y`)"),
        (["a_2_x", "b_1_x"], " (`a_2_x`, `b_1_x`)"),  # `*_x` would be one too many
        (["a_1_x", "a_2_x", "b_1_x"], " (all but `b_1_y`)"),
        (["b_1_y"], " (`b_1_y`)"),
    ],
)
def test_benchmarks_are_named_shortly_and_exactly(names: list[str], words: str) -> None:
    assert naming(names, ["a_1_x", "a_2_x", "b_1_x", "b_1_y"]) == words


def test_the_page_is_short() -> None:
    assert sum(1 for _ in all_cards()) < 950
