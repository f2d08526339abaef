"""What it costs to open data sets of full size: a dry run's time and memory, and how often folders are listed.

    python benchmarks/data_opening.py [--world DIR] [--only imagenet|coco] [--write]

The folders are made of hard links to a few JPEGs: ImageNet with its 1,281,167 and 50,000 names in 1,000 classes, COCO
2017 with 118,287 and 5,000 images and a synthetic annotation file of the real one's size (860,001 objects, 423 MB).
Each figure is one run of a fresh `mec-transfer run --dry-run` with an empty folder, then of the same again. --world
keeps the folders for another time (about 0.6 GB, and 1.5 million directory entries).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mec_transfer.common.runtime import hardware, usable_cores, versions

RESULTS = Path(__file__).parent / "results"
SUITES = {
    "imagenet": [
        "knn_dino",
        "linear_mec",
        *(f"semisup_{n}pct_{r}" for r in ("barlow", "vicreg", "swav") for n in (1, 10)),
    ],
    "coco": ["coco_c4_1x", "coco_fpn_1x"],
}
CLASSES = 1000
LINKS = 60_000  # ext4 allows 65,000 to a file
IMAGES, OBJECTS = {"train2017": 118_287, "val2017": 5_000}, {"train2017": 860_001, "val2017": 36_781}


class Linker:
    """Makes files that are hard links to one JPEG, or to another copy of it where a file has had its share."""

    def __init__(self, folder: Path, width: int, height: int) -> None:
        self.folder, self.made = folder, 0
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        self.image = Image.fromarray(noise).resize((width, height))
        self.source = folder

    def link(self, path: str) -> None:
        if self.made % LINKS == 0:
            self.source = self.folder / f"{self.made}.jpg"
            self.image.save(self.source, quality=50)
        os.link(self.source, path)
        self.made += 1


def make_imagenet(root: Path) -> None:
    linker = Linker(root / "sources", 64, 64)
    folder = root / "imagenet"
    wnids = [f"n{1_440_000 + 7919 * index:08d}" for index in range(CLASSES)]
    for split, total in (("train", 1_281_167), ("val", 50_000)):
        for index, wnid in enumerate(wnids):
            (folder / split / wnid).mkdir(parents=True, exist_ok=True)
            count = total // CLASSES + (index < total % CLASSES)
            for number in range(count):
                linker.link(f"{folder}/{split}/{wnid}/{wnid}_{number}.JPEG")
    lists = folder / "imagenet_subsets"
    lists.mkdir()


def make_coco(root: Path) -> None:
    linker = Linker(root / "coco_sources", 640, 480)
    folder = root / "coco"
    (folder / "annotations").mkdir(parents=True)
    draw = random.Random(0)
    categories = [{"id": index + 1, "name": f"thing {index + 1}", "supercategory": "thing"} for index in range(80)]
    for split, images in IMAGES.items():
        (folder / split).mkdir()
        for number in range(1, images + 1):
            linker.link(f"{folder}/{split}/{number:012d}.jpg")
        with (folder / "annotations" / f"instances_{split}.json").open("w") as file:
            file.write('{"info": {}, "licenses": [], "images": [')
            entries = (
                json.dumps({"license": 1, "file_name": f"{n:012d}.jpg", "height": 480, "width": 640, "id": n})
                for n in range(1, images + 1)
            )
            file.write(", ".join(entries))
            file.write('], "annotations": [')
            for number in range(OBJECTS[split]):
                file.write((", " if number else "") + json.dumps(annotation(number, images, draw)))
            file.write('], "categories": ' + json.dumps(categories) + "}")


def annotation(number: int, images: int, draw: random.Random) -> dict[str, object]:
    """One object with a polygon of 23 points, which gives the file the real one's size."""
    x, y, width, height = draw.uniform(0, 400), draw.uniform(0, 300), draw.uniform(20, 200), draw.uniform(20, 150)
    points = [round(value, 2) for _ in range(23) for value in (x + draw.random() * width, y + draw.random() * height)]
    return {
        "segmentation": [points],
        "area": round(width * height * 0.6, 4),
        "iscrowd": 0,
        "image_id": number % images + 1,
        "bbox": [round(x, 2), round(y, 2), round(width, 2), round(height, 2)],
        "category_id": number % 80 + 1,
        "id": number + 1,
    }


def dry_run(world: Path, suite: list[str], out: Path) -> tuple[float, float]:
    """Return the seconds and the peak resident memory (GB) of a dry run."""
    file = out / "suite.yaml"
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "id: opening\nmodels: {random: 'random:resnet50'}\nbenchmarks:\n" + "".join(f"  - {n}\n" for n in suite)
    )
    command = [sys.executable, "-m", "mec_transfer.cli.main", "run", "--suite", str(file), "--data-root", str(world)]
    began = time.monotonic()
    process = subprocess.Popen([*command, "--out", str(out / "run"), "--dry-run"], stderr=subprocess.PIPE, text=True)
    _, said = process.communicate()
    seconds = time.monotonic() - began
    if process.returncode or "cannot run" in said:
        print(said, file=sys.stderr)
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path)
    parser.add_argument("--only", choices=sorted(SUITES))
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS / 'data_opening.md'}")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        world = args.world or Path(scratch, "world")
        for name, make in (("imagenet", make_imagenet), ("coco", make_coco)):
            if args.only in (None, name):
                if not (world / f"{name}.made").exists():
                    began = time.monotonic()
                    make(world)
                    (world / f"{name}.made").touch()
                    print(f"{name}: made in {time.monotonic() - began:.0f} s", file=sys.stderr)
                for what in ("first", "again"):
                    seconds, memory = dry_run(world, SUITES[name], Path(scratch, name))
                    rows.append(f"| {name}: {len(SUITES[name])} jobs, {what} | {seconds:.1f} | {memory:.2f} |")
                    print(rows[-1], file=sys.stderr)
    about = f"{hardware()['cpu']}, {usable_cores()} cores, load {os.getloadavg()[0]:.1f} at the end"
    table = "\n".join(
        [
            *("# data_opening.py", "", "| dry run | s | peak memory, GB |", "|---|---|---|", *rows, ""),
            f"One run each; {about}; torch {versions()['torch']}; {datetime.date.today()}.\n",
        ]
    )
    print(table)
    if args.write:
        (RESULTS / "data_opening.md").write_text(table)


if __name__ == "__main__":
    main()
