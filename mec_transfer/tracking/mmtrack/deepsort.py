"""The benchmark: DeepSORT on given or detected boxes, its ReID network trained on the checkpoint's backbone.

What moves the number lies in three files side by side: the benchmark's YAML (data, crops, frames) and the two stock
MMTracking configs that it names, the ReID network's and the tracker's. All are part of the job's key.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mec_transfer.benchmark import Benchmark, Job, Problem, make_record, primary_problems
from mec_transfer.common import distributed
from mec_transfer.common.errors import ConfigError, DataError, UserError
from mec_transfer.common.runtime import pick_device
from mec_transfer.datasets.videos.motchallenge import MotVideo, truth_rows
from mec_transfer.datasets.videos.video import remarks
from mec_transfer.results.record import Record, Selection
from mec_transfer.tracking.association import mot_metrics
from mec_transfer.tracking.association.association import no_score_above, tracked_marks
from mec_transfer.tracking.mmtrack import engine
from mec_transfer.tracking.mmtrack.config import stock_path
from mec_transfer.tracking.mmtrack.reid import check_reid_job, data_folder, mot_videos
from mec_transfer.tracking.mmtrack.reid_config import PUBLISHED_DETECTOR, DeepSortConfig, DeepSortRecipe
from mec_transfer.tracking.mmtrack.reid_crops import crops_for
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


class DeepSort(Benchmark):
    """DeepSORT by MMTracking's tracker: MOTA, IDF1, HOTA and identity switches by TrackEval."""

    config: DeepSortConfig

    def check(self, job: Job) -> list[Problem]:
        """Engine, data, network and metric; MMTracking itself is not imported here."""
        recipe, videos = self.config.recipe, mot_videos(job)
        problems = check_reid_job(job, recipe) + primary_problems(self.config, mot_metrics.METRICS)
        try:
            stock_path(recipe.tracker)
            halves = [tracked_part(video, recipe.part) for video in videos]
            _check_detector(recipe)
            if recipe.boxes != "private" and not any(len(seen) for video in halves for seen in video.detections):
                raise DataError(
                    f"{videos[0].ground_truth.parents[1]}: no detection in the frames that are tracked, and none in "
                    "other sequences; name a detector's output, --detections 'train/{sequence}/det/det.txt'"
                )
        except UserError as error:
            problems.append(Problem(message=str(error)))
        return problems + [Problem(message=line, severity="warning") for line in remarks(videos)]

    def run(self, job: Job) -> Record:
        """Train the ReID network (or take another job's), follow every sequence that is not finished yet, measure.

        Raises:
            ConfigError: a stock config does not fit the checkpoint, or the two do not fit each other.
            DataError: an image cannot be read, or no box scores enough.
            RunError: the network in memory is not the checkpoint's, the loss is not finite, or the disk is full.
            Interrupted: a signal came; what is done is kept.
        """
        began = time.monotonic()
        recipe, folder = self.config.recipe, job.workdir
        videos = [tracked_part(video, recipe.part) for video in mot_videos(job)]
        cut_from, crops = crops_for(mot_videos(job), recipe, data_folder(job))
        engine.load()
        import torch

        from mec_transfer.tracking.mmtrack import deepsort_tracking
        from mec_transfer.tracking.mmtrack.reid_training import trained_reid

        device = pick_device(job.device)
        config = deepsort_tracking.read_tracker_config(recipe, job.backbone, crops.train_ids)
        if recipe.boxes == "given" and (why := no_score_above(videos, config.model.tracker.obj_score_thr)):
            raise DataError(f"{videos[0].files[-1]}: nothing to follow: {why}")
        detect = deepsort_tracking.read_detector(recipe, config, device)
        # Float32 keeps all its bits: torch itself lets a GPU drop 13 of 23 in convolutions.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            reid = trained_reid(recipe, job, cut_from, crops, device)

            def follow(video: MotVideo, tick: Tick) -> Files:
                frames = deepsort_tracking.follow(video, config, reid.network, device, tick, detect)
                return mot_metrics.result_files(video, frames)

            follow_all(videos, folder, self.config.title, follow, truth_files)
        distributed.barrier()

        measured = distributed.on_first(lambda: self._measure(videos, folder))
        return make_record(
            self.config,
            job,
            metrics=measured.overall,
            selection=Selection(chosen=f"epoch {reid.epochs} of ReID", by="protocol"),
            seconds=time.monotonic() - began,
            warnings=remarks(videos),
            details={
                **sequence_details(videos, measured, folder),
                "boxes": recipe.boxes,
                "train_persons": crops.train_ids,
                "train_crops": len(crops.train),
                "processes": distributed.world_size(),
                "guard_difference": reid.difference,
                "engine": {version.name: version.found for version in engine.versions()},
            },
        )

    def _measure(self, videos: Sequence[MotVideo], folder: Path) -> Measured:
        measured = mot_metrics.measure(folder, [video.name for video in videos])
        metrics = self.config.metrics
        draw_extremes(videos, measured, metrics.primary, folder, lambda v: _marks(v, folder), metrics.higher_is_better)
        return measured

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """From the written results and the copy of the truth; neither the data set nor the engine is needed."""
        return mot_metrics.measure(folder, recorded_sequences(folder, record)).overall


def _check_detector(recipe: DeepSortRecipe) -> None:
    """Raise ConfigError where a detector is needed and there is none."""
    if recipe.detector and not Path(recipe.detector).is_file():
        raise ConfigError(f"recipe.detector: {recipe.detector}: no such file")
    if recipe.boxes != "given" and not recipe.detector:
        raise ConfigError(
            f"recipe.boxes: {recipe.boxes} ones are a detector's; --set recipe.detector=FILE names it: MMTracking's is "
            f"faster-rcnn_r50_fpn_4e_mot17-half-{PUBLISHED_DETECTOR}.pth"
        )


def tracked_part(video: MotVideo, part: str) -> MotVideo:
    """Return a sequence as far as it is tracked: all of it, or MMTracking's `half-val` (mot2coco.py).

    Frames keep their numbers.

    Raises:
        DataError: it has no second half.
    """
    if part == "all":
        return video
    first, frames = len(video.frames) // 2 + 1, video.frames
    if first >= len(frames):
        raise DataError(
            f"{frames.paths[0].parent}: {len(frames)} frame{'s' if len(frames) > 1 else ''}, and the second half begins"
            f" after {first}; take longer sequences, or --set recipe.part=all"
        )
    return dataclasses.replace(
        video,
        frames=dataclasses.replace(frames, paths=frames.paths[first:], numbers=frames.numbers[first:]),
        detections=video.detections[first:],
        truth=video.truth[first:],
    )


def truth_files(video: MotVideo) -> Files:
    """Return the truth of the frames that are tracked, as `mot_metrics` does; their numbers are the sequence's."""
    tracked = {str(number) for number in video.frames.numbers}
    rows = [",".join(fields) + "\n" for fields in truth_rows(video.ground_truth) if fields[0] in tracked]
    return {**mot_metrics.truth_files(video), f"{video.name}/gt/gt.txt": "".join(rows).encode()}


def _marks(video: MotVideo, folder: Path) -> Callable[[int], Marks]:
    found = mot_metrics.read_results(folder, video.name)
    return tracked_marks([found[number - 1] for number in video.frames.numbers], video.truth)
