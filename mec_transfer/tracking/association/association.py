"""What the three association tasks share: a detector's output in every frame, joined to tracks by appearance.

After Zhongdao/UniTrack (tracker/mot/*.py, test/test_{mot,mots,posetrack}.py). They differ in what a detection is, where
its features are taken from, and how results are written.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.datasets.videos.mots import MotsVideo
from mec_transfer.datasets.videos.posetrack import PoseVideo
from mec_transfer.tracking.appearance import Features
from mec_transfer.tracking.association.config import AssociationConfig
from mec_transfer.tracking.association.tracker import Observed, Sighting, Tracker
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.overlay import Box, Marks
from mec_transfer.tracking.sequences import Files, Measured, Tick
from mec_transfer.tracking.task import FrozenTask

V = TypeVar("V", MotVideo, MotsVideo, PoseVideo)


class Challenge(Protocol):
    """The module that writes tracks as a challenge takes them, and measures them as it does."""

    def result_files(self, video: Any, frames: Sequence[TrackedFrame]) -> Files:
        """Return the file of a sequence's results."""

    def truth_files(self, video: Any) -> Files:
        """Return what the evaluation wants beside it."""

    def measure(self, folder: Path, sequences: Sequence[str]) -> Measured:
        """Compute the metrics from these files. Raises UserError where one is missing or damaged."""

    def read_results(self, folder: Path, sequence: str) -> list[TrackedFrame]:
        """Read the results again. Raises UserError where the file is missing or damaged."""


class AssociationTask(FrozenTask[V]):
    """A task that joins detections: subclasses say what is offered to the tracker and what is made of its answer."""

    CHALLENGE: ClassVar[Challenge]
    CONFIRMED_AT_ONCE: ClassVar[bool]
    """Whether a track counts from its first detection on."""
    config: AssociationConfig

    @abc.abstractmethod
    def observe(self, video: V, index: int, pixels: np.ndarray, features: Features) -> tuple[np.ndarray, Observed]:
        """Return which detections of frame `index`, (H, W, 3) uint8, take part, (N,) int64, and how they look."""

    @abc.abstractmethod
    def report(self, video: V, index: int, sightings: Sequence[tuple[int, Sighting]]) -> TrackedFrame:
        """Return what is tracked in frame `index`, from which of its detections each track is seen in, and how."""

    def follow(self, video: V, features: Features, tick: Tick) -> Files:
        """Return the challenge's file of results."""
        return self.CHALLENGE.result_files(video, self.track(video, features, tick))

    def truth(self, video: V) -> Files:
        """Return what the challenge's evaluation wants beside the results."""
        return self.CHALLENGE.truth_files(video)

    def measure(self, folder: Path, sequences: Sequence[str]) -> Measured:
        """Measure as the challenge does."""
        return self.CHALLENGE.measure(folder, sequences)

    def marks(self, video: V, folder: Path) -> Callable[[int], Marks]:
        """Return what is tracked in a frame: boxes, masks or poses."""
        return tracked_marks(self.CHALLENGE.read_results(folder, video.name))

    def track(self, video: V, features: Features, tick: Tick) -> list[TrackedFrame]:
        """Follow everything that was detected, from the first frame to the last."""
        tracker = Tracker(self.config.recipe.association, video.frame_rate, confirmed_at_once=self.CONFIRMED_AT_ONCE)
        frames = []
        for index, pixels in enumerate(video.frames.read_all()):
            which, observed = np.arange(0), NOTHING
            if len(video.detections[index]):
                which, observed = self.observe(video, index, pixels, features)
            sightings = tracker.update(observed)
            frames.append(self.report(video, index, [(int(which[one.detection]), one) for one in sightings]))
            tick()
        return frames


def no_score_above(videos: Sequence[MotVideo] | Sequence[MotsVideo], threshold: float) -> str:
    """Return that every detection scores too low, empty where one does not."""
    scores = np.concatenate([frame.scores for video in videos for frame in video.detections])
    if not len(scores):
        return "no detections are named; write dataset.detections"
    if (scores > threshold).any():
        return ""
    return (
        f"none of the {len(scores)} detections scores above recipe.score_threshold, {threshold:g}; "
        f"the highest score is {scores.max():g}"
    )


NOTHING = Observed(boxes=np.empty((0, 4)), cells=())
"""What the tracker sees of a frame in which nothing was detected."""


def tracked_marks(frames: Sequence[TrackedFrame], truth: Sequence[np.ndarray] = ()) -> Callable[[int], Marks]:
    """Return a function from a frame's index to its boxes, masks and poses, and the true boxes where they are given."""
    from pycocotools import mask as coco_mask

    from mec_transfer.tracking.association.skeleton import BONES

    def marks(index: int) -> Marks:
        frame = frames[index]
        names = frame.identities.tolist()
        return Marks(
            boxes={} if frame.masks or frame.poses is not None else dict(zip(names, _corners(frame.boxes))),
            masks={name: coco_mask.decode(rle).astype(bool) for name, rle in zip(names, frame.masks or ())},
            points={} if frame.poses is None else {name: pose[:, :2] for name, pose in zip(names, frame.poses)},
            bones=() if frame.poses is None else BONES,
            truth=tuple(_corners(truth[index])) if truth else (),
        )

    return marks


def _corners(boxes: np.ndarray) -> list[Box]:
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()]
