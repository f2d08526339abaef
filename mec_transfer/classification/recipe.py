"""What the training recipes have in common: their keys, the checks of a job, and the record at the end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from mec_transfer.benchmark import BenchmarkConfig, Job, MetricsConfig, Problem, make_record
from mec_transfer.classification.batches import BatchPlan
from mec_transfer.classification.loading import load_batches
from mec_transfer.classification.optim import ScheduleConfig
from mec_transfer.classification.predictions import check_primary, save_predictions
from mec_transfer.classification.training_state import TrainingState
from mec_transfer.classification.transforms import ViewConfig, eval_transform
from mec_transfer.common.config import StrictModel
from mec_transfer.common.distributed import on_first, world_size
from mec_transfer.common.errors import UserError
from mec_transfer.common.runtime import pick_device
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.results.record import DatasetInfo, Record, Selection

_TAGS = ("best", "last")


class TrainingRecipe(StrictModel):
    """The keys of every recipe that trains by epochs."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Images a step, over all processes."""
    replicas: int = Field(ge=1)
    """Equal shares of a batch: the processes of the published run, whatever their number is here."""
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    schedule: ScheduleConfig
    head_std: float | None = Field(gt=0)
    """The linear classifier starts as N(0, head_std) with bias 0; null for torch.nn.Linear's own start."""
    mixed_precision: bool
    """bfloat16 for the backbone on a GPU that has it; the head, and everything on a CPU, is float32.

    False, as published: float32 throughout, without TensorFloat-32.
    """
    train_crop: int = Field(ge=1)
    """Pixels of the random resized crop (torchvision's default scale and ratio), followed by a random flip."""
    eval_view: ViewConfig

    @model_validator(mode="after")
    def _even_shares(self) -> TrainingRecipe:
        if self.batch % self.replicas:
            raise ValueError(f"'batch' ({self.batch}) must be a multiple of 'replicas' ({self.replicas})")
        return self


def check_training(
    plan: BatchPlan, val: ImageList, recipe: TrainingRecipe, metrics: MetricsConfig, job: Job, trained: int
) -> list[Problem]:
    """Return what is wrong with a training job.

    Args:
        plan: how the training images are cut.
        val: the val images.
        recipe: of the job.
        metrics: of the benchmark.
        job: the job.
        trained: how many numbers are trained; their state takes 8 bytes each, twice while it is replaced.
    """
    problems = check_primary(metrics, _TAGS)
    if plan.smallest_group * (plan.world if plan.joint else 1) < 2:
        problems.append(
            Problem(
                message=f"{plan.images} training images in batches of {plan.batch} leave a last group of one, whose "
                "batch statistics are undefined; override recipe.batch or recipe.replicas"
            )
        )
    try:
        next(load_batches(val, eval_transform(recipe.eval_view), [range(1)], 0, pick_device("cpu")))
    except UserError as error:
        problems.append(Problem(message=str(error)))
    needed, folder = 16 * trained + (1 << 20), _existing(job.workdir)
    free = shutil.disk_usage(folder).free
    if free < needed:
        problems.append(
            Problem(
                message=f"{folder}: {free / 2**20:.1f} MiB free, {needed / 2**20:.1f} MiB needed for the training state"
            )
        )
    return problems


def finish(
    config: BenchmarkConfig,
    job: Job,
    state: TrainingState,
    targets: np.ndarray,
    *,
    dataset: DatasetInfo | None = None,
    details: dict[str, Any],
) -> Record:
    """Save the predictions of a finished training and return its record.

    The number is the best epoch's by the val set itself, as all the published scripts report it, and is marked
    so; the last epoch's stands beside it.
    """
    assert state.best is not None and state.last is not None  # of a finished training
    top = dict(zip(_TAGS, (state.best, state.last), strict=True))
    return make_record(
        config,
        job,
        metrics=on_first(lambda: save_predictions(job.workdir, targets, top, primary="best")),
        selection=Selection(chosen=f"epoch {state.best_epoch} of {state.epoch}", by="test set"),
        seconds=state.seconds,
        details={"epochs": state.history, "processes": world_size(), **details},
        dataset=dataset,
    )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
