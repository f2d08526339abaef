"""The protocol card of a benchmark: what a reader of a number has to know of it, from the config and the references.

`mec-transfer show CONFIG --cards` prints it, and a report shows those of its columns. `protocols_page.py` has the page
of all of them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.common.config import scalar
from mec_transfer.results.markdown import as_printed
from mec_transfer.results.references import Reference, load_references

_WIDTH = 140
_KEPT_SPACE = "\N{NO-BREAK SPACE}"
"""Where no line may be broken."""


def card(config: BenchmarkConfig) -> Iterator[str]:
    """Yield the lines of one benchmark's card, as markdown."""
    yield f"### {config.title}\n"
    for name, text in card_facts(config):
        yield from item(name, text)
    if config.deviations:
        yield from points("Known deviations", config.deviations)
    published = [entry for entry in load_references() if entry.protocol == config.protocol]
    if published:
        yield from ("- **Published values**:", "", *_table(published))
    else:
        yield from item("Published values", "none are quoted under this protocol id")


def card_facts(config: BenchmarkConfig) -> Iterator[tuple[str, str]]:
    """Yield what a card says before its deviations: the name of each fact, and the fact as a line of markdown."""
    yield "Config", f"`{config.id}`"
    yield "Protocol id", f"`{config.protocol}`, version {config.version}"
    yield "Published", config.published
    further = further_columns(config)
    yield "Ranked by", ranking(config) + (f"; further columns: {further}" if further else "")
    held = ", ".join(_contents(config))
    yield "Data", "; ".join([*data_parts(config), *([f"it must hold {held}"] if held else [])])
    yield "Settings", ", ".join(pairs(config.settings()))


def ranking(config: BenchmarkConfig) -> str:
    """Return by which metric rows are ranked, and of how many trials it is the mean."""
    metrics = config.metrics
    ranked = f"`{metrics.primary}`, {'higher' if metrics.higher_is_better else 'lower'} is better"
    return ranked + (f"; mean of {config.trials} trials" if config.trials > 1 else "")


def further_columns(config: BenchmarkConfig) -> str:
    """Return which other metrics have a column of their own; "" for none."""
    return ", ".join(f"`{metric}`" for metric in config.metrics.also)


def item(name: str, text: str, of: str = "") -> Iterator[str]:
    """Yield a point of a list in lines: its name in bold, `of` what it is if not of all, and the text."""
    return wrapped(f"**{name}**{of}: {text}", "- ")


def points(name: str, sentences: Iterable[str], of: str = "") -> Iterator[str]:
    """Yield a point whose text is a list of sentences."""
    yield f"- **{name}**{of}:"
    for sentence in sentences:
        yield from wrapped(sentence, "  - ")


def wrapped(text: str, indent: str) -> Iterator[str]:
    """Yield text in lines of the page's width, the first of which begins with `indent`."""
    wrapper = textwrap.TextWrapper(
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in wrapper.wrap(text):
        yield line.replace(_KEPT_SPACE, " ")


def pairs(settings: Mapping[str, Any]) -> list[str]:
    """Return each setting as a piece of code that is not broken into lines."""
    return [f"`{key}: {scalar(value)}`".replace(" ", _KEPT_SPACE) for key, value in settings.items()]


def data_parts(config: BenchmarkConfig) -> Iterator[str]:
    """Yield what the data set is called and how it lies on the disk, and which parts of it are used."""
    dataset = config.dataset
    values = dataset.model_dump(mode="json")
    yield f"{dataset.name}, in the layout `{dataset.layout}`"
    for key in ("train", "test", "split", "sequences", "detections"):
        if values.get(key):
            yield f"`{key}: {scalar(values[key])}`"
    for part in values.get("training", ()):
        yield f"learnt from: {part['name']} (`{part['layout']}`, `{part['split']}`, weight {part['weight']:g})"


def _contents(config: BenchmarkConfig) -> Iterator[str]:
    promised = config.dataset.promised
    if promised is None:
        return
    if promised.classes is not None:
        yield f"{promised.classes:,} classes"
    if promised.sequences is not None:
        yield f"{promised.sequences:,} sequences"
    for split, images in promised.images.items():
        yield f"{images:,} images in `{split}`"


def _table(published: Iterable[Reference]) -> Iterator[str]:
    rows = list(published)
    metrics = list(dict.fromkeys(metric for entry in rows for metric in entry.metrics))
    yield f"| method | network, pretraining | {' | '.join(metrics)} | run by | source |"
    yield f"| --- | --- |{' ---: |' * len(metrics)} --- | --- |"
    for entry in rows:
        values = " | ".join(as_printed(entry.metrics[name]) if name in entry.metrics else "" for name in metrics)
        source = f"{entry.source} ({entry.note})" if entry.note else entry.source
        by = "its authors" if entry.by_authors else "others"
        yield f"| {entry.method} | {about(entry)} | {values} | {by} | {source} |"


def about(entry: Reference) -> str:
    """Return the network of a published run and how it was pretrained."""
    return ", ".join(filter(None, (entry.arch, entry.pretraining)))
