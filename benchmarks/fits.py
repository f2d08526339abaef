"""What logistic regression and SVMs on frozen features take, in processor time of one core.

    taskset -c 1 python benchmarks/fits.py [--write]

Processor time hardly depends on what else the machine does. Three tables: features at 224 px from drawn JPEGs of
500 x 375; an iteration of logistic regression, whose time is passes over the features' numbers plus their products with
the weights of each class; and SVMs of one class with VISSL's costs and folds. The features of the last two are those of
a network with random weights on drawn textures of ten classes, written out as often as needed with a little noise, and
one label in fifty is wrong: what an SVM takes depends on how well features separate, and such ones hardly do. Features
that separate took a sixth of it (`results/voc_svm.md`).
"""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.classification import lbfgs
from mec_transfer.classification.config import LogisticConfig, SvmConfig
from mec_transfer.classification.svm_solver import fit_class, unit_length
from mec_transfer.classification.transforms import eval_transform
from mec_transfer.common.config import load_config
from mec_transfer.common.paths import CONFIGS as ALL_CONFIGS
from mec_transfer.common.runtime import hardware, versions
from mec_transfer.datasets.decode import decode_rgb
from mec_transfer.datasets.pixels import normalise
from mec_transfer.demo_world.world import write_demo_world

RESULTS = Path(__file__).parent / "results" / "fits.md"
CONFIGS = ALL_CONFIGS / "classification"
CLASSES = (2, 10, 47, 100, 397)
COUNT = 2000
"""Images of a logistic regression here."""


def seconds(work: Callable[[], object], repeats: int = 2) -> float:
    """Return the least processor time of several runs."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


@torch.inference_mode()
def features(arch: str, files: list[Path]) -> tuple[np.ndarray, float]:
    """Return the features of image files, (N, D), and how many images a second of the processor's time were done."""
    backbone = resolve_backbone(f"random:{arch}")
    network = backbone.module().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    cut = eval_transform(load_config(LogisticConfig, CONFIGS / "transfer_cars.yaml").recipe.view)
    found: list[torch.Tensor] = []

    def run() -> None:
        found.clear()
        for begin in range(0, len(files), 32):
            pixels = torch.stack([cut(decode_rgb(path.read_bytes(), str(path))) for path in files[begin : begin + 32]])
            batch = normalise(pixels, backbone.preprocessing).contiguous(memory_format=torch.channels_last)
            found.append(network(batch))

    rate = len(files) / seconds(run, 1)
    return torch.cat(found).numpy(), rate


def drawn(folder: Path, count: int) -> list[Path]:
    """Write JPEGs of 500 x 375 with the textures of the demo world, ten classes in turn."""
    from PIL import Image

    world = write_demo_world(folder / "world")
    files = sorted((world / "imagenet/train").glob("*/*"), key=lambda path: (path.stem[-4:], path.parent.name))
    made = []
    for number, path in enumerate(files[:count]):
        made.append(folder / f"{number:04d}.jpg")
        Image.open(path).convert("RGB").resize((500, 375), Image.Resampling.BICUBIC).save(made[-1], quality=90)
    return made


def many(values: np.ndarray, count: int) -> np.ndarray:
    """Return `count` rows of features: those that there are in turn, each a little different."""
    rng = np.random.default_rng(0)
    rows = values[np.arange(count) % len(values)].astype(np.float64)
    return rows + 0.05 * values.std() * rng.normal(size=rows.shape)


def logistic_rows(values: np.ndarray) -> list[str]:
    x, rows, per_number = many(values, COUNT), [], {}
    for classes in CLASSES:
        y = np.arange(COUNT) % classes
        fit = functools.partial(lbfgs.fit, torch.from_numpy(x), y, classes, 1000.0, None, 10)
        one = seconds(fit) / fit().iterations
        per_number[classes] = one / x.size
        rows.append(f"| {x.shape[1]} | {classes} | {1e3 * one:.1f} | {1e9 * per_number[classes]:.2f} |")
    few, most = min(CLASSES), max(CLASSES)
    product = (per_number[most] - per_number[few]) / (most - few)
    once = per_number[few] - few * product
    return [*rows, f"| {x.shape[1]} | any | passes {1e-6 / once:.0f} M/s | products {1e-9 / product:.2f} G/s |"]


def svm_row(values: np.ndarray, images: int) -> str:
    recipe = load_config(SvmConfig, CONFIGS / "voc07_svm.yaml").recipe
    x = unit_length(many(values, images))
    labels = (np.arange(images) % 10 == 0).astype(np.int64)
    flipped = np.random.default_rng(1).random(images) < 0.02  # real labels are not separable either
    labels = np.where(flipped, 1 - labels, labels)
    took = seconds(lambda: fit_class(x, labels, x[:10], recipe, 0), 1)
    done = images * (len(recipe.costs) * (recipe.folds - 1) + 1)
    return f"| {x.shape[1]} | {images} | {took:.1f} | {done / took:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/fits.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    machine, today = hardware(), datetime.datetime.now(datetime.UTC).date()
    lines: list[str] = [
        "# Fits on frozen features",
        "",
        f"`taskset -c 1 python benchmarks/fits.py --write`: processor time of one core, {machine['cpu']}, torch "
        f"{versions()['torch']}, {today}, load average {os.getloadavg()[0]:.1f}. The script says how.",
    ]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        files = drawn(Path(folder), 200)
        lines += ["", "Features, 224 px, from JPEGs of 500 x 375:", "", "| network | images/s |", "| --- | ---: |"]
        for arch in ("resnet18", "resnet50"):
            found[arch], rate = features(arch, files)
            lines.append(f"| {arch} | {rate:.1f} |")
    head = ["| numbers | classes | ms an iteration | ns a number |", "| ---: | ---: | ---: | ---: |"]
    lines += ["", f"Logistic regression, {COUNT:,} images, float64:", "", *head]
    lines += [row for values in found.values() for row in logistic_rows(values)]
    head = ["| numbers | images | s a class | images of all fits a second |", "| ---: | ---: | ---: | ---: |"]
    lines += ["", "SVMs, one class of ten, 11 costs and 3 folds:", "", *head]
    lines += [svm_row(values, images) for values in found.values() for images in (500, 1000)]
    lines += [
        "",
        "What an SVM takes depends on how well its features separate the classes: random ones of 2,048 numbers, "
        "which separate, took a sixth of this",
        "([voc_svm.md](voc_svm.md)). VOC07 itself was not run. A logistic regression's iterations take what stands "
        "here whatever the features are.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
