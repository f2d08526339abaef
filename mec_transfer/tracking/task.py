"""The frame that all five frozen-feature tasks share: which videos, in which folder, measured from which files.

A task follows one video at a time and writes what it found in the official submission format, beside a copy of the
truth. A sequence is finished when its entry in finished/ is there, so a run that was stopped goes on at the next one.
Every number is computed from the written files.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar, cast

import numpy as np
import torch

from mec_transfer.benchmark import Benchmark, Job, Problem, make_record, primary_problems
from mec_transfer.common import distributed
from mec_transfer.common.device import maps_cost_more_than_reading
from mec_transfer.common.errors import DataError, RunError, UserError
from mec_transfer.common.memory import keep_freed_memory
from mec_transfer.common.runtime import pick_device
from mec_transfer.datasets.videos.data import VideoData
from mec_transfer.datasets.videos.video import Video, remarks
from mec_transfer.results.record import Record, Selection
from mec_transfer.tracking.appearance import Appearance, Features
from mec_transfer.tracking.config import FrozenConfig
from mec_transfer.tracking.feature_cache import CachedFeatures
from mec_transfer.tracking.overlay import Marks
from mec_transfer.tracking.sequences import (
    Files,
    Measured,
    Tick,
    draw_extremes,
    follow_all,
    recorded_sequences,
    sequence_details,
)

V = TypeVar("V", bound=Video)


class FrozenTask(Benchmark, Generic[V]):
    """A benchmark on videos with frozen features: subclasses say how one is followed and how all are measured."""

    METRICS: ClassVar[tuple[str, ...]]
    """What `measure` gives, and the primary metric is one of."""
    WHOLE_FRAMES: ClassVar[bool] = True
    """Whether features are of whole frames, which other tasks may ask for too, not of crops that follow a target."""
    config: FrozenConfig

    @abc.abstractmethod
    def follow(self, video: V, features: Features, tick: Tick) -> Files:
        """Track through a video; return the submission's files, to be written below results/."""

    @abc.abstractmethod
    def truth(self, video: V) -> Files:
        """Return what `measure` needs of the truth, to be written below truth/."""

    @abc.abstractmethod
    def measure(self, folder: Path, sequences: Sequence[str]) -> Measured:
        """Compute every metric from folder/results and folder/truth alone.

        Raises:
            UserError: a file is missing or damaged.
        """

    @abc.abstractmethod
    def marks(self, video: V, folder: Path) -> Callable[[int], Marks]:
        """Return a function from a frame's index to what is drawn over it, from the files in `folder`."""

    def check(self, job: Job) -> list[Problem]:
        """Data, backbone and metric."""
        problems = []
        try:
            problems += [Problem(message=line, severity="warning") for line in remarks(self.open(job))]
        except UserError as error:
            problems.append(Problem(message=str(error)))
        if job.backbone.stem != "imagenet":
            message = f"{job.backbone.provenance.source}: frozen-feature tracking needs the 'imagenet' stem"
            problems.append(Problem(message=message))
        return problems + primary_problems(self.config, self.METRICS)

    def open(self, job: Job) -> tuple[V, ...]:
        """Return the videos. Raises DataError where there is nothing to follow in them, or nobody here can score it."""
        assert isinstance(job.data, VideoData)
        videos = cast("tuple[V, ...]", job.data.videos)
        if withheld := [video.withheld for video in videos if video.withheld]:
            raise DataError(f"{withheld[0]}; choose a split with a truth")
        if why := self.nothing_left(videos):
            raise DataError(f"{videos[0].files[-1]}: nothing to follow: {why}")
        return videos

    def nothing_left(self, videos: Sequence[V]) -> str:
        """Return why the recipe leaves nothing of the detections, where there are any; empty where it leaves one."""
        return ""

    def run(self, job: Job) -> Record:
        """Follow every video that is not finished yet, then measure all of them.

        Raises:
            DataError: a frame cannot be read.
            RunError: the disk is full.
            Interrupted: a signal came; the finished videos are kept.
        """
        began = time.monotonic()
        videos, folder = self.open(job), job.workdir
        keep_freed_memory()
        recipe = self.config.recipe
        appearance = Appearance(
            job.backbone, stage=recipe.stage, device=pick_device(job.device), precision=recipe.precision
        )
        features: Features = appearance
        if self.WHOLE_FRAMES and job.cache and maps_cost_more_than_reading(appearance.device):
            features = CachedFeatures.open(appearance, job.cache / "maps")
        follow_all(
            videos, folder, self.config.title, lambda video, tick: self.follow(video, features, tick), self.truth
        )
        distributed.barrier()

        def measure() -> Measured:
            measured = self.measure(folder, [video.name for video in videos])
            metrics = self.config.metrics
            draw_extremes(
                videos, measured, metrics.primary, folder, lambda v: self.marks(v, folder), metrics.higher_is_better
            )
            return measured

        measured = distributed.on_first(measure)
        return make_record(
            self.config,
            job,
            metrics=measured.overall,
            selection=Selection(chosen="the frozen backbone", by="nothing to choose"),
            seconds=time.monotonic() - began,
            warnings=remarks(videos),
            details={
                **sequence_details(videos, measured, folder),
                "stage": recipe.stage,
                "precision": recipe.precision,
            },
        )

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """From the written results and the copy of the truth; the data set is not needed."""
        return self.measure(folder, recorded_sequences(folder, record)).overall


def frame_map(video: Video, index: int, pixels: np.ndarray, features: Features) -> torch.Tensor:
    """Return the feature map, (channels, rows, columns) float32, of frame `index`, (H, W, 3) uint8 RGB.

    Raises:
        RunError: it is not finite.
    """
    found = features(features.prepare(pixels))[0]
    if not torch.isfinite(found).all():
        path = video.frames.paths[index]
        raise RunError(
            f"{path}: its features are not finite; try --set recipe.precision=fp32, or look at the checkpoint"
        )
    return found
