"""Segmentation's training and testing: seconds, images per second and memory of each shipped recipe's network and crop.

    python benchmarks/segmentation.py                                        a CPU, batches of 2
    python benchmarks/segmentation.py --one-thread                           a CPU that others use too: processor time
    python benchmarks/segmentation.py --recipes voc12aug_fcn_moco --arch resnet18 --steps 1 --crop 65
    python benchmarks/segmentation.py --device cuda --batch 16 --steps 20

An iteration is that of a job (`Stepper.step`: normalisation, dropout's seed, forward and backward pass, SGD) on a batch
of crops that lies ready. A test image is one of VOC's usual size or one of Cityscapes: resized, looked at (through
windows, where the recipe has them), and its mask encoded. Each recipe is measured in a process of its own, so that the
peak is its own; it is of the process on a CPU, and of torch's blocks on a GPU. Medians.

The last table compares with torchvision's `fcn_resnet50`, which nothing of this project is in: output stride 8, a head
and an auxiliary head of one 3x3 convolution each. Ours is made the same network; the two train by turns, iteration by
iteration, so that a noisy machine slows them alike. What is printed last belongs into `mec_transfer/suite/rates.yaml`.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pretrain_step import describe
from torchvision.models.segmentation import fcn_resnet50
from views import Photographs

from mec_transfer.backbone.backbone import Preprocessing
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.runtime import peak_memory
from mec_transfer.datasets.decode import decode_rgb
from mec_transfer.datasets.segments.split import VOID
from mec_transfer.datasets.videos.index_masks import encode_index_mask
from mec_transfer.results.record import DatasetInfo
from mec_transfer.segmentation.config import HeadConfig, SegmentationConfig, SegmentationRecipe
from mec_transfer.segmentation.inference import Predictor
from mec_transfer.segmentation.loading import Batch, to_scale
from mec_transfer.segmentation.network import Segmenter, to_input
from mec_transfer.segmentation.training import Stepper
from mec_transfer.suite.registry import benchmark_config, find_benchmark

RECIPES = ("voc12aug_fcn_moco", "voc12aug_fcn_mmseg", "cityscapes_fcn_moco", "cityscapes_fcn_mmseg")
PHOTOGRAPHS = {"voc12aug": (500, 375), "cityscapes": (2048, 1024)}
CLASSES = {"voc12aug": 21, "cityscapes": 19}
WARM = 1
"""Iterations and images that are not counted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What one recipe came to."""

    step: float
    """Seconds of an iteration."""
    training_bytes: int
    image: float
    """Seconds of a test image."""
    bytes: int
    """The most of training and testing together."""
    encoded: float
    """Seconds of a test image that go into its mask's file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="*", default=RECIPES, choices=RECIPES, metavar="NAME")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="iterations and test images that are counted")
    parser.add_argument("--crop", type=int, help="in place of each recipe's own")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one-thread", action="store_true", help="processor time on one thread of a CPU")
    args = parser.parse_args()
    print(
        f"{args.arch}, batch {args.batch}, {describe(torch.device(args.device))}"
        f"{', processor time on one of them' * args.one_thread}, torch {torch.__version__}, "
        f"load average {os.getloadavg()[0]:.1f}\n\n"
        "| recipe | crop | s/iteration | images/s | GiB | s/test image | of it the mask's file, ms | GiB |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    rates = []
    for name in args.recipes:
        config = read_config(name, args.crop)
        found = alone(measure, config, args)
        print(
            f"| `{name}` | {config.recipe.augmentation.crop} | {found.step:.3f} | {args.batch / found.step:.3g} "
            f"| {found.training_bytes / 2**30:.2f} | {found.image:.3f} | {1000 * found.encoded:.1f} "
            f"| {found.bytes / 2**30:.2f} |",
            flush=True,
        )
        dataset = DatasetInfo(name=config.dataset.name, fingerprint="", num_images=0)
        speeds = args.batch / found.step, 1 / found.image
        for work, speed in zip(config.resources(args.arch, dataset).work or (), speeds, strict=True):
            rates.append(
                f'  - {{work: {work.kind}, arch: {args.arch}, setting: "{work.setting}", per_second: {speed:.3g}'
            )
    if args.arch == "resnet50":
        compare(args)
    print("\nrates:", *rates, sep="\n")


def alone(work: Callable[..., Measured], *words: object) -> Measured:
    """Return what `work` returns in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, words)


def read_config(name: str, crop: int | None) -> SegmentationConfig:
    """Return a shipped config, with another crop."""
    config = benchmark_config(find_benchmark(name, Path()), [f"recipe.augmentation.crop={crop}"] if crop else [])
    assert isinstance(config, SegmentationConfig)
    return config


def measure(config: SegmentationConfig, args: argparse.Namespace) -> Measured:
    """Train and test by a recipe."""
    device, recipe, classes = torch.device(args.device), config.recipe, CLASSES[config.dataset.name]
    clock, stepper = Stopwatch(device, args.one_thread), make_stepper(recipe, args, classes)
    batch = draw_batch(args.batch, recipe.augmentation.crop, classes)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=recipe.tf32):
        steps = [clock.of(lambda: stepper.step(batch)) for _ in range(WARM + args.steps)]
    trained = clock.peak()
    predictor = Predictor(stepper.network, recipe, stepper.preprocessing)
    photograph = Photographs(1, PHOTOGRAPHS[config.dataset.name]).read(0)
    pixels = np.array(decode_rgb(photograph, "photograph"))

    def test() -> np.ndarray:
        return predictor(to_scale(pixels, recipe.scale), pixels.shape[:2])

    images = [clock.of(lambda: encode_index_mask(test())) for _ in range(WARM + args.steps)]
    found = test()
    encoded = statistics.median(clock.of(lambda: encode_index_mask(found)) for _ in range(5))
    return Measured(
        step=middle(steps), training_bytes=trained, image=middle(images), bytes=clock.peak(), encoded=encoded
    )


def make_stepper(recipe: SegmentationRecipe, args: argparse.Namespace, classes: int) -> Stepper:
    """Return a network in training, as a job makes it."""
    backbone = resolve_backbone(f"random:{args.arch}:0")
    network = Segmenter(backbone, recipe, classes, 0).to(args.device)
    network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    return Stepper(network, recipe, backbone.preprocessing, 0)


def draw_batch(images: int, crop: int, classes: int) -> Batch:
    """Return crops of noise with labels in blocks, a tenth of them void."""
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, crop, crop), dtype=torch.uint8, generator=chance)
    blocks = torch.randint(0, classes, (images, crop // 32 + 1, crop // 32 + 1), dtype=torch.uint8, generator=chance)
    labels = blocks.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, :crop, :crop].contiguous()
    labels[:, : crop // 10] = VOID
    return pixels, labels, torch.full((images, 2), crop)


def compare(args: argparse.Namespace) -> None:
    """Train our network and torchvision's, which are the same, by turns, and print the table."""
    base, device = read_config("voc12aug_fcn_mmseg", args.crop).recipe, torch.device(args.device)
    alike = {
        "head": HeadConfig(channels=512, convs=1, dropout=0.1),
        "auxiliary": HeadConfig(channels=256, convs=1, dropout=0.1, loss_weight=0.4),
    }
    recipe, crop = base.model_copy(update=alike), base.augmentation.crop
    stepper, batch = make_stepper(recipe, args, 21), draw_batch(args.batch, crop, 21)
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).to(device).train()
    numbers = [sum(p.numel() for p in network.parameters()) for network in (stepper.network, theirs)]
    assert numbers[0] == numbers[1], numbers
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0005)
    x = to_input(batch[0].to(device), Preprocessing(), unscaled=False)
    labels = batch[1].to(device).long()

    def step() -> None:
        found = theirs(x)
        losses = [F.cross_entropy(found[name], labels, ignore_index=VOID) for name in ("out", "aux")]
        optimizer.zero_grad()
        (losses[0] + 0.4 * losses[1]).backward()
        optimizer.step()

    rows: dict[str, Callable[[], object]] = {"ours": lambda: stepper.step(batch), "torchvision's": step}
    times: dict[str, list[float]] = {name: [] for name in rows}
    clock = Stopwatch(device, args.one_thread)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=recipe.tf32):
        for _ in range(WARM + args.steps):
            for name, row in rows.items():
                times[name].append(clock.of(row))
    ratio = statistics.median(one / other for one, other in list(zip(*times.values(), strict=True))[WARM:])
    print("\n| the same FCN of output stride 8 | crop | ours, s | torchvision's, s | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    ours, theirs_s = (middle(taken) for taken in times.values())
    print(f"| iteration of {args.batch} | {crop} | {ours:.3f} | {theirs_s:.3f} | {ratio:.3f} |", flush=True)


class Stopwatch:
    """Seconds and peak memory of a device."""

    def __init__(self, device: torch.device, one_thread: bool) -> None:
        """With `one_thread`, torch computes on one from now on, and processor time is measured."""
        self.cuda, self._clock = device.type == "cuda", time.process_time if one_thread else time.perf_counter
        if one_thread:
            torch.set_num_threads(1)

    def of(self, work: Callable[[], object]) -> float:
        """Return the seconds that `work` takes, with the GPU's work done."""
        began = self._now()
        work()
        return self._now() - began

    def _now(self) -> float:
        if self.cuda:
            torch.cuda.synchronize()
        return self._clock()

    def peak(self) -> int:
        """Return the most bytes so far."""
        return torch.cuda.max_memory_allocated() if self.cuda else peak_memory()


def middle(times: list[float]) -> float:
    """Return the median of those that count."""
    return statistics.median(times[WARM:])


if __name__ == "__main__":
    main()
