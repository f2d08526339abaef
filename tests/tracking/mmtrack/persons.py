"""A drawn MOT data set: patterned persons who walk through a few small frames, with a detector's boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mec_transfer.datasets.config import VideosDatasetConfig
from mec_transfer.datasets.registry import open_data
from mec_transfer.datasets.videos.data import VideoData

WIDTH, HEIGHT = 96, 64
BODY = (10, 20)
DETECTIONS = "train/{sequence}/det/det.txt"


def write_sequence(root: Path, name: str, persons: int, frames: int, seed: int = 0, extra: str = "") -> Path:
    """Write a sequence in which everybody walks to the right, from frame to frame by two pixels; `extra` rows of truth.

    Return its folder.
    """
    random = np.random.default_rng(seed)
    looks = random.integers(0, 256, (persons, *BODY[::-1], 3), dtype=np.uint8)
    places = random.integers(0, [WIDTH - 30, HEIGHT - BODY[1]], (persons, 2))
    folder = root / "train" / name
    for part in ("img1", "gt", "det"):
        (folder / part).mkdir(parents=True)
    truth, found = [], []
    for number in range(1, frames + 1):
        picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        for person in range(persons):
            x, y = places[person] + [2 * number, 0]
            patch = picture[y : y + BODY[1], x : x + BODY[0]]
            patch[:] = looks[person, : patch.shape[0], : patch.shape[1]]
            seen = 0.2 + 0.8 * ((number + person) % 4 > 0)  # every fourth time hidden
            truth.append((person, f"{number},{person + 1},{x + 1},{y + 1},{BODY[0]},{BODY[1]},1,1,{seen:g}\n"))
            score = 0.9 - 0.5 * (number % 5 == person % 5)
            box = f"{x + 1.3:.2f},{y + 0.8:.2f},{BODY[0]},{BODY[1] + 0.5}"
            found.append(f"{number},-1,{box},{score:g},-1,-1,-1\n")
        Image.fromarray(picture).save(folder / "img1" / f"{number:06d}.jpg", quality=95)
    rows = [row for _, row in sorted(truth, key=lambda item: item[0])]
    (folder / "gt" / "gt.txt").write_text("".join(rows) + extra)
    (folder / "det" / "det.txt").write_text("".join(found))
    values = {"name": name, "imDir": "img1", "frameRate": 10, "seqLength": frames, "imWidth": WIDTH, "imHeight": HEIGHT}
    text = "".join(f"{key}={value}\n" for key, value in values.items())
    (folder / "seqinfo.ini").write_text(f"[Sequence]\n{text}imExt=.jpg\n")
    return folder


def write_persons(root: Path) -> Path:
    """Write two sequences with eight persons, six of them to train on; return the data set's folder."""
    write_sequence(root, "WALK-01", persons=5, frames=12, seed=1)
    write_sequence(root, "WALK-02", persons=3, frames=14, seed=2)
    return root


def open_persons(root: Path, detections: str = "none") -> VideoData:
    """Open a data set of `write_sequence`."""
    config = VideosDatasetConfig(name="walk", layout="motchallenge", split="train", detections=detections)
    data = open_data(config, root)
    assert isinstance(data, VideoData)
    return data
