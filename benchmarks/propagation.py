"""How much faster label propagation is with the local affinity than with the dense one, with the same result.

    python benchmarks/propagation.py [--archs resnet18,resnet50] [--variants unitrack,dino] [--height 480] [--width 854]
                                     [--repeats 5]

Drawn frames, random weights. The dense affinity compares every cell with every cell of all context frames, a block of
queries at a time so that it fits memory, masks what is out of reach and takes the top k along contiguous rows. It is
given the features normalised and laid out, so it is quicker than the published scripts, which pay for both. Local and
dense take turns on the same frame once the context is full; each figure is the median over the repeats, each ratio the
median of the ratios of a turn. The processor's time hardly depends on what else the machine does. Feature extraction
reads the frames from files, a bare loop finds them normalised in memory. The peak is of the whole process, taken before
the dense affinity ever ran. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import datetime
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.runtime import hardware, pick_device, versions
from mec_transfer.datasets.videos.frames import open_frames
from mec_transfer.datasets.videos.video import Video
from mec_transfer.tracking.appearance import Appearance
from mec_transfer.tracking.task import frame_map
from mec_transfer.tracking.vos.affinity import unit_cells
from mec_transfer.tracking.vos.propagation import Propagation, Propagator

SETTINGS = {
    "unitrack": Propagation(variant="unitrack", recent=5, radius=12, topk=10, temperature=0.05),
    "dino": Propagation(variant="dino", recent=7, radius=12, topk=5, temperature=0.1),
}
LABELS = 4
QUERIES = 200

Times = tuple[float, float]
"""Seconds on the wall, seconds of the processor."""


def extract(video: Video, appearance: Appearance) -> list[torch.Tensor]:
    frames = enumerate(video.frames.read_all())
    return [frame_map(video, index, pixels, appearance) for index, pixels in frames]


def timed(work: Callable[[], object], device: torch.device) -> Times:
    if device.type == "cuda":
        torch.cuda.synchronize()
    wall, busy = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - busy


def draw_frames(folder: Path, count: int, width: int, height: int) -> Video:
    """A texture that moves by 3 pixels a frame, with noise."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 12 + 1, (width + 3 * count) // 12 + 1, 3), dtype=np.uint8)
    texture = Image.fromarray(coarse).resize((width + 3 * count, height), Image.Resampling.BICUBIC)
    for number in range(count):
        pixels = np.asarray(texture)[:, 3 * number : 3 * number + width].astype(int)
        pixels = (pixels + generator.integers(-12, 13, pixels.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=95)
    return Video(frames=open_frames(folder, "drawn"), files=())


class Dense:
    """The dense affinity over the same context as a `Propagator` that has seen `maps` (features) and `labels`."""

    def __init__(self, settings: Propagation, maps: list[torch.Tensor], labels: list[torch.Tensor]) -> None:
        self.settings, dino = settings, settings.variant == "dino"
        context = [0, *range(len(maps) - settings.recent, len(maps))]
        rows, columns = maps[0].shape[1:]
        self.keys = torch.cat([unit_cells(maps[index]).flatten(0, 1) for index in context])
        self.table = torch.cat([labels[index].flatten(1).T for index in context])
        row, column = (
            axis.flatten() for axis in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        )
        down, across = row[:, None] - row, column[:, None] - column
        reach = settings.radius
        near = (down.abs() <= reach) & (across.abs() <= reach) if dino else down**2 + across**2 < reach**2
        self.outside = torch.where(near, 0.0, -1e10).to(self.keys.device)
        self.masked_from = 0 if dino else len(self.outside)

    @torch.inference_mode()
    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        cells = unit_cells(features).flatten(0, 1)
        found = []
        for start in range(0, len(cells), QUERIES):
            similarity = cells[start : start + QUERIES] @ self.keys.T
            part = similarity[:, self.masked_from :].unflatten(1, (-1, len(cells)))
            part += self.outside[start : start + QUERIES, None]
            best = similarity.topk(self.settings.topk, dim=1)
            weights = torch.softmax(best.values / self.settings.temperature, dim=1)
            found.append((self.table[best.indices] * weights[..., None]).sum(1))
        return torch.cat(found).T.view(-1, *features.shape[1:])


def contest(
    appearance: Appearance, video: Video, settings: Propagation, repeats: int
) -> tuple[dict[str, list[Times]], float, float]:
    """Fill the context, then let local and dense follow the same frame in turn."""
    maps = extract(video, appearance)
    rows, columns = maps[0].shape[1:]
    labels = torch.rand(LABELS, rows, columns, generator=torch.Generator().manual_seed(0)).to(maps[0].device)
    labels /= labels.sum(0)
    propagator = Propagator(settings, maps[0], labels)
    soft = [labels, *(propagator(features) for features in maps[1:-1])]
    follow = propagator.look
    first = follow(maps[-1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    dense = Dense(settings, maps[:-1], soft)
    difference = (first - dense(maps[-1])).abs().max()
    local: list[Times] = []
    other: list[Times] = []
    for _ in range(repeats):
        local.append(timed(lambda: follow(maps[-1]), appearance.device))
        other.append(timed(lambda: dense(maps[-1]), appearance.device))
    return {"local": local, "dense": other}, float(difference), peak


def extraction(appearance: Appearance, video: Video, repeats: int) -> dict[str, list[Times]]:
    """Features of all frames: read from files as the tasks do, and in a bare loop over normalised frames in memory."""
    ready = [appearance.prepare(pixels) for pixels in video.frames.read_all()]
    contestants: dict[str, Callable[[], object]] = {
        "bare": lambda: [appearance(pixels) for pixels in ready],
        "ours": lambda: extract(video, appearance),
    }
    times: dict[str, list[Times]] = {name: [] for name in contestants}
    for name, contestant in [*contestants.items()] * repeats:
        times[name].append(timed(contestant, appearance.device))
    return times


def median(times: list[Times], which: int) -> float:
    return statistics.median(pair[which] for pair in times)


def ratio(dividend: list[Times], divisor: list[Times], which: int) -> float:
    return statistics.median(a[which] / b[which] for a, b in zip(dividend, divisor, strict=True))


def one(args: argparse.Namespace) -> str:
    """Measure one architecture and variant in this process; return its row."""
    settings = SETTINGS[args.variants]
    appearance = Appearance(resolve_backbone(f"random:{args.archs}"), device=pick_device(args.device))
    with tempfile.TemporaryDirectory() as scratch:
        video = draw_frames(Path(scratch), settings.recent + 3, args.width, args.height)
        found, difference, peak = contest(appearance, video, settings, args.repeats)
        features = extraction(appearance, video, args.repeats)
    local, dense, count = found["local"], found["dense"], len(video.frames)
    cells = (
        f"{args.archs}, {args.variants}",
        f"{median(local, 0):.3g}",
        f"{median(dense, 0):.3g}",
        f"{ratio(dense, local, 0):.1f}",
        f"{ratio(dense, local, 1):.1f}",
        f"{difference:.0e}",
        f"{peak:.1f}",
        f"{median(features['ours'], 0) / count:.3g}",
        f"{100 * ratio(features['bare'], features['ours'], 0):.0f} %",
        f"{100 * ratio(features['bare'], features['ours'], 1):.0f} %",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", default="resnet18,resnet50")
    parser.add_argument("--variants", default="unitrack,dino")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--row", action="store_true", help="print the row of one architecture and variant only")
    args = parser.parse_args()
    if args.row:
        print(one(args))
        return
    machine, today = hardware(), datetime.datetime.now(datetime.UTC).date()
    print(
        f"**{args.width}x{args.height}, {LABELS} labels**: {machine['cpu']}, {machine['cores']} cores, "
        f"{torch.get_num_threads()} threads, torch {versions()['torch']}, {today}, {args.repeats} repeats, "
        f"load average {os.getloadavg()[0]:.1f}\n\n"
        "| | local, s/frame | dense, s/frame | ratio | ratio, processor time | largest difference | peak, GiB "
        "| features, s/frame | of a bare loop | of its processor time |\n" + "|---" * 10 + "|",
        flush=True,
    )
    same = [f"--{name}={getattr(args, name)}" for name in ("height", "width", "repeats", "device")]
    for arch in args.archs.split(","):
        for variant in args.variants.split(","):
            # A process each: the peak is the process's.
            command = [sys.executable, __file__, "--row", f"--archs={arch}", f"--variants={variant}", *same]
            print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.rstrip(), flush=True)


if __name__ == "__main__":
    main()
