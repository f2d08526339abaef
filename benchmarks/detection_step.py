"""An iteration of detection's training against Detectron2's own trainer on the same config, in one run; and start-up.

    python benchmarks/detection_step.py                     small sizes on a CPU
    python benchmarks/detection_step.py --startup           also: seconds from the command to its first iteration
    python benchmarks/detection_step.py --arch resnet50 --config voc0712_c4_d2.yaml --size 800 --batch 16 \
        --workers 14 --device cuda

Detectron2's is SimpleTrainer with the timing and schedule hooks that its DefaultTrainer has; ours is the very loop of
a job: step, seeds, progress, a look for signals and for the time to save. Both train the same kind of network, by
turns, iteration by iteration, so that a noisy machine slows them alike. `ready`: on batches that lie ready, the same
for both. `loaded`: each with its own loader on the same images, JPEG files of 500 x 375 pixels with boxes and outlines.
`network` is a forward and a backward pass alone. Medians of wall-clock and of processor time (of this process).
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pretrain_step import describe
from views import Photographs

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.interrupt import StopRequest
from mec_transfer.common.paths import CONFIGS
from mec_transfer.demo_world.world import write_demo_world
from mec_transfer.detection import engine

engine.load()

from detectron2.data import DatasetMapper, build_detection_train_loader  # noqa: E402
from detectron2.engine import SimpleTrainer, hooks  # noqa: E402
from detectron2.solver import build_lr_scheduler, build_optimizer  # noqa: E402
from detectron2.structures import BoxMode  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

from mec_transfer.detection import training  # noqa: E402
from mec_transfer.detection.loading import BatchPlan, MappedImages, load_batches, seed_step  # noqa: E402
from mec_transfer.detection.network import build_network, fit_backbone, read_config  # noqa: E402

PHOTOGRAPH = (500, 375)
WARM = 3
"""Iterations of each row that are not counted."""

Times = list[tuple[float, float]]


class Stopwatch:
    """Seconds of wall clock and of this process's processor time, with the GPU's work done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self) -> tuple[float, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def of(self, work: Callable[[], object]) -> tuple[float, float]:
        """Return what `work` takes."""
        before = self()
        work()
        after = self()
        return after[0] - before[0], after[1] - before[1]


class Stock:
    """Detectron2's own trainer, an iteration a call."""

    def __init__(self, make: Callable[[], Any], config: Any, batches: Iterator[Any]) -> None:
        self.batches = batches
        """May be changed between iterations."""
        network = make().train()
        optimizer = build_optimizer(config, network)
        self.trainer = SimpleTrainer(network, (next(self.batches) for _ in itertools.count()), optimizer)
        scheduler = build_lr_scheduler(config, optimizer)
        self.trainer.register_hooks([hooks.IterationTimer(), hooks.LRScheduler(optimizer, scheduler)])
        self.trainer.storage = EventStorage(0)
        self.trainer.iter = self.trainer.start_iter = 0
        self.trainer.max_iter = config.SOLVER.MAX_ITER
        self.trainer.before_train()

    def step(self) -> None:
        """One iteration, as TrainerBase.train runs it."""
        with self.trainer.storage:
            self.trainer.before_step()
            self.trainer.run_step()
            self.trainer.after_step()
        self.trainer.iter += 1


def take_turns(
    stepper: training.Stepper,
    batches: Iterator[Any],
    others: Mapping[str, Callable[[], object]],
    steps: int,
    clock: Stopwatch,
) -> dict[str, Times]:
    """Run our loop for `steps` iterations and one of each of `others` after each; return what each took."""
    found: dict[str, Times] = {name: [] for name in ("ours", *others)}

    def interleaved() -> Iterator[Any]:
        before = clock()
        for batch in itertools.islice(batches, steps + WARM):
            yield batch  # our loop trains on it, and comes back here for the next one
            after = clock()
            found["ours"].append((after[0] - before[0], after[1] - before[1]))
            for name, step in others.items():
                seed_step(0, stepper.iteration - 1)  # the same regions are sampled as were in ours
                found[name].append(clock.of(step))
            before = clock()

    with tempfile.TemporaryDirectory() as folder:
        state = training.DetectorState(Path(folder), None)
        state.train_to(10**9, stepper, lambda batch: stepper.step(batch)["total"], interleaved(), StopRequest())
    return {name: times[WARM:] for name, times in found.items()}


def draw_items(folder: Path, number: int) -> list[dict[str, Any]]:
    """Write photographs to `folder`; return Detectron2's dataset dicts with 8 objects each."""
    photographs, random = Photographs(min(number, 32), PHOTOGRAPH), np.random.default_rng(0)
    items = []
    for i in range(number):
        path = folder / f"{i:04d}.jpg"
        path.write_bytes(photographs.read(i % 32))
        annotations = []
        for _ in range(8):
            (x, y), (w, h) = random.integers(0, (380, 270)), random.integers(20, 100, 2)
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            box = {"bbox": [x, y, x + w, y + h], "bbox_mode": BoxMode.XYXY_ABS, "iscrowd": 0}
            annotations.append(
                {**box, "category_id": int(random.integers(20)), "segmentation": [[*map(float, outline)]]}
            )
        size = {"width": PHOTOGRAPH[0], "height": PHOTOGRAPH[1]}
        items.append({"file_name": str(path), "image_id": i, **size, "annotations": annotations})
    return items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--config", default="demo_fpn_d2.yaml", help="a stock yaml of configs/detection")
    parser.add_argument("--size", type=int, default=96, help="of an image's shorter side")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--startup", action="store_true", help="time the start of the demo's job as well")
    args = parser.parse_args()
    device = torch.device(args.device)
    print(
        f"{args.arch}, {args.config}, {args.size} px, batch {args.batch}, {args.workers} loading processes, "
        f"{describe(device)}, torch {torch.__version__}, load average {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        measure(args, device, Path(folder))
    if args.startup:
        seconds = [time_start() for _ in range(3)]
        begun, done = (statistics.median(column) for column in zip(*seconds, strict=True))
        print(f"demo, from the command to its first iteration: {begun:.1f} s; to the first one's end: {done:.1f} s")


def measure(args: argparse.Namespace, device: torch.device, folder: Path) -> None:
    """Print the table."""
    backbone = resolve_backbone(f"random:{args.arch}:0")
    changes = {"INPUT.MIN_SIZE_TRAIN": [args.size], "SOLVER.IMS_PER_BATCH": args.batch}
    config = read_config(CONFIGS / "detection" / args.config, {**changes, "SOLVER.BASE_LR": 1e-4})
    config.SOLVER.MAX_ITER = max(config.SOLVER.MAX_ITER, 4 * (args.steps + WARM))  # the demo's schedule is short
    config.MODEL.ROI_HEADS.NUM_CLASSES = 20
    fit_backbone(config, backbone)

    def make() -> Any:
        torch.manual_seed(0)
        return build_network(config, backbone, device)

    items = draw_items(folder, 16 * args.batch)
    plan = BatchPlan(items, args.batch, 0, 10**6, config.DATALOADER.ASPECT_RATIO_GROUPING)
    ready = list(itertools.islice(load_batches(MappedImages(items, config, 0), plan, 0), 4))
    clock, stepper, alone = Stopwatch(device), training.Stepper(make().train(), config, 0), make().train()

    turns = itertools.cycle(ready)

    def network_only() -> None:
        with EventStorage(0):
            sum(alone(next(turns)).values()).backward()
        alone.zero_grad()

    stock = Stock(make, config, itertools.cycle(ready))
    others = {"Detectron2's": stock.step, "network": network_only}
    found = {
        f"{k}, ready": v for k, v in take_turns(stepper, itertools.cycle(ready), others, args.steps, clock).items()
    }
    stock_loader = build_detection_train_loader(
        items,
        mapper=DatasetMapper(config, is_train=True),
        total_batch_size=args.batch,
        aspect_ratio_grouping=config.DATALOADER.ASPECT_RATIO_GROUPING,
        num_workers=args.workers,
    )
    stock.batches = iter(stock_loader)
    loaded = load_batches(MappedImages(items, config, 0), plan, args.workers)
    found |= {f"{k}, loaded": v for k, v in take_turns(stepper, loaded, others, args.steps, clock).items()}
    print_table(found, args.batch)


def print_table(found: dict[str, Times], batch: int) -> None:
    """Print medians, ours against Detectron2's, and the part of ours that is not the network."""
    median = {name: [statistics.median(column) for column in zip(*times, strict=True)] for name, times in found.items()}
    print(
        "\n| iteration | ms | images/s | against Detectron2's | processor time |\n| --- | ---: | ---: | ---: | ---: |"
    )
    for name, (wall, processor) in median.items():
        kind = name.partition(", ")[2]
        stock = median[f"Detectron2's, {kind}"]
        ratios = f"{wall / stock[0]:.3f} | {processor / stock[1]:.3f}" if name.startswith("ours") else " | "
        print(f"| {name} | {1000 * wall:.1f} | {batch / wall:.1f} | {ratios} |")
    shares = [
        f"{kind} {100 * (1 - median[f'network, {kind}'][0] / median[f'ours, {kind}'][0]):.1f} %"
        for kind in ("ready", "loaded")
    ]
    print(f"\nof our iteration neither forward nor backward pass: {', '.join(shares)}")


# Tells when the first iteration begins and when it is done, counted from argv's first, and ends there.
_FIRST_ITERATION = """
import os, sys, time
from mec_transfer.cli.main import main
from mec_transfer.detection import engine
engine.load()
from mec_transfer.detection import training
step = training.Stepper.step
def first(self, batch):
    begun = time.time()
    step(self, batch)
    print(begun - float(sys.argv[1]), time.time() - float(sys.argv[1]), flush=True)
    os._exit(0)
training.Stepper.step = first
sys.exit(main(sys.argv[2:]))
"""


def time_start() -> tuple[float, float]:
    """Return the seconds from the start of the demo's detection job to its first iteration's begin and end."""
    with tempfile.TemporaryDirectory() as folder:
        world = write_demo_world(Path(folder, "world"), parts=("detection",))
        job = ["detect", "random:resnet50", "--config", "demo_mask_rcnn", "--data", str(world / "coco")]
        command = [sys.executable, "-c", _FIRST_ITERATION, str(time.time()), *job, "--out", f"{folder}/out"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    begun, ended = map(float, done.stdout.split()[-2:])
    return begun, ended


if __name__ == "__main__":
    main()
