"""Masks joined to tracks: MOTS as UniTrack does it (Zhongdao/UniTrack test/test_mots.py, tracker/mot/mask.py).

What moves the number: frames at their own size; a mask's features are the cells that it covers on the map, about 200
at most; its box, from the mean and the mean deviation of those cells, serves the tracker; of masks whose boxes overlap
by more than 0.7, only the first takes part, and one that covers no cell does not. A track counts from its first frame
on, and what is written are the detector's masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from mec_transfer.datasets.videos.mots import MotsVideo
from mec_transfer.tracking.appearance import Features
from mec_transfer.tracking.association import mots_metrics
from mec_transfer.tracking.association.association import (
    NOTHING,
    AssociationTask,
    Challenge,
    no_score_above,
)
from mec_transfer.tracking.association.config import MotsConfig
from mec_transfer.tracking.association.mask_features import mask_cells, shrink_mask
from mec_transfer.tracking.association.tracker import Observed, Sighting
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.config import STRIDE
from mec_transfer.tracking.task import frame_map

_DEVIATIONS = 2
"""Half a box's side, in mean absolute deviations from the centre."""
_LEAST_DEVIATION = 1.0
"""Cells."""


class Mots(AssociationTask[MotsVideo]):
    """Multiple-object tracking and segmentation, MOTS20 layout."""

    METRICS = mots_metrics.METRICS
    CHALLENGE: ClassVar[Challenge] = mots_metrics
    CONFIRMED_AT_ONCE = True
    config: MotsConfig

    def nothing_left(self, videos: Sequence[MotsVideo]) -> str:
        """Where every mask scores too low."""
        return no_score_above(videos, self.config.recipe.score_threshold)

    def observe(
        self, video: MotsVideo, index: int, pixels: np.ndarray, features: Features
    ) -> tuple[np.ndarray, Observed]:
        """Take the cells below every mask."""
        from pycocotools import mask as coco_mask

        seen, recipe = video.detections[index], self.config.recipe
        which = np.flatnonzero(seen.scores > recipe.score_threshold)
        if not len(which):
            return which, NOTHING
        found = frame_map(video, index, pixels, features)
        rles = seen.masks or ()
        masks = [shrink_mask(coco_mask.decode(rles[item]), *found.shape[1:]) for item in which]
        some = [item for item, mask in enumerate(masks) if mask.any()]
        if not some:
            return which[:0], NOTHING
        boxes = np.stack([mask_box(masks[item]) for item in some])
        kept = _distinct(boxes, recipe.same_mask_overlap)
        cells = [mask_cells(found, masks[some[item]], recipe.max_mask_area) for item in kept]
        return which[some][kept], Observed(boxes=boxes[kept], cells=cells)

    def report(self, video: MotsVideo, index: int, sightings: Sequence[tuple[int, Sighting]]) -> TrackedFrame:
        """Return the detector's masks."""
        seen, which = video.detections[index], [detection for detection, _ in sightings]
        boxes = [sighting.box * STRIDE for _, sighting in sightings]
        rles = seen.masks or ()
        return TrackedFrame(
            identities=np.array([sighting.identity for _, sighting in sightings], dtype=np.int64),
            boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
            scores=seen.scores[which],
            masks=tuple(rles[detection] for detection in which),
        )


def mask_box(mask: torch.Tensor) -> np.ndarray:
    """Return x0, y0, x1, y1, in cells, of a mask, (h, w) bool: its mean, two mean deviations to either side."""
    points = mask.nonzero().double().flip(1)
    centre = points.mean(0)
    reach = _DEVIATIONS * (points - centre).abs().mean(0).clamp_min(_LEAST_DEVIATION)
    return torch.cat([centre - reach, centre + reach]).numpy()


def _distinct(boxes: np.ndarray, overlap: float) -> np.ndarray:
    """Return the indices of boxes, (N, 4), that do not overlap an earlier one that stays by more than `overlap`."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    same = common / (area[:, None] + area[None] - common) > overlap
    keep = np.ones(len(boxes), dtype=bool)
    for row in range(len(boxes)):
        if keep[row]:
            keep[row + 1 :] &= ~same[row, row + 1 :]
    return np.flatnonzero(keep)
