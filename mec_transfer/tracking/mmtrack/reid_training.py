"""The ReID network of a job, trained: by this job, or by another of the run that wants the same one.

Imported after `engine.load()` only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from mmcv import Config
from mmtrack.models.reid import BaseReID

from mec_transfer.benchmark import Job
from mec_transfer.common.progress import say
from mec_transfer.common.runtime import derive_seed, seed_everything
from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.tracking.mmtrack.batches import Schedule
from mec_transfer.tracking.mmtrack.reid_config import ReidRecipe
from mec_transfer.tracking.mmtrack.reid_crops import ReidCrops, crops_fingerprint
from mec_transfer.tracking.mmtrack.reid_data import training_set
from mec_transfer.tracking.mmtrack.reid_network import build_network, check_reid, read_reid_config
from mec_transfer.tracking.mmtrack.reid_store import CropStore, open_crops
from mec_transfer.tracking.mmtrack.trained import train_once
from mec_transfer.tracking.mmtrack.training import load_weights, weights_path


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedReid:
    """A ReID network with the weights of its last epoch."""

    network: BaseReID
    config: Config
    store: CropStore
    epochs: int
    weights: Path
    """As MMTracking loads them."""
    difference: float
    """The guard's, before step 0."""


def trained_reid(
    recipe: ReidRecipe, job: Job, videos: Sequence[MotVideo], crops: ReidCrops, device: torch.device
) -> TrainedReid:
    """Train the network of `recipe` on `crops` of `videos`, from where an attempt stopped, or take what is there.

    Raises:
        ConfigError: the stock config does not fit the checkpoint.
        DataError: a frame or a crop cannot be read.
        RunError: the network in memory is not the checkpoint's, the loss is not finite, or the disk is full.
        Interrupted: a signal came; the state is saved.
    """
    config = read_reid_config(recipe, job.backbone, crops.train_ids)
    store = open_crops((job.cache or job.workdir) / "crops", videos, crops, recipe.crops)
    samples = config.data.get("samples_per_epoch", len(crops.train))
    schedule = Schedule(
        samples=samples, batch=config.data.samples_per_gpu, processes=recipe.processes, epochs=config.total_epochs
    )
    seed_everything(derive_seed(job.seed, "init"))
    network = build_network(config, job.backbone, device)
    difference = check_reid(network, config, job.backbone)
    say(f"the ReID network's backbone is the checkpoint's: every tensor, and its features to {difference:.1g}")
    folder = train_once(
        network,
        config,
        partial(training_set, config, store),
        schedule,
        job,
        keep=[config.total_epochs],
        device=device,
        data=[crops_fingerprint(videos), recipe.crops.model_dump(mode="json")],
        shuffled=True,
    )
    load_weights(network, folder, config.total_epochs)
    return TrainedReid(
        network=network,
        config=config,
        store=store,
        epochs=config.total_epochs,
        weights=weights_path(folder, config.total_epochs),
        difference=difference,
    )
