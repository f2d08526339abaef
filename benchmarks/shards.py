"""How fast images come out of tar shards, beside the folder that they were made from.

    python benchmarks/shards.py [--data DIR] [--images 10000] [--repeats 5] [--workers 2] [--write]

Measured in turn, on the same images: reading their bytes; the batches of `load_batches`, decoded in order, as frozen
features take them; and an epoch of `TrainingImages`, shuffled, cut and flipped, as probes and finetuning take it.
`cold` reads after the system was asked to forget the files. Each figure is the median over the repeats, each ratio the
median of the ratios within a repeat, which a busy machine moves less. Without --data, PNGs of 32 pixels are drawn.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mec_transfer.classification.batches import BatchPlan, TrainingImages
from mec_transfer.classification.config import ViewConfig
from mec_transfer.classification.loading import load_batches
from mec_transfer.classification.transforms import eval_transform, train_transform
from mec_transfer.common.runtime import hardware, versions
from mec_transfer.datasets.images.folders import open_splits, open_unlabelled
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.shard_writer import write_splits
from mec_transfer.datasets.images.shards import ShardedImages

RESULTS = Path(__file__).parent / "results"
Contestant = Callable[[ImageList], None]


def draw_images(root: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        for split in ("train", "val") if number < 10 else ("train",):
            folder = root / split / f"class{number % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{number:05d}.png")
    return root


def forget(images: ImageList) -> None:
    """Ask the system to drop what it holds of the images' files in memory."""
    files = (Path(images.name(index)) for index in range(len(images)))
    for path in images.root.glob("*.tar") if isinstance(images, ShardedImages) else files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def read(images: ImageList, shuffled: bool) -> None:
    order = list(range(len(images)))
    if shuffled:
        random.Random(0).shuffle(order)
    for index in order:
        images.read(index)


def batches(images: ImageList, workers: int) -> None:
    ranges = [range(start, min(start + 128, len(images))) for start in range(0, len(images), 128)]
    exhaust(
        load_batches(images, eval_transform(ViewConfig(resize=None, crop=32)), ranges, workers, torch.device("cpu"))
    )


def epoch(images: ImageList, workers: int) -> None:
    plan = BatchPlan(images=len(images), batch=256, replicas=8, joint=True)
    cut = train_transform(ViewConfig(resize=None, crop=32))
    for groups in TrainingImages(images, cut, plan, seed=0, workers=workers, pin=False).epoch(0):
        for _, parts in groups:
            exhaust(parts)


def exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass


def measure(splits: dict[str, ImageList], repeats: int, workers: int) -> list[tuple[str, float, float, float]]:
    """(what, median images/s of the folder, of the shards, median ratio)."""
    contestants: dict[str, Contestant] = {
        "bytes, in order": lambda images: read(images, shuffled=False),
        "bytes, shuffled": lambda images: read(images, shuffled=True),
        "bytes, shuffled, cold": lambda images: read(images, shuffled=True),
        f"batches in order, {workers} loading processes": lambda images: batches(images, workers),
        f"training epoch, {workers} loading processes": lambda images: epoch(images, workers),
    }
    seconds: dict[tuple[str, str], list[float]] = {(what, name): [] for what in contestants for name in splits}
    for repeat in range(repeats):
        for what, contestant in contestants.items():
            for name in sorted(splits, reverse=bool(repeat % 2)):
                if what.endswith("cold"):
                    forget(splits[name])
                began = time.perf_counter()
                contestant(splits[name])
                seconds[what, name].append(time.perf_counter() - began)
    rows = []
    for what in contestants:
        folder, shards = seconds[what, "folder"], seconds[what, "shards"]
        own, packed = (len(splits["folder"]) / statistics.median(taken) for taken in (folder, shards))
        rows.append((what, own, packed, statistics.median(a / b for a, b in zip(folder, shards, strict=True))))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="an ImageFolder (train/, val/) of 32 pixels, in place of drawn images"
    )
    parser.add_argument("--images", type=int, default=10_000, help="how many of the training images")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results/shards.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = args.data or draw_images(Path(scratch) / "folder", args.images)
        write_splits(
            {split: open_unlabelled(root / split) for split in ("train", "val")}, Path(scratch, "shards"), 10**8
        )
        splits = {"folder": open_splits(root)["train"], "shards": open_splits(Path(scratch, "shards"))["train"]}
        chosen = np.linspace(0, len(splits["folder"]) - 1, args.images).astype(int)
        splits = {name: images.subset(chosen) for name, images in splits.items()}
        assert splits["folder"].paths == splits["shards"].paths
        rows = measure(splits, args.repeats, args.workers)
    machine = hardware()
    text = (
        "# shards.py\n\n| images/s | folder | shards | ratio |\n|---|---|---|---|\n"
        + "".join(f"| {what} | {folder:,.0f} | {shards:,.0f} | {ratio:.2f} |\n" for what, folder, shards, ratio in rows)
        + f"\n{len(splits['folder']):,} {'real' if args.data else 'drawn'} images of 32 pixels, {args.repeats} "
        f"repeats; {machine['cpu']}, {machine['cores']} cores, load {os.getloadavg()[0]:.1f} at the end; "
        f"torch {versions()['torch']}; {datetime.datetime.now(datetime.UTC).date()}.\n"
    )
    print(text)
    if args.write:
        (RESULTS / "shards.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
