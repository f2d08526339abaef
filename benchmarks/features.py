"""How near feature extraction comes to the network alone.

    python benchmarks/features.py [--data DIR] [--arch resnet50] [--crop 32] [--images 2048] [--repeats 5] [--write]

Timed side by side, in turn, on the same images: a bare loop of the network's forward passes over batches that lie
decoded and normalised in memory; `extract_features`, which reads the files, with and without loading processes; and
the usual script (ImageFolder, Compose, DataLoader with two workers and float batches). Each figure is the median
over the repeats, each ratio the median of the ratios to the bare loop of the same repeat, which a busy machine moves
less. The processor's time, loading processes included, hardly depends on what else the machine does.
Without --data a folder of JPEGs is drawn.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import datasets, transforms

from mec_transfer.backbone.backbone import IMAGENET_MEAN, IMAGENET_STD
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.benchmark import Job
from mec_transfer.classification.config import FeatureRecipe, ViewConfig
from mec_transfer.classification.features import (
    default_batch_size,
    extract_features,
    prefers_channels_last,
)
from mec_transfer.classification.transforms import eval_transform
from mec_transfer.common.runtime import hardware, pick_device, versions
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.decode import load_rgb
from mec_transfer.datasets.images.folders import open_splits
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.pixels import normalise
from mec_transfer.datasets.registry import open_data
from mec_transfer.results.record import DatasetInfo

RESULTS = Path(__file__).parent / "results"


def draw_images(root: Path, count: int, pixels: int) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(count if split == "train" else 10):
            folder = root / split / f"class{number % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            coarse.resize((pixels, pixels), Image.Resampling.BICUBIC).save(folder / f"{number:06d}.jpg", quality=95)
    return root


class Contest:
    """The contestants, each a function that passes all images through the network once and returns the seconds."""

    def __init__(self, job: Job, images: ImageList, view: ViewConfig) -> None:
        self.job, self.images = job, images
        self.recipe = FeatureRecipe(view=view, mixed_precision=True)
        self.device = pick_device(job.device)
        self.batch = default_batch_size(view, self.device)
        self.network = job.backbone.module().eval().to(self.device)
        layout = torch.channels_last if prefers_channels_last(job.backbone, view) else torch.contiguous_format
        self.network.to(memory_format=layout)  # type: ignore[call-overload]
        cut = eval_transform(view)
        pixels = torch.stack([cut(load_rgb(images.root / path)) for path in images.paths]).to(self.device)
        batches = normalise(pixels, job.backbone.preprocessing).split(self.batch)
        self.memory = [batch.contiguous(memory_format=layout) for batch in batches]

    @torch.inference_mode()
    def bare(self) -> float:
        began = time.perf_counter()
        for batch in self.memory:
            self.network(batch)
        self._wait()
        return time.perf_counter() - began

    def ours(self, workers: int) -> float:
        """The encoder's making and hashing, a second a run, is left out of the wall clock but not of the other."""
        with tempfile.TemporaryDirectory() as folder:
            job = Job(**{**vars(self.job), "workdir": Path(folder), "workers": workers})
            return extract_features(job, {"train": self.images}, self.recipe)["train"].seconds

    @torch.inference_mode()
    def usual(self) -> float:
        steps = [transforms.CenterCrop(self.recipe.view.crop), transforms.ToTensor()]
        steps.append(transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD))
        folder = datasets.ImageFolder(str(self.images.root), transforms.Compose(steps))
        folder.samples = [(str(self.images.root / path), 0) for path in self.images.paths]
        began = time.perf_counter()
        loader = torch.utils.data.DataLoader(folder, batch_size=256, num_workers=2)
        torch.cat([self.network(batch.to(self.device)).cpu() for batch, _ in loader])
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


Row = tuple[str, float, float, float]


def measure(contest: Contest, repeats: int, workers: int) -> list[Row]:
    """(contestant, median seconds, median ratio to the bare loop, median ratio of the processor's time)."""
    contestants: dict[str, Callable[[], float]] = {
        "bare loop, images in memory": contest.bare,
        f"mec-transfer, {workers} loading processes": lambda: contest.ours(workers),
        "mec-transfer, no loading process": lambda: contest.ours(0),
        "the usual script, 2 workers": contest.usual,
    }
    contest.bare()  # the first pass allocates
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    busy: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            before = sum(os.times()[:4])
            wall[name].append(contestant())
            gc.collect()  # joins the loading processes, whose time counts only then
            busy[name].append(sum(os.times()[:4]) - before)
    bare = next(iter(contestants))
    return [(name, statistics.median(wall[name]), _ratio(wall, name, bare), _ratio(busy, name, bare)) for name in wall]


def _ratio(times: dict[str, list[float]], name: str, bare: str) -> float:
    return statistics.median(a / b for a, b in zip(times[name], times[bare], strict=True))


def table(rows: list[Row], images: int, about: str) -> str:
    lines = [
        about,
        "",
        "| | µs an image | images/s | ratio to the bare loop | ratio, processor time |",
        "|---|---|---|---|---|",
    ]
    for name, seconds, ratio, busy in rows:
        lines.append(f"| {name} | {1e6 * seconds / images:.0f} | {images / seconds:.0f} | {ratio:.2f} | {busy:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="an ImageFolder (train/, val/) instead of drawn images")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--crop", type=int, default=32)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", action="store_true", help="add the table to benchmarks/results/features.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = args.data or draw_images(Path(scratch) / "drawn", args.images, args.crop)
        images = open_splits(root)["train"]
        images = images.subset(np.linspace(0, len(images) - 1, args.images).astype(int))
        job = Job(
            model_name="speed",
            backbone=resolve_backbone(f"random:{args.arch}"),
            data=open_data(DatasetConfig(name="speed", layout="imagefolder"), root),
            dataset=DatasetInfo(name="speed", fingerprint="0", num_images=args.images),
            workdir=Path(scratch),
            device=args.device,
        )
        contest = Contest(job, images, ViewConfig(resize=None, crop=args.crop))
        rows = measure(contest, args.repeats, args.workers)
    machine, today = hardware(), datetime.datetime.now(datetime.UTC).date()
    gpu = f", {machine['gpu']}" if machine["gpu"] != "none" else ""
    about = (
        f"**{args.arch}, {args.crop} px, {args.images} {'real' if args.data else 'drawn'} images, "
        f"batch {contest.batch}**: {machine['cpu']}, {machine['cores']} cores{gpu}, {torch.get_num_threads()} threads, "
        f"torch {versions()['torch']}, {today}, {args.repeats} repeats, load average {os.getloadavg()[0]:.1f}"
    )
    text = table(rows, args.images, about)
    print(text)
    if args.write:
        file = RESULTS / "features.md"
        before = file.read_text(encoding="utf-8") if file.exists() else "# Feature extraction\n"
        file.write_text(f"{before}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
