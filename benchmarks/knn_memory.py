"""The memory of k-NN on as many features as ImageNet's, and the speed of its similarity products.

    python benchmarks/knn_memory.py [--folder DIR] [--images 1281167] [--tests 512] [--repeats 5] [--write]
    python benchmarks/knn_memory.py --before CHECKOUT    side by side with an earlier version's code, at 161,792 images

Synthetic features of 2048 numbers are written to a feature store, 10.5 GB at full size, and deleted at the end. Each
search is a process of its own: it checks the parts, maps them and looks for 200 neighbours, while a thread notes the
memory that no file stands for (RssAnon of /proc/self/status), less that before the search; ru_maxrss, which counts the
mapped file's pages as well, stands beside it. What needs memory for every training image is scaled from the size
measured, and said to be.

The speed: a bare loop of the products of test rows and blocks of training rows that are in memory, of length 1,
against the same from mapped features, which are brought to length 1 first ("products"), and against the whole search
with its running k best ("search"). They take turns; figures are medians, ratios those of the same turn; the
processor's time hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"
IMAGENET, WIDTH, K = 1_281_167, 2048, 200
BEFORE_IMAGES = 79 * 2048
"""As many as the earlier version is given: its memory grows with them."""


class Peak:
    """The highest RssAnon of this process, in bytes, above that at the start."""

    def __enter__(self) -> Peak:
        self.start = self.highest = _anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.highest = max(self.highest, _anonymous())


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def open_store(folder: Path, images: int) -> Any:
    from mec_transfer.classification.feature_store import FeatureStore

    return FeatureStore(folder, {"split": "train", "images": images}, images, WIDTH)


def random_rows(seed: int, count: int) -> torch.Tensor:
    """Features that are never negative, as a ResNet's."""
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)).clamp_min_(0)


def write_features(folder: Path, images: int) -> None:
    """One random block; each part has its columns turned a little further."""
    store, block = open_store(folder, images), random_rows(0, 2048).numpy()
    for part, rows in enumerate(store.parts):
        store.write(part, np.roll(block[: len(rows)], 3 * part, axis=1))


def search(folder: Path, images: int, tests: int) -> dict[str, Any]:
    """In a process of its own: check, map and search; with an earlier version's modules, what that did."""
    from mec_transfer.classification import neighbours

    store, test = open_store(folder, images), random_rows(1, tests)
    with Peak() as peak:
        began = time.perf_counter()
        if hasattr(store, "read"):
            values = np.empty((images, WIDTH), dtype=np.float32)
            assert all(store.read(part, values[rows.start : rows.stop]) for part, rows in enumerate(store.parts))
            ready = time.perf_counter()
            unit = torch.nn.functional.normalize
            found = neighbours.nearest(unit(torch.from_numpy(values)), unit(test), K)
        else:
            from mec_transfer.classification.feature_rows import FeatureRows

            assert all(map(store.is_whole, range(len(store.parts))))
            ready = time.perf_counter()
            found = neighbours.nearest(FeatureRows([store.open(part) for part in range(len(store.parts))]), test, K)
    return {
        "anonymous": peak.highest - peak.start,
        "maxrss": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "check": ready - began,
        "search": time.perf_counter() - ready,
        "found": hashlib.sha256(found[0].numpy().tobytes() + found[1].numpy().tobytes()).hexdigest()[:16],
    }


def search_apart(root: Path, folder: Path, images: int, tests: int) -> dict[str, Any]:
    """Run `search` in a process that imports the package below `root`."""
    command = [sys.executable, __file__, "--child", "--folder", str(folder)]
    command += ["--images", str(images), "--tests", str(tests)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, cwd=root).stdout
    found: dict[str, Any] = json.loads(output)
    return found


@torch.no_grad()
def rates(folder: Path, images: int, tests: int, repeats: int) -> list[tuple[str, float, float, float]]:
    """(contestant, median seconds, median speed against the bare loop's, the same in the processor's time)."""
    from torch.nn.functional import linear

    from mec_transfer.classification import neighbours
    from mec_transfer.classification.feature_rows import FeatureRows

    store, test, block = open_store(folder, images), random_rows(1, tests), neighbours._BLOCK
    values = FeatureRows([store.open(part) for part in range(4 * block // 2048)])
    unit = torch.nn.functional.normalize(values[:], dim=1)
    rows = torch.nn.functional.normalize(test, dim=1).split(256)  # as for all of ImageNet
    left, right = [chunk.to_mkldnn() for chunk in rows], [factor.to_mkldnn() for factor in unit.split(4096)]
    memory = torch.empty(block, WIDTH)

    def products() -> None:
        for start in range(0, len(values), block):
            part = neighbours._unit(values, start, memory)
            for chunk in rows:
                neighbours._similarities(chunk, part)

    contestants: dict[str, Callable[[], Any]] = {
        "bare loop, oneDNN": lambda: [linear(chunk, factor).to_dense() for factor in right for chunk in left],
        "bare loop, `@`": lambda: [chunk @ factor.T for factor in unit.split(4096) for chunk in rows],
        "products": products,
        "search": lambda: neighbours.nearest(values, test, K),
    }
    neighbours._CHUNK_ELEMENTS = 256 * len(values)
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    busy: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats + 1):  # the first turn warms up
        for name, work in contestants.items():
            began, used = time.perf_counter(), time.process_time()
            work()
            wall[name].append(time.perf_counter() - began)
            busy[name].append(time.process_time() - used)
    bare = next(iter(contestants))
    return [
        (name, statistics.median(wall[name][1:]), _speed(wall, name, bare), _speed(busy, name, bare)) for name in wall
    ]


def _speed(times: dict[str, list[float]], name: str, bare: str) -> float:
    return statistics.median(b / a for a, b in zip(times[name][1:], times[bare][1:], strict=True))


def memory_row(name: str, images: int, tests: int, found: dict[str, Any]) -> str:
    figures = [f"{found['anonymous'] / 2**30:.2f}", f"{found['maxrss'] / 2**30:.1f}"]
    figures += [f"{found['check']:.0f}", f"{found['search']:.0f}", found["found"]]
    return f"| {name} | {images:,} | {tests:,} | {' | '.join(figures)} |"


def measure(args: argparse.Namespace, scratch: Path) -> str:
    root, lines = Path(__file__).resolve().parent.parent, []
    lines += [
        "| | training images | test images | beyond the file, GiB | ru_maxrss, GiB | check, s | search, s | found |"
    ]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---|"]
    if args.before:
        write_features(scratch, BEFORE_IMAGES)
        for name, code in (("before", args.before), ("now", root)):
            found = search_apart(code, scratch, BEFORE_IMAGES, args.tests)
            lines.append(memory_row(name, BEFORE_IMAGES, args.tests, found))
            if code == args.before:
                scaled = found["anonymous"] * IMAGENET / BEFORE_IMAGES
                lines.append(f"| before, scaled to ImageNet | ({IMAGENET:,}) | | ({scaled / 2**30:.1f}) | | | | |")
        open_store(scratch, BEFORE_IMAGES).remove()
    write_features(scratch, args.images)
    found = search_apart(root, scratch, args.images, args.tests)
    lines.append(memory_row("now", args.images, args.tests, found))
    torch.set_num_threads(args.threads or torch.get_num_threads())
    for tests in args.rate_tests:
        lines += [
            "",
            f"{tests:,} test images, 65,536 training images, {K} neighbours, threads: {torch.get_num_threads()}",
            "",
        ]
        lines += ["| | s | speed, of the bare loop's | the same, processor time |", "|---|---:|---:|---:|"]
        for name, seconds, speed, busy in rates(scratch, args.images, tests, args.repeats):
            lines.append(f"| {name} | {seconds:.2f} | {speed:.2f} | {busy:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the features go for a while; by default the system's")
    parser.add_argument("--images", type=int, default=IMAGENET)
    parser.add_argument("--tests", type=int, default=512)
    parser.add_argument("--rate-tests", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="for the speed; on a processor that others use too, 1")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version, measured side by side")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/knn_memory.md")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(search(args.folder, args.images, args.tests)))
        return
    from mec_transfer.common.runtime import hardware, versions

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        tables = measure(args, Path(scratch))
    machine, today = hardware(), datetime.datetime.now(datetime.UTC).date()
    about = (
        f"{machine['cpu']}, {machine['cores']} cores, torch {versions()['torch']}, "
        f"{today}, {args.repeats} repeats, load average {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    )
    text = f"# k-NN's memory and speed\n\n{about}\n\n{tables}"
    print(text)
    if args.write:
        (RESULTS / "knn_memory.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
