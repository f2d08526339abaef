"""A pretraining step and the whole loop, against the published float32 step written plainly, in one run.

    python benchmarks/pretrain_step.py                              small sizes on a CPU
    python benchmarks/pretrain_step.py --one-thread                 on a CPU that others use too: processor time
    python benchmarks/pretrain_step.py --arch resnet50 --size 224 --batch 256 --workers 14 --device cuda

Rows take turns, step by step; medians. `published` is the authors' step with the networks as they run there: float32,
contiguous memory, the m x m objective with every power formed, the teacher's update tensor by tensor. All rows but
`loop` train on a batch that lies ready (`published` on float32 pixels on the device, ours on bytes that it normalises);
`loop` reads, decodes and augments JPEG files with loading processes. Its ratio is to the step of the same settings on
a ready batch. The last line is the part of a step that is neither forward nor backward pass of the networks.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from objective import published
from views import Photographs

from mec_transfer.datasets.images.folders import open_unlabelled
from mec_transfer.datasets.pixels import normalise
from pretrain.config import PretrainConfig
from pretrain.data import EpochBatches, TwoViews, load_epoch, make_loader
from pretrain.model import MecModel
from pretrain.objective import mec_loss
from pretrain.trainer import Trainer

LAMDA_INV = 32.0
COMPILED = "ours, the same compiled"


class Published:
    """The step as published (MEC main_pretrain.py), on one device."""

    def __init__(self, config: PretrainConfig, device: torch.device) -> None:
        self.model = MecModel(config.arch, config.stem, config.dim, config.pred_dim).to(device)
        self.optimizer = torch.optim.SGD(self.model.trained_parameters(), lr=0.1, momentum=0.9, weight_decay=1e-5)

    def step(self, x1: torch.Tensor, x2: torch.Tensor) -> float:
        z1, z2 = self.model(x1, x2)
        p1, p2 = self.model.targets(x1, x2)
        loss = -0.5 * LAMDA_INV / len(x1) * (published(p1, z2, LAMDA_INV) + published(p2, z1, LAMDA_INV))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for teacher, online in zip(self.model.teacher.parameters(), self.model.encoder.parameters(), strict=True):
                teacher.copy_(teacher * 0.996 + online * 0.004)
        return loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one-thread", action="store_true", help="processor time on one thread of a CPU")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="a row with torch.compile, which needs a C compiler; where it fails, the others stand and the status is 1",
    )
    args = parser.parse_args()
    device = torch.device(args.device)
    clock = time.process_time if args.one_thread else time.perf_counter
    if args.one_thread:
        torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    base = PretrainConfig.model_validate(
        {"arch": args.arch, "batch_size": args.batch, "views": {"size": args.size}, "warmup_epochs": 1, "epochs": 1000}
    )
    fast = {"precision": "bf16", "channels_last": True, "fused": True}
    settings: dict[str, dict[str, object]] = {
        "ours, fp32": {},
        "ours, fp32 channels_last fused": fast | {"precision": "fp32"},
        "ours, bf16 channels_last fused": {**fast},
    }
    if args.compile:
        settings[COMPILED] = {**fast, "compile": True}
    trainers = {name: Trainer(base.model_copy(update=keys), 100, device, seed=0) for name, keys in settings.items()}
    pixels = torch.randint(0, 256, (2, args.batch, 3, args.size, args.size), dtype=torch.uint8).to(device)
    not_compiled = failure(trainers[COMPILED], pixels) if args.compile else None
    if not_compiled:
        del trainers[COMPILED]  # the other rows are measured all the same
    quickest = list(trainers)[-1]
    ready = [normalise(view, base.preprocessing) for view in pixels]
    plain = Published(base, device)
    rows: dict[str, Callable[[], object]] = {"published": lambda: plain.step(*ready)}
    rows |= {name: functools.partial(trainer.step, *pixels) for name, trainer in trainers.items()}
    with tempfile.TemporaryDirectory() as folder:
        loops = {name: Loop(Path(folder), base, trainers[quickest], name, args, device) for name in ("pil", "fast")}
        rows |= {f"loop, {quickest.removeprefix('ours, ')}, views {name}": loops[name].step for name in loops}
        seconds = take_turns(rows, args.steps, device, clock)
        for loop in loops.values():
            loop.loaded.close()  # its processes would read on in a folder that goes
    print(f"{args.arch}, {args.size} px, batch {args.batch}, {args.workers} loading processes, {describe(device)}")
    print("| step | ms | images/s | against published | against its own step |\n| --- | ---: | ---: | ---: | ---: |")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        own = f"{statistics.median(seconds[quickest]) / median:.2f}" if name.startswith("loop") else ""
        ratio = statistics.median(seconds["published"]) / median
        print(f"| {name} | {1000 * median:.1f} | {args.batch / median:.0f} | {ratio:.2f}x | {own} |")
    rest = without_networks(trainers[quickest], args, device, clock)
    share = rest / statistics.median(seconds[quickest])
    print(f"objective, optimizer and teacher: {1000 * rest:.1f} ms, {100 * share:.1f} % of the step ({quickest})")
    if not_compiled:
        raise SystemExit(f"{COMPILED}: {not_compiled}")


def failure(trainer: Trainer, pixels: torch.Tensor) -> str | None:
    """Return the error of a first step, in which the networks are compiled; None without one."""
    try:
        trainer.step(*pixels)
    except Exception as error:  # whatever a compiler that is not there, or a kernel that is not built, raises
        return " ".join(str(error).split()) or type(error).__name__
    return None


class Loop:
    """Steps on what the loader brings."""

    def __init__(
        self,
        folder: Path,
        config: PretrainConfig,
        trainer: Trainer,
        pipeline: str,
        args: argparse.Namespace,
        device: torch.device,
    ) -> None:
        photographs = Photographs(64, (500, 375))
        for i in range(max(512, 4 * args.batch)):
            (folder / f"{i:05d}.jpg").write_bytes(photographs.read(i % 64))
        images = open_unlabelled(folder)
        views = config.views.model_copy(update={"pipeline": pipeline})
        self.batches = EpochBatches(len(images), args.batch, seed=0)
        loader = make_loader(TwoViews(images, views, seed=0), self.batches, args.workers, device.type == "cuda")
        self.loaded = (batch for epoch in range(10**6) for batch in load_epoch(loader, self.batches, epoch))
        self.trainer = trainer

    def step(self) -> None:
        self.trainer.step(*next(self.loaded))


def take_turns(
    rows: dict[str, Callable[[], object]], steps: int, device: torch.device, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return seconds a step: ready rows in turns, a loop by itself: its processes would disturb the others."""
    found: dict[str, list[float]] = {name: [] for name in rows}
    ready = [name for name in rows if not name.startswith("loop")]
    order = [name for _ in range(steps + 3) for name in ready]
    order += [name for name in rows if name not in ready for _ in range(steps + 3)]
    for name in order:
        began = clock()
        rows[name]()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found[name].append(clock() - began)
    return {name: taken[3:] for name, taken in found.items()}


def without_networks(
    trainer: Trainer, args: argparse.Namespace, device: torch.device, clock: Callable[[], float]
) -> float:
    """Return the median seconds of a step's objective (forward and backward), optimizer and teacher's update."""
    shape = (4, args.batch, trainer.config.dim)
    p1, z1, p2, z2 = torch.randn(shape, device=device).unbind()

    def rest() -> None:
        z1.requires_grad_(), z2.requires_grad_()
        mec_loss(p1, z1, p2, z2, LAMDA_INV, trainer.config.order).loss.backward()
        trainer.optimizer.step()
        trainer.model.update_teacher(0.996, trainer.config.fused)

    return statistics.median(take_turns({"rest": rest}, args.steps, device, clock)["rest"])


def describe(device: torch.device) -> str:
    """Return what it runs on."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
