"""The reconstruction similarity of tracks with detections, against the published formula and its product alone.

    python benchmarks/similarity.py [--repeats 11] [--device cuda]

Random features that are never negative, as a ResNet's stages give them; half of the detections show an object that is
tracked. The three take turns, each called twice and the second call timed, so that a noisy machine slows them alike;
times are medians on the wall, ratios of medians, and beside them the ratio of the processor's times, which hardly
depends on what else the machine does. The affinity product is the one matrix product that the similarity cannot do
without, on features that are normalised and laid out; ours lays them out first, and the published formula normalises
them as well. Memory is the peak of one call beyond its inputs (on a CPU: of all tensors that are alive, by storage).
Prints a markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from objective import _Alive

from mec_transfer.tracking.association.reconstruction import object_cells, reconstruction_cost

SIZES = [(30, 40, 1024), (30, 40, 256), (100, 40, 1024), (30, 200, 1024)]
"""Tracks and as many detections, cells of each, channels."""


def published(tracks: list[torch.Tensor], detections: list[torch.Tensor]) -> torch.Tensor:
    """As published: every reconstruction of every pair is formed. Objects are (C, n)."""
    own, other = (F.normalize(torch.stack(items), dim=1).mT for items in (tracks, detections))
    affinity = own.flatten(0, 1) @ other.flatten(0, 1).T
    there = F.softmax(100 * affinity, dim=1).view(len(own), -1, len(other), other.shape[1])
    back = F.softmax(100 * affinity, dim=0).T.reshape(len(other), -1, len(own), own.shape[1])
    return 1 - (_cosines(there, own, other) + _cosines(back, other, own).T) / 2


def _cosines(weights: torch.Tensor, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    images = torch.einsum("tnds,dsc->tdnc", weights, other).flatten(2)
    return torch.einsum("tdx,tx->td", F.normalize(images, dim=2), F.normalize(own.flatten(1), dim=1))


def crowd(count: int, cells: int, channels: int, device: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Objects around a common vector; detections are tracks with noise, half of them of others."""
    generator = torch.Generator().manual_seed(0)
    common = torch.rand(channels, 1, generator=generator)
    tracks = (torch.randn(count, channels, cells, generator=generator) + common).clamp_min(0)
    noise = torch.randn(count, channels, cells, generator=generator)
    detections = torch.where(torch.arange(count)[:, None, None] % 2 == 0, tracks + noise, noise + common).clamp_min(0)
    return list(tracks.to(device)), list(detections.to(device))


def peak_mib(work: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with _Alive() as alive:
        work()
    return alive.peak / 2**20


def measure(size: tuple[int, int, int], repeats: int, device: str) -> str:
    count, cells, channels = size
    tracks, detections = crowd(count, cells, channels, device)
    own, other = [object_cells(item) for item in tracks], [object_cells(item) for item in detections]
    left, right = torch.cat(own), torch.cat(other).T
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "published": lambda: published(tracks, detections),
        "ours": lambda: reconstruction_cost(own, other),
        "affinity": lambda: left @ right,
    }
    # Where the published way would take gigabytes it is left out; the difference is then not known either.
    if 2 * 4 * count * count * cells * channels > 8 << 30:
        del ways["published"]
    wall: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            work()  # after another way's turn caches and heap are not one's own
            if device == "cuda":
                torch.cuda.synchronize()
            began, used = time.perf_counter(), time.process_time()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            wall[name].append(time.perf_counter() - began)
            busy[name].append(time.process_time() - used)
    took = {name: statistics.median(times) for name, times in wall.items()}
    worked = {name: statistics.median(times) for name, times in busy.items()}
    peak = {name: peak_mib(ways[name], device) for name in ways}
    cells_text = [f"{count} x {count}, {cells} cells, {channels}"]
    cells_text += [f"{1000 * took[name]:.1f}" if name in took else "-" for name in ("published", "ours", "affinity")]
    cells_text += [f"{took['ours'] / took['affinity']:.2f}x ({worked['ours'] / worked['affinity']:.2f}x)"]
    if "published" in took:
        cells_text += [f"{took['published'] / took['ours']:.1f}x"]
        cells_text += [f"{(ways['published']() - ways['ours']()).abs().max():.1e}"]
    else:
        cells_text += ["-", "-"]
    cells_text += [f"{peak[name]:.0f}" if name in peak else "-" for name in ("published", "ours")]
    return f"| {' | '.join(cells_text)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, default=11)
    args = parser.parse_args()
    head = ["tracks x detections, channels", "published, ms", "ours, ms", "affinity, ms", "ours / affinity (processor)"]
    head += ["published / ours", "largest difference", "published, MiB", "ours, MiB"]
    print(f"| {' | '.join(head)} |\n| --- |{' ---: |' * (len(head) - 1)}", flush=True)
    with torch.inference_mode():
        for size in SIZES:
            print(measure(size, args.repeats, args.device), flush=True)


if __name__ == "__main__":
    main()
