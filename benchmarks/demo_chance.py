"""What the demo's trackers come to without looking: a target that stays where it was, identities drawn at random.

    python benchmarks/demo_chance.py runs/demo

Takes the results of a finished run of the demo, puts blind ones in their place in a copy, and measures those as
`mec-transfer verify` does. Prints the primary metric of each column; where chance is drawn, the mean of five seeds.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

from mec_transfer.results.record import read_record
from mec_transfer.suite.registry import saved_benchmark

SEEDS = 5


def stay(results: Path) -> None:
    """Repeat the first frame's box (a line of a text file) or mask (a picture of a sequence) in every frame."""
    for file in results.glob("*.txt"):
        first, *others = file.read_text().splitlines()
        file.write_text(f"{first}\n" * (1 + len(others)))
    for sequence in filter(Path.is_dir, results.iterdir()):
        mask = min((results.with_name("truth") / sequence.name).iterdir())
        for frame in sequence.iterdir():
            shutil.copy(mask, frame)


def forget(results: Path, seed: int) -> None:
    """Give the objects of each frame the identities 1, 2, ... in an order of chance."""
    chance = Random(seed)
    for file in sorted(results.glob("*.txt")):
        masks = "," not in file.read_text()
        mark = " " if masks else ","
        frames: dict[int, list[list[str]]] = defaultdict(list)
        for line in file.read_text().splitlines():
            frames[int(line.split(mark)[0])].append(line.split(mark))
        for objects in frames.values():
            for words, identity in zip(objects, drawn(len(objects), chance), strict=True):
                words[1] = str(2000 + identity if masks else identity)
        file.write_text("".join(f"{mark.join(words)}\n" for _, shown in sorted(frames.items()) for words in shown))
    for file in sorted(results.glob("*.json")):
        content = json.loads(file.read_text())
        poses = defaultdict(list)
        for pose in content["annotations"]:
            poses[pose["image_id"]].append(pose)
        for shown in poses.values():
            for pose, identity in zip(shown, drawn(len(shown), chance), strict=True):
                pose["track_id"] = identity
        file.write_text(json.dumps(content))


def drawn(count: int, chance: Random) -> Iterator[int]:
    return iter(chance.sample(range(1, count + 1), count))


def measure(job: Path, seed: int) -> float:
    record = read_record(job)
    with tempfile.TemporaryDirectory() as folder:
        blind = Path(shutil.copytree(job, Path(folder) / "job"))
        if "sot" in record.benchmark.id or "vos" in record.benchmark.id:
            stay(blind / "results")
        else:
            forget(blind / "results", seed)
        metrics = saved_benchmark(blind).recompute(blind, record)
    return metrics[record.primary]


if __name__ == "__main__":
    for job in sorted(Path(sys.argv[1]).glob("jobs/random/demo_*")):
        if (job / "results").is_dir():
            print(f"{job.name.split('-')[0]}: {statistics.fmean(measure(job, seed) for seed in range(SEEDS)):.1f}")
