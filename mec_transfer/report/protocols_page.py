"""The page of all protocol cards: docs/protocols.md, as `mec-transfer show --cards` prints it."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterator, Sequence

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.report.cards import card, wrapped
from mec_transfer.report.family_cards import family_card
from mec_transfer.results.leaderboard import natural
from mec_transfer.suite.registry import BENCHMARKS, benchmark_config, benchmark_files

_HEAD = """
A card for each benchmark that ships, without those of the demo: where it is published, what it is measured on, the
settings that move the number, known deviations, and the published values. Benchmarks that differ in little but their
data share a card: a table of them, what holds for all, and what holds for which. `mec-transfer show CONFIG --cards`
prints the whole card of one, and `mec-transfer show CONFIG` the whole config with the meaning of every key. The page is
made from the configs and `mec_transfer/results/references.yaml`, by `mec-transfer show --cards > docs/protocols.md`.

Settings have the names of the benchmark's YAML, below `recipe`. Names with capitals are Detectron2's, and names with
dots that no YAML has are MMTracking's. What a card does not name is as these engines have it, and so is what a table
has as `-`, or it has no meaning there. Everything is computed in float32 with all its bits. A deviation is anything
that is not computed as published, or an oddity of the published code that is kept; a card without any has none that are
known. Published values are quoted, never measured here. The keys of a benchmark are explained in
[benchmarks.md](benchmarks.md), the columns of a leaderboard in [leaderboard.md](leaderboard.md).
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


_SHARED = {
    "knn/*": "k-NN",
    "linear/*": "Linear probe (MEC)",
    "linear_sgd/*": "Linear probe (VISSL)",
    "linear_fast/*": "Linear probe (fast)",
    "logistic/*": "Linear transfer",
    "few_shot/*": "Few-shot",
    "robust/*": "Robustness",
    "semisup/*": "Semi-supervised",
    "detectron2/coco_*": "COCO detection",
    "detectron2/voc*": "VOC detection",
    "fcn/*": "Segmentation by an FCN",
    "sot/*": "OTB2015 on frozen features",
    "siamrpn/*": "SiamRPN++",
    "mot/*": "MOT16",
    "mots/*": "MOTS20",
    "posetrack/*": "PoseTrack18",
    "mmtrack_deepsort/*": "MOT17 DeepSORT",
}
"""Which benchmarks of a kind share a card, as patterns of their kind and config, and its title."""


def all_cards() -> Iterator[str]:
    """Yield the page line by line: its head, then the cards of each family, kind by kind."""
    yield "# Protocol cards"
    yield from _paragraphs(_HEAD)
    configs = [config for path in benchmark_files() if (config := benchmark_config(path)).dataset.name != "demo"]
    configs.sort(key=lambda config: natural(config.id))
    for family in dict.fromkeys(key.partition("/")[0] for key in BENCHMARKS):
        yield f"\n## {family.capitalize()}"
        yield from _paragraphs(_ABOUT[family])
        for key in BENCHMARKS:
            if key.startswith(f"{family}/"):
                yield from _kind([config for config in configs if f"{config.family}/{config.kind}" == key])


def _kind(configs: Sequence[BenchmarkConfig]) -> Iterator[str]:
    """Yield the cards of a kind: those that several benchmarks share, and one for each other."""
    for title, members in itertools.groupby(configs, _shared_title):
        for lines in [family_card(title, list(members))] if title else map(card, members):
            yield ""
            yield from lines


def _shared_title(config: BenchmarkConfig) -> str:
    name = f"{config.kind}/{config.id}"
    return next((title for pattern, title in _SHARED.items() if fnmatch.fnmatch(name, pattern)), "")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.strip().split("\n\n"):
        yield ""
        yield from wrapped(paragraph, "")
