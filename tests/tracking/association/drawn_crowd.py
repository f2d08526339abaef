"""A drawn film in each of the three association layouts, and features that know who is who by the colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from mec_transfer.datasets.videos.detections import JOINTS
from mec_transfer.tracking.association.skeleton import draw_pose

WIDTH, HEIGHT = 200, 96
STEP = 12
"""Grey levels between two objects: look-alikes to the eye, not to `Colours`."""
NAME = "DRAWN-01"


class Colours:
    """One-hot features of the grey level in each cell's corner, where masks are looked at.

    Shuffled: anybody's, anew in every frame.
    """

    device = torch.device("cpu")
    channels = 24

    def __init__(self, *, shuffled: bool = False) -> None:
        self._rng = np.random.default_rng(0) if shuffled else None

    def prepare(self, frames: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(frames[None].copy()).permute(0, 3, 1, 2).float()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        levels = (pixels[:, 0, ::8, ::8] / STEP).round().long()
        if self._rng is not None:
            names = np.concatenate([[0], 1 + self._rng.permutation(self.channels - 1)])
            levels = torch.from_numpy(names)[levels]
        return torch.nn.functional.one_hot(levels, self.channels).permute(0, 3, 1, 2).float()


class Film:
    """Four walkers: the second behind the first where they meet, the third leaves and comes back."""

    def __init__(self, length: int = 24, *, share: float = 0.5, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
        """`share`: what of somebody must be seen for him to be detected; `size`: width and height."""
        self.length, self.share, (self.width, self.height) = length, share, size

    def boxes(self, t: int) -> dict[int, tuple[int, int, int, int]]:
        """x0, y0, x1, y1 of those who are there, front to back."""
        there = {
            1: (10 + 4 * t, 14, 34 + 4 * t, 70),
            2: (130 - 4 * t, 30, 154 - 4 * t, 86),
            3: (160, 8, 184, 64),
            4: (10, 8 + t // 4, 34, 64 + t // 4) if t > 14 else (100, 8, 124, 64),
        }
        if 8 <= t < 14:
            del there[3]
        if 8 <= t <= 16:
            del there[4]  # goes away, and turns up elsewhere
        return there

    def visible(self, t: int) -> dict[int, np.ndarray]:
        """The pixels, (H, W) bool, of those who are there to be seen."""
        taken, seen = np.zeros((self.height, self.width), dtype=bool), {}
        for who, (x0, y0, x1, y1) in self.boxes(t).items():
            pixels = np.zeros_like(taken)
            pixels[y0:y1, x0:x1] = True
            free = pixels & ~taken
            taken |= pixels
            if free.sum() >= self.share * pixels.sum():
                seen[who] = free
        return seen

    def picture(self, t: int, mode: str = "RGB") -> Image.Image:
        levels = np.zeros((self.height, self.width), dtype=np.uint8)
        for who, (x0, y0, x1, y1) in reversed(self.boxes(t).items()):
            levels[y0:y1, x0:x1] = STEP * (8 + who)
        return Image.fromarray(levels).convert(mode)

    def write_motchallenge(self, root: Path, mode: str = "RGB") -> Path:
        """Detections are the truth, and one unsure one a frame."""
        truth, found = [], []
        for t in range(self.length):
            for who in self.visible(t):
                x0, y0, x1, y1 = self.boxes(t)[who]
                place = f"{x0 + 1},{y0 + 1},{x1 - x0},{y1 - y0}"
                truth.append(f"{t + 1},{who},{place},1,1,1\n")
                found.append(f"{t + 1},-1,{place},0.9,-1,-1,-1\n")
            found.append(f"{t + 1},-1,50,50,20,30,0.5,-1,-1,-1\n")
        return self._write(root, mode, truth, found)

    def write_mots(self, root: Path, mode: str = "RGB") -> Path:
        """Detections are the truth."""
        truth = []
        for t in range(self.length):
            for who, pixels in self.visible(t).items():
                counts = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))["counts"].decode()
                truth.append(f"{t + 1} {2000 + who} 2 {self.height} {self.width} {counts}\n")
        return self._write(root, mode, truth, truth)

    def _write(self, root: Path, mode: str, truth: list[str], found: list[str]) -> Path:
        folder = root / "train" / NAME
        for part in ("img1", "gt", "det"):
            (folder / part).mkdir(parents=True)
        for t in range(self.length):
            self.picture(t, mode).save(folder / "img1" / f"{t + 1:06d}.png")
        (folder / "gt" / "gt.txt").write_text("".join(truth))
        (folder / "det" / "det.txt").write_text("".join(found))
        (folder / "seqinfo.ini").write_text(
            f"[Sequence]\nname={NAME}\nimDir=img1\nframeRate=30\nseqLength={self.length}\n"
            f"imWidth={self.width}\nimHeight={self.height}\nimExt=.png\n"
        )
        return root

    def write_posetrack18(self, root: Path, mode: str = "RGB") -> Path:
        """Detections are the truth; a pose fills its box, and the picture shows it as it is drawn."""
        (root / "annotations/val").mkdir(parents=True)
        (root / "poses").mkdir()
        (root / "images").mkdir()
        images, persons = [], list[dict[str, Any]]()
        for t in range(self.length):
            levels = np.zeros((self.height, self.width), dtype=np.uint8)
            seen = self.visible(t)
            for who, box in reversed(self.boxes(t).items()):
                pose = stick_figure(box)
                levels[draw_pose(pose, self.height, self.width)] = STEP * (8 + who)
                if who in seen:
                    keypoints = np.concatenate([pose[:, :2], np.ones((15, 1))], axis=1).ravel().tolist()
                    persons.append({"image_id": t, "track_id": who, "keypoints": keypoints, "bbox_head": [0, 0, 9, 12]})
            images.append({"id": t, "file_name": f"images/{t:06d}.png"})
            Image.fromarray(levels).convert(mode).save(root / images[-1]["file_name"])
        data = {"images": images, "annotations": persons, "categories": [{"id": 1, "keypoints": list(JOINTS)}]}
        for folder in ("annotations/val", "poses"):
            (root / folder / f"{NAME}.json").write_text(json.dumps(data))
        return root


def stick_figure(box: tuple[int, int, int, int]) -> np.ndarray:
    """Return the joints, (15, 3), of somebody who fills a box."""
    x0, y0, x1, y1 = box
    across = [0.2, 0.2, 0.2, 0.8, 0.8, 0.8, 0, 0, 0.1, 0.9, 1, 1, 0.5, 0.5, 0.5]
    down = [1, 0.8, 0.55, 0.55, 0.8, 1, 0.55, 0.4, 0.25, 0.25, 0.4, 0.55, 0.2, 0.1, 0]
    return np.stack([x0 + np.array(across) * (x1 - x0), y0 + np.array(down) * (y1 - y0), np.ones(15)], 1)
