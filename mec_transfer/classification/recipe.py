"""What the training recipes have in common: their keys, the checks of a job, and the record at the end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mec_transfer.benchmark import BenchmarkConfig, Job, MetricsConfig, Problem, make_record
from mec_transfer.classification.batches import BatchPlan
from mec_transfer.classification.config import TrainingRecipe
from mec_transfer.classification.loading import load_batches
from mec_transfer.classification.predictions import check_primary, save_predictions
from mec_transfer.classification.resources import training_bytes
from mec_transfer.classification.training_state import TrainingState
from mec_transfer.classification.transforms import eval_transform, remark_on_size
from mec_transfer.common.distributed import on_first, world_size
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import short_of_room
from mec_transfer.common.runtime import pick_device
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.results.record import DatasetInfo, Record, Selection

_TAGS = ("best", "last")


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
        trained: how many numbers are trained.
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
        if remark := remark_on_size(val, recipe.eval_view):
            problems.append(Problem(message=remark, severity="warning"))
    except UserError as error:
        problems.append(Problem(message=str(error)))
    if short := short_of_room(job.workdir, training_bytes(trained)):
        problems.append(Problem(message=f"{short} for the training state"))
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
        warnings=_warnings(state, job.dataset.classes),
        details={"epochs": state.history, "processes": world_size(), **details},
        dataset=dataset,
    )


def _warnings(state: TrainingState, classes: int | None) -> list[str]:
    """Say so where a training ended above where it began, by the loss of a guess that takes all classes for alike."""
    loss, guess = state.history[-1]["loss"], math.log(classes or 1)
    if loss <= guess:
        return []
    return [
        f"the training learned nothing in the end: its loss is {loss:.2f}, and that of a guess between "
        f"{classes} classes {guess:.2f}; lower learning rates may help"
    ]
