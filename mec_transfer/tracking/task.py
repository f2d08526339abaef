"""The frame that all five frozen-feature tasks share: which videos, in which folder, measured from which files.

A task follows one video at a time and writes what it found in the official submission format, beside a copy of the
truth. A sequence is finished when its entry in finished/ is there, so a run that was stopped goes on at the next one.
Every number is computed from the written files.
"""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar, cast

import numpy as np
import torch

from mec_transfer.benchmark import Benchmark, Job, Problem, make_record
from mec_transfer.common import distributed
from mec_transfer.common.errors import DataError, RunError, UserError
from mec_transfer.common.files import read_json, write_bytes, write_json
from mec_transfer.common.interrupt import Interrupted, StopRequest, held_signals
from mec_transfer.common.memory import keep_freed_memory
from mec_transfer.common.progress import Meter, say, warn
from mec_transfer.common.runtime import pick_device
from mec_transfer.datasets.videos.data import VideoData
from mec_transfer.datasets.videos.video import Video, remarks
from mec_transfer.results.record import RECORD_NAME, Record, Selection
from mec_transfer.tracking.appearance import Appearance, Features
from mec_transfer.tracking.config import FrozenConfig
from mec_transfer.tracking.feature_cache import CachedFeatures
from mec_transfer.tracking.overlay import Marks, write_animation

RESULTS = "results"
"""What was found, in the task's official submission format."""
TRUTH = "truth"
"""A copy of what it is measured against."""
_FINISHED = "finished"

V = TypeVar("V", bound=Video)
Files = Mapping[str, bytes]
"""File names relative to a folder, and their bytes."""
Tick = Callable[[], None]
"""To be called once for every frame that is done: shows progress, and raises `Interrupted` where a signal came."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """The numbers of a run."""

    overall: dict[str, float]
    """Percentages as 0-100."""
    by_sequence: dict[str, dict[str, float]]


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
        if self.config.metrics.primary not in self.METRICS:
            message = f"metrics.primary: '{self.config.metrics.primary}' is not one of {', '.join(self.METRICS)}"
            problems.append(Problem(message=message))
        return problems

    def open(self, job: Job) -> tuple[V, ...]:
        """Return the videos. Raises DataError where there is nothing to follow in them."""
        assert isinstance(job.data, VideoData)
        videos = cast("tuple[V, ...]", job.data.videos)
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
        if self.WHOLE_FRAMES and job.cache and appearance.device.type == "cpu":
            features = CachedFeatures.open(appearance, job.cache / "maps")
        self._follow_all(videos, features, folder)
        distributed.barrier()

        def measure() -> Measured:
            measured = self.measure(folder, [video.name for video in videos])
            self._draw(videos, measured, folder)
            return measured

        measured = distributed.on_first(measure)
        finished = [read_json(_entry(folder, video)) for video in videos]
        seconds = sum(entry["seconds"] for entry in finished)
        frames = sum(len(video.frames) for video in videos)
        return make_record(
            self.config,
            job,
            metrics=measured.overall,
            selection=Selection(chosen="the frozen backbone", by="nothing to choose"),
            seconds=time.monotonic() - began,
            warnings=remarks(videos),
            details={
                "by_sequence": measured.by_sequence,
                "frames": frames,
                "frames_per_second": round(frames / seconds, 3) if seconds else 0.0,
                "stage": recipe.stage,
                "precision": recipe.precision,
            },
        )

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """From the written results and the copy of the truth; the data set is not needed."""
        sequences = list(record.details.get("by_sequence", {}))
        if not sequences:
            what = "names no sequence in 'details.by_sequence'"
            raise UserError(f"{folder / RECORD_NAME}: {what}; delete the folder and run the job again")
        return self.measure(folder, sequences).overall

    def _follow_all(self, videos: Sequence[V], features: Features, folder: Path) -> None:
        mine = videos[distributed.rank() :: distributed.world_size()]
        todo = [video for video in mine if not _entry(folder, video).is_file()]
        if len(todo) < len(mine):
            say(f"{len(mine) - len(todo)} of {len(mine)} sequences are there already")
        meter = Meter(self.config.title, sum(len(video.frames) for video in todo), "frames")
        try:
            with held_signals() as stop:
                for video in todo:
                    started = time.monotonic()
                    for name, files in (
                        (TRUTH, self.truth(video)),
                        (RESULTS, self._follow(video, features, meter, stop)),
                    ):
                        for path, data in files.items():
                            write_bytes(folder / name / path, data)
                    seconds = round(time.monotonic() - started, 3)
                    write_json(_entry(folder, video), {"frames": len(video.frames), "seconds": seconds})
        finally:
            meter.close()

    def _follow(self, video: V, features: Features, meter: Meter, stop: StopRequest) -> Files:
        def tick() -> None:
            meter.advance()
            if stop.number:
                raise Interrupted(stop.number)

        return self.follow(video, features, tick)

    def _draw(self, videos: Sequence[V], measured: Measured, folder: Path) -> None:
        """Animate the best and the worst sequence; a number is not lost for a picture."""
        sign = 1 if self.config.metrics.higher_is_better else -1
        ranked = sorted(videos, key=lambda video: -sign * measured.by_sequence[video.name][self.config.metrics.primary])
        chosen = {"best": ranked[0], "worst": ranked[-1]} if len(ranked) > 1 else {"only": ranked[0]}
        for kind, video in chosen.items():
            path = folder / "pictures" / f"{kind}_{video.name}.gif"
            try:
                write_animation(path, video.frames, self.marks(video, folder))
            except (OSError, RunError) as error:
                warn(f"{path}: not drawn ({error})")


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


def _entry(folder: Path, video: Video) -> Path:
    return folder / _FINISHED / f"{video.name}.json"
