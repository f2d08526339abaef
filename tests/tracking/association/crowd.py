"""Crowds to follow: detections with features of one's own making, frame by frame."""

from __future__ import annotations

import numpy as np
import torch

from mec_transfer.tracking.association.reconstruction import object_cells
from mec_transfer.tracking.association.tracker import Observed

CHANNELS, CELLS = 16, 6


def wandering(seed: int, frames: int = 40, count: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes (N, 4) and features (N, 16, 6) of each frame.

    Objects come in pairs that look alike, wander, are missed now and then or for long, and there is clutter.
    """
    rng = np.random.default_rng(seed)
    looks = rng.standard_normal((count // 2, CHANNELS, CELLS)).repeat(2, axis=0)
    looks = looks + 0.3 * rng.standard_normal(looks.shape)
    place, speed = rng.uniform(0, 300, (count, 2)), rng.normal(0, 2, (count, 2))
    sides, away = rng.uniform(20, 60, (count, 1)) * [0.5, 1.2], np.zeros(count, dtype=int)
    film = []
    for _ in range(frames):
        place, speed = place + speed, speed + rng.normal(0, 0.8, speed.shape)
        away = np.where(away > 0, away - 1, np.where(rng.random(count) < 0.06, rng.choice([1, 3, 9], count), 0))
        corners = place + rng.normal(0, 1, place.shape)
        boxes = np.concatenate([corners, corners + sides * rng.uniform(0.95, 1.05, sides.shape)], axis=1)
        seen = looks + 0.8 * rng.standard_normal(looks.shape)
        clutter, box = rng.standard_normal((1, CHANNELS, CELLS)), rng.uniform(0, 300, (1, 2))
        there, more = away == 0, int(rng.random() < 0.15)
        boxes = np.concatenate([boxes[there], np.concatenate([box, box + 40], axis=1)[:more]])
        film.append((boxes, np.concatenate([seen[there], clutter[:more]])))
    return film


def observed(boxes: np.ndarray, features: np.ndarray) -> Observed:
    """What the tracker takes."""
    return Observed(boxes=boxes, cells=[object_cells(item) for item in torch.from_numpy(features).float()])
