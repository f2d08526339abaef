"""Protocol cards: what a reader of a number has to know of its protocol, from the config and the references.

`mec-transfer show --cards` prints them (docs/protocols.md is what it prints), and a report shows those of its columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.common.config import scalar
from mec_transfer.results.leaderboard import natural
from mec_transfer.results.markdown import as_printed
from mec_transfer.results.references import Reference, load_references
from mec_transfer.suite.registry import BENCHMARKS, benchmark_config, benchmark_files

_WIDTH = 140
_KEPT_SPACE = "\N{NO-BREAK SPACE}"
"""Where no line may be broken."""
_HEAD = """
One card for each benchmark that ships, without those of the demo: where it is published, what it is measured on, the
settings that move the number, known deviations, and the published values. `mec-transfer show CONFIG --cards` prints one
of them, and `mec-transfer show CONFIG` the whole config with the meaning of every key. The page is made from the
configs and from `mec_transfer/results/references.yaml`, by `mec-transfer show --cards > docs/protocols.md`.

Settings have the names of the benchmark's YAML, below `recipe`. Names with capitals are Detectron2's, and names with
dots are MMTracking's; what a card does not name is as these engines have it. Everything is computed in float32 with all
its bits. A deviation is anything that is not computed as published, or an oddity of the published code that is kept; a
card without any has none that are known. Published values are quoted, never measured here. The keys of a benchmark are
explained in [benchmarks.md](benchmarks.md), the columns of a leaderboard in [leaderboard.md](leaderboard.md).
"""
_ABOUT = {
    "classification": """
Heads and networks are trained by SGD with the named momentum, without Nesterov's. `train_crop` is the side in pixels of
a random resized crop (scale 0.08 to 1), which is then flipped at random; nothing else is augmented. `eval_view` is how
an image is cut for the number, `view` how it is cut for frozen features. Learning rates are those of the whole batch;
`base_lr` is per 256 images.
""",
    "detection": """
A Faster or Mask R-CNN is finetuned through Detectron2, all layers of it. Where a card does not say otherwise,
Detectron2's defaults hold: SGD with momentum 0.9 and weight decay 0.0001, a tenth of the rate after each of
`SOLVER.STEPS`, a warm-up of 1,000 iterations, and horizontal flips.
""",
    "segmentation": """
A fully convolutional network on the dilated backbone, all layers finetuned by SGD. Images are resized at random,
cropped and flipped. Batch norm sees a whole batch, on any number of processes. mIoU is the mean over the classes, each
over the pixels of all test images; void pixels do not count.
""",
    "tracking": """
On frozen features nothing is trained: `stage` is the stage of the network whose features are taken, at stride 8.
SiamRPN++ and the ReID network of DeepSORT are trained through MMTracking 0.14; `data.samples_per_gpu` is per process of
the published run.
""",
}
"""What the settings of a family's cards have in common."""


def all_cards() -> Iterator[str]:
    """Yield the page line by line: its head, then every card under the name of its family."""
    yield "# Protocol cards"
    yield from _paragraphs(_HEAD)
    configs = [benchmark_config(path) for path in benchmark_files()]
    for family in dict.fromkeys(key.partition("/")[0] for key in BENCHMARKS):
        yield f"\n## {family.capitalize()}"
        yield from _paragraphs(_ABOUT[family])
        said: dict[str | tuple[str, ...], str] = {}
        for config in sorted(configs, key=lambda config: natural(config.id)):
            if config.family == family and config.dataset.name != "demo":
                yield ""
                yield from card(config, said)
                for text in (config.published, config.deviations):
                    said.setdefault(text, config.title)


def card(config: BenchmarkConfig, said: Mapping[str | tuple[str, ...], str] | None = None) -> Iterator[str]:
    """Yield the lines of one benchmark's card, as markdown.

    With `said`, the titles of the cards above by what they say of the publication and the deviations, it is not
    repeated.
    """
    said = said or {}
    yield f"### {config.title}\n"
    for name, text in card_facts(config):
        yield from _item(name, f"as for {said[text]}" if text in said else text)
    if config.deviations in said and config.deviations:
        yield from _item("Known deviations", f"as for {said[config.deviations]}")
    elif config.deviations:
        yield "- **Known deviations**:"
        for sentence in config.deviations:
            yield from _wrapped(sentence, "  - ")
    published = [entry for entry in load_references() if entry.protocol == config.protocol]
    if published:
        yield from ("- **Published values**:", "", *_table(published))
    else:
        yield from _item("Published values", "none are quoted under this protocol id")


def card_facts(config: BenchmarkConfig) -> Iterator[tuple[str, str]]:
    """Yield what a card says before its deviations: the name of each fact, and the fact as a line of markdown."""
    metrics = config.metrics
    ranked = f"`{metrics.primary}`, {'higher' if metrics.higher_is_better else 'lower'} is better"
    columns = "".join(f"; `{metric}` has a column of its own" for metric in metrics.also)
    trials = f"; mean of {config.trials} trials" if config.trials > 1 else ""
    yield "Config", f"`{config.id}`"
    yield "Protocol id", f"`{config.protocol}`, version {config.version}"
    yield "Published", config.published
    yield "Ranked by", f"{ranked}{columns}{trials}"
    yield "Data", "; ".join(_data(config))
    yield "Settings", _pairs(config.settings())


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.strip().split("\n\n"):
        yield ""
        yield from _wrapped(paragraph, "")


def _item(name: str, text: str) -> Iterator[str]:
    return _wrapped(f"**{name}**: {text}", "- ")


def _wrapped(text: str, indent: str) -> Iterator[str]:
    wrapper = textwrap.TextWrapper(
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in wrapper.wrap(text):
        yield line.replace(_KEPT_SPACE, " ")


def _pairs(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}: {scalar(value)}`".replace(" ", _KEPT_SPACE) for key, value in settings.items())


def _data(config: BenchmarkConfig) -> Iterator[str]:
    """Yield what the data set is called, how it lies on the disk, which parts are used, and what it must hold."""
    dataset = config.dataset
    values = dataset.model_dump(mode="json")
    yield f"{dataset.name}, in the layout `{dataset.layout}`"
    for key in ("train", "test", "split", "sequences", "detections"):
        if values.get(key):
            yield f"`{key}: {scalar(values[key])}`"
    for part in values.get("training", ()):
        yield f"learnt from: {part['name']} (`{part['layout']}`, `{part['split']}`, weight {part['weight']:g})"
    if held := ", ".join(_contents(config)):
        yield f"it must hold {held}"


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
        about = ", ".join(filter(None, (entry.arch, entry.pretraining)))
        values = " | ".join(as_printed(entry.metrics[name]) if name in entry.metrics else "" for name in metrics)
        source = f"{entry.source} ({entry.note})" if entry.note else entry.source
        yield f"| {entry.method} | {about} | {values} | {'its authors' if entry.by_authors else 'others'} | {source} |"
