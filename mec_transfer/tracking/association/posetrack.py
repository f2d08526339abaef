"""Poses joined to tracks: UniTrack's pose tracking (Zhongdao/UniTrack test/test_posetrack.py, tracker/mot/pose.py).

What moves the number: frames at their own size; a pose is drawn as a mask, whose features are the cells that it covers
on the map, about 400 at most; its box is the one around its joints; every detection is in the results. The published
code never gives a track that is found again its new pose, so in that frame its detection comes out with an identity of
no track: 1000, whatever it is, there; one that is used once here, since no identity may be in a frame twice. The same
befalls the detection of a track that is dropped as a duplicate. A pose that covers no cell has random features: seeded
ones here.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from mec_transfer.datasets.videos.posetrack import PoseVideo
from mec_transfer.tracking.appearance import Features
from mec_transfer.tracking.association import posetrack_metrics
from mec_transfer.tracking.association.association import (
    AssociationTask,
    Challenge,
)
from mec_transfer.tracking.association.config import PoseConfig
from mec_transfer.tracking.association.mask_features import mask_cells, shrink_mask
from mec_transfer.tracking.association.skeleton import draw_pose
from mec_transfer.tracking.association.tracker import Observed, Sighting
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.sequences import Files, Tick
from mec_transfer.tracking.task import frame_map

_RANDOM_CELLS = 40


class PoseTrack(AssociationTask[PoseVideo]):
    """Multi-person pose tracking, PoseTrack18 layout."""

    METRICS = posetrack_metrics.METRICS
    CHALLENGE: ClassVar[Challenge] = posetrack_metrics
    CONFIRMED_AT_ONCE = True
    config: PoseConfig

    def follow(self, video: PoseVideo, features: Features, tick: Tick) -> Files:
        """Return PoseTrack18's json, in which no person is without an identity."""
        return posetrack_metrics.result_files(video, _name_rest(self.track(video, features, tick)))

    def track(self, video: PoseVideo, features: Features, tick: Tick) -> list[TrackedFrame]:
        """Follow all persons, at the protocol's frame rate; identity 0 is not a track's."""
        video = dataclasses.replace(video, frame_rate=self.config.recipe.frame_rate)
        return super().track(video, features, tick)

    def observe(
        self, video: PoseVideo, index: int, pixels: np.ndarray, features: Features
    ) -> tuple[np.ndarray, Observed]:
        """Take the cells below every drawn pose."""
        seen, frames = video.detections[index], video.frames
        assert seen.poses is not None
        found = frame_map(video, index, pixels, features)
        cells = []
        for item, pose in enumerate(seen.poses):
            mask = shrink_mask(draw_pose(pose, frames.height, frames.width), *found.shape[1:])
            if mask.any():
                cells.append(mask_cells(found, mask, self.config.recipe.max_mask_area))
            else:
                cells.append(_random_cells(found.shape[0], index, item).to(found.device))
        return np.arange(len(seen)), Observed(boxes=seen.boxes, cells=cells)

    def report(self, video: PoseVideo, index: int, sightings: Sequence[tuple[int, Sighting]]) -> TrackedFrame:
        """Return every detection; identity 0 is not a track's."""
        seen = video.detections[index]
        identities = np.zeros(len(seen), dtype=np.int64)
        for detection, sighting in sightings:
            identities[detection] = 0 if sighting.refound else sighting.identity
        return TrackedFrame(identities=identities, boxes=seen.boxes, scores=seen.scores, poses=seen.poses)


def _random_cells(channels: int, index: int, item: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(index * 1000 + item)
    return F.normalize(torch.randn(_RANDOM_CELLS, channels, generator=generator), dim=1)


def _name_rest(frames: list[TrackedFrame]) -> list[TrackedFrame]:
    """Return the frames with an identity of its own in place of every 0."""
    fresh = itertools.count(1 + max((int(frame.identities.max(initial=0)) for frame in frames), default=0))
    named = []
    for frame in frames:
        identities = np.array([name or next(fresh) for name in frame.identities.tolist()], dtype=np.int64)
        named.append(dataclasses.replace(frame, identities=identities))
    return named
