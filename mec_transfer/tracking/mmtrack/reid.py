"""The benchmark: train a ReID network on the checkpoint's backbone, find persons again by its embeddings.

What moves the number lies in two files side by side: the benchmark's YAML (data, crops) and the stock MMTracking config
that it names (network, schedule, pipelines). Both are part of the job's key.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

from mec_transfer.backbone.layouts import find_layout
from mec_transfer.benchmark import Benchmark, Job, Problem, make_record, primary_problems
from mec_transfer.common import distributed, extras
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import replace_with_copy, write_text
from mec_transfer.common.runtime import pick_device
from mec_transfer.datasets.videos.data import VideoData
from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.results.record import Record, Selection
from mec_transfer.tracking.mmtrack import engine
from mec_transfer.tracking.mmtrack.config import stock_path
from mec_transfer.tracking.mmtrack.reid_config import ReidConfig, ReidRecipe
from mec_transfer.tracking.mmtrack.reid_crops import crops_for
from mec_transfer.tracking.mmtrack.reid_metrics import METRICS, measure_saved, reid_metrics, save_embeddings

WEIGHTS = "reid.pth"
SETTINGS = "reid_mmtracking.py"
"""The trained network and its config, as plain MMTracking loads them."""


class Reid(Benchmark):
    """ReID by a stock MMTracking config, all layers finetuned: mAP and rank-1 of the last epoch."""

    config: ReidConfig

    def check(self, job: Job) -> list[Problem]:
        """Engine, data, network and metric; MMTracking itself is not imported here."""
        return check_reid_job(job, self.config.recipe) + primary_problems(self.config, METRICS)

    def run(self, job: Job) -> Record:
        """Train (from where an earlier attempt stopped), embed the crops of the other persons, measure.

        Raises:
            ConfigError: the stock config does not fit the checkpoint.
            DataError: a frame or a crop cannot be read.
            RunError: the network in memory is not the checkpoint's, the loss is not finite, or the disk is full.
            Interrupted: a signal came; the state is saved.
        """
        began = time.monotonic()
        videos, crops = crops_for(mot_videos(job), self.config.recipe, data_folder(job))
        engine.load()
        import torch

        from mec_transfer.tracking.mmtrack.reid_data import embed
        from mec_transfer.tracking.mmtrack.reid_training import trained_reid

        device = pick_device(job.device)
        # Float32 keeps all its bits: torch itself lets a GPU drop 13 of 23 in convolutions.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            reid = trained_reid(self.config.recipe, job, videos, crops, device)
            embeddings, labels, names = embed(reid.network, reid.config, reid.store, job.workers, device)

        def keep() -> dict[str, float]:
            replace_with_copy(reid.weights, job.workdir / WEIGHTS)
            write_text(job.workdir / SETTINGS, reid.config.pretty_text)
            save_embeddings(job.workdir, embeddings, labels, names)
            return reid_metrics(embeddings, labels)

        return make_record(
            self.config,
            job,
            metrics=distributed.on_first(keep),
            selection=Selection(chosen=f"epoch {reid.epochs}", by="protocol"),
            seconds=time.monotonic() - began,
            details={
                "train_persons": crops.train_ids,
                "train_crops": len(crops.train),
                "test_persons": crops.val_ids,
                "test_crops": len(crops.val),
                "persons_with_too_few_crops": crops.dropped,
                "processes": distributed.world_size(),
                "guard_difference": reid.difference,
                "engine": {version.name: version.found for version in engine.versions()},
            },
        )

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """From the saved embeddings; neither the data set nor the engine is needed."""
        return measure_saved(folder)


def mot_videos(job: Job) -> tuple[MotVideo, ...]:
    """Return the sequences of a job's data."""
    assert isinstance(job.data, VideoData)
    return cast("tuple[MotVideo, ...]", job.data.videos)


def check_reid_job(job: Job, recipe: ReidRecipe) -> list[Problem]:
    """Return what keeps a ReID network from being trained."""
    problems = []
    try:
        extras.require("mmtracking")
        find_layout("openmmlab").check(job.backbone)
        stock_path(recipe.config)
        crops_for(mot_videos(job), recipe, data_folder(job))
    except UserError as error:
        problems.append(Problem(message=str(error)))
    return problems


def data_folder(job: Job) -> Path:
    """Return where a job's data lies, for messages."""
    assert isinstance(job.data, VideoData)
    return job.data.folder
