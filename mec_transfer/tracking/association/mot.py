"""Boxes joined to tracks: MOT as UniTrack does it (Zhongdao/UniTrack test/test_mot.py, tracker/mot/box.py).

What moves the number: frames are fitted into 1088x608 pixels, grey around them; a detection above the score threshold
gets 4 x 10 cells by RoIAlign (4 rows: the published order); then the tracker. Results are the boxes that the Kalman
filter has smoothed, without small and wide ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.ops import roi_align

from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.tracking.appearance import Features
from mec_transfer.tracking.association import mot_metrics
from mec_transfer.tracking.association.association import (
    NOTHING,
    AssociationTask,
    Challenge,
    no_score_above,
    tracked_marks,
)
from mec_transfer.tracking.association.config import MotConfig
from mec_transfer.tracking.association.tracker import Observed, Sighting
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.overlay import Marks
from mec_transfer.tracking.task import frame_map

_GREY = 127.5
_FIRST_PIXEL = 1
"""MOTChallenge's files count pixels from 1; the published code takes their numbers as if from 0 when it pools."""


class Mot(AssociationTask[MotVideo]):
    """Multiple-object tracking on boxes, MOTChallenge layout."""

    METRICS = mot_metrics.METRICS
    CHALLENGE: ClassVar[Challenge] = mot_metrics
    CONFIRMED_AT_ONCE = False
    config: MotConfig

    def marks(self, video: MotVideo, folder: Path) -> Callable[[int], Marks]:
        """Boxes, and the true ones."""
        return tracked_marks(mot_metrics.read_results(folder, video.name), video.truth)

    def nothing_left(self, videos: Sequence[MotVideo]) -> str:
        """Also where all boxes that score enough are too small or too wide for the results."""
        recipe = self.config.recipe
        if why := no_score_above(videos, recipe.score_threshold):
            return why
        seen = [frame for video in videos for frame in video.detections]
        boxes = np.concatenate([frame.boxes[frame.scores > recipe.score_threshold] for frame in seen])
        if self._reported(boxes).any():
            return ""
        limits = (
            f"recipe.min_box_area, {recipe.min_box_area:g}, and recipe.max_aspect_ratio, {recipe.max_aspect_ratio:g}"
        )
        return f"none of the {len(boxes)} detections is as large and as narrow as {limits}, demand"

    def _reported(self, boxes: np.ndarray) -> np.ndarray:
        """Return which of (N, 4) boxes are large enough for a person and not too wide, (N,) bool."""
        width, height = (boxes[:, 2:] - boxes[:, :2]).T
        kept: np.ndarray = (width * height > self.config.recipe.min_box_area) & ~(
            width / height > self.config.recipe.max_aspect_ratio
        )
        return kept

    def observe(
        self, video: MotVideo, index: int, pixels: np.ndarray, features: Features
    ) -> tuple[np.ndarray, Observed]:
        """Pool the cells of every box."""
        seen, recipe = video.detections[index], self.config.recipe
        which = np.flatnonzero(seen.scores > recipe.score_threshold)
        if not len(which):
            return which, NOTHING
        frames, size = video.frames, np.array(recipe.image_size)
        fitted, ratio, border = letterbox(pixels, recipe.image_size)
        found = frame_map(video, index, fitted, features)[None]
        placed = (seen.boxes[which] + _FIRST_PIXEL) * ratio + np.tile(border, 2)
        regions = placed * np.tile(np.array(found.shape[:1:-1]) / size, 2)
        pooled = roi_align(found, [torch.from_numpy(regions).to(found)], recipe.feature_size).flatten(2)
        # The published way back takes the border before the sides were rounded: up to half a pixel off.
        exact = (size - ratio * np.array([frames.width, frames.height])) / 2
        boxes = (placed - np.tile(exact, 2)) / ratio - _FIRST_PIXEL
        return which, Observed(boxes=boxes, cells=F.normalize(pooled, dim=1).mT.contiguous().unbind())

    def report(self, video: MotVideo, index: int, sightings: Sequence[tuple[int, Sighting]]) -> TrackedFrame:
        """Leave out what is too small or too wide to be a person."""
        boxes = np.array([sighting.box for _, sighting in sightings]).reshape(-1, 4)
        keep = self._reported(boxes)
        scores = video.detections[index].scores[[detection for detection, _ in sightings]]
        identities = np.array([sighting.identity for _, sighting in sightings], dtype=np.int64)
        return TrackedFrame(identities=identities[keep], boxes=boxes[keep], scores=scores[keep])


def letterbox(pixels: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float, tuple[float, float]]:
    """Fit a frame, (H, W, 3) uint8, into `size` (width, height) without distorting it, grey around it.

    Returns:
        The image; how much larger it is than the frame; the width of the border to the left and above, which may be
        half a pixel more than what is there, as in the published code.
    """
    import cv2

    (rows, columns), (width, height) = pixels.shape[:2], size
    ratio = min(height / rows, width / columns)
    inner = round(columns * ratio), round(rows * ratio)
    x, y = (width - inner[0]) / 2, (height - inner[1]) / 2
    scaled = cv2.resize(pixels, inner, interpolation=cv2.INTER_AREA)
    borders = round(y - 0.1), round(y + 0.1), round(x - 0.1), round(x + 0.1)
    padded: np.ndarray = cv2.copyMakeBorder(scaled, *borders, cv2.BORDER_CONSTANT, value=(_GREY,) * 3)
    return padded, ratio, (x, y)
