"""Logistic regression on frozen features, as transfer to other data sets is published."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.benchmark import Benchmark, Job, Problem, make_record
from mec_transfer.classification import lbfgs
from mec_transfer.classification.config import LogisticConfig, LogisticRecipe
from mec_transfer.classification.features import (
    Features,
    check_features,
    discard_features,
    extract_features,
    feature_details,
    labelled_splits,
)
from mec_transfer.classification.predictions import PREDICTIONS_NAME, best_classes, measure_saved
from mec_transfer.common import extras
from mec_transfer.common.distributed import on_first
from mec_transfer.common.files import atomic_writer
from mec_transfer.common.progress import Meter
from mec_transfer.datasets.images.data import ImageData
from mec_transfer.datasets.values import few
from mec_transfer.results.record import Record, Selection


class Logistic(Benchmark):
    """Multinomial logistic regression on the central crop's features, which are used as they are.

    One fit for each strength of the penalty, from the weakest on, each starting from the one before it, on the
    training images less those for validation; the best there names the strength, of equal ones the weaker. The
    classifier is then fitted to all training images, again from where the last fit ended, and judged on `val`, which
    is the data set's test part. What moves the number beside these: that fits end after 100 iterations (`lbfgs.py`).
    """

    config: LogisticConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, crop, disk, scipy, and whether every class has an image to fit to."""
        problems, splits = check_features(job, self.config.recipe)
        if problem := extras.lacking("transfer"):
            problems.append(Problem(message=problem))
        if splits:
            train = splits["train"]
            fitted = set(train.labels[~_held_out(job, self.config.recipe)].tolist())
            if lost := [name for label, name in enumerate(train.classes) if label not in fitted]:
                message = (
                    f"{job.data.folder}: no training image of class {few(lost)} is left beside those for validation; "
                    "add images, or take another share with --set recipe.validation=0.1"
                )
                problems.append(Problem(message=message))
        return problems

    def run(self, job: Job) -> Record:
        """Extract what features the cache lacks, choose, fit and judge.

        Raises:
            DataError: the data set is not there, or an image of it cannot be decoded.
            RunError: the disk is full, or the backbone moved.
        """
        began = time.monotonic()
        splits = labelled_splits(job)
        features = extract_features(job, splits, self.config.recipe)
        extracted = time.monotonic()
        classes = len(splits["train"].classes)
        # One process fits for all: each fit starts from the one before it.
        metrics, search = on_first(lambda: self._fit(features["train"], features["val"], classes, job))
        discard_features(job)  # not before every process has read them
        chosen = search.chosen
        return make_record(
            self.config,
            job,
            metrics=metrics,
            selection=Selection(chosen=f"C {search.cs[chosen]:.4g}", by="held-out training images"),
            seconds=time.monotonic() - began,
            warnings=search.warnings(),
            details={
                **feature_details(features),
                "fit_seconds": round(time.monotonic() - extracted, 3),
                "C": search.cs[chosen],
                "iterations": search.final_iterations,
                "validation": [
                    {"C": c, self.config.metrics.primary: score, "iterations": iterations}
                    for c, score, iterations in zip(search.cs, search.scores, search.iterations, strict=True)
                ],
            },
        )

    def _fit(self, train: Features, val: Features, classes: int, job: Job) -> tuple[dict[str, float], _Search]:
        """Return the metrics on `val`, and how the penalty was chosen."""
        recipe, held = self.config.recipe, _held_out(job, self.config.recipe)
        order = np.concatenate([np.flatnonzero(~held), np.flatnonzero(held)])
        fitted = len(held) - int(held.sum())
        x, y = _double(train)[order], train.labels.numpy()[order]  # the images for validation last
        search = _Search(grid(recipe))
        meter = Meter(f"{self.config.id} fits", len(search.cs) + 1, "fits")
        found = None
        try:
            for c in search.cs:
                found = lbfgs.fit(x[:fitted], y[:fitted], classes, c, found, recipe.max_iterations)
                measured = measure(y[fitted:], best_classes(found.scores(x[fitted:])), classes)
                search.scores.append(measured[self.config.metrics.primary])
                search.iterations.append(found.iterations)
                meter.advance(1)
            found = lbfgs.fit(x, y, classes, search.cs[search.chosen], found, recipe.max_iterations)
            search.final_iterations = found.iterations
            meter.advance(1)
        finally:
            meter.close()
        top = best_classes(found.scores(_double(val)))
        return save(job.workdir, val.labels.numpy(), top, classes), search

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """Recompute the metrics from the predicted classes."""
        return measure_saved(
            folder, lambda saved: measure(saved["targets"], saved["top"], int(saved["classes"])), _SAVED
        )


@dataclasses.dataclass
class _Search:
    """The choice of C."""

    cs: list[float]
    scores: list[float] = dataclasses.field(default_factory=list)
    """On the validation images."""
    iterations: list[int] = dataclasses.field(default_factory=list)
    final_iterations: int = 0

    @property
    def chosen(self) -> int:
        return self.scores.index(max(self.scores))

    def warnings(self) -> list[str]:
        if 0 < self.chosen < len(self.cs) - 1:
            return []
        return [f"the best C, {self.cs[self.chosen]:.4g}, is an end of the grid: a better one may lie beyond"]


def grid(recipe: LogisticRecipe) -> list[float]:
    """Return the values of C in the order in which they are tried; their inverses are float32, as published."""
    strengths = np.logspace(recipe.first, recipe.last, recipe.penalties).astype(np.float32)
    return [1.0 / float(strength) for strength in strengths]


def validation_rows(images: int, share: float, seed: int) -> np.ndarray:
    """Return which of a data set's training images are for validation, (images,) bool, as the published script does.

    NumPy's legacy generator shuffles their places in the data set's own order; the first `share` of them, rounded down,
    are taken.
    """
    order = np.arange(images)
    np.random.RandomState(seed).shuffle(order)
    held = np.zeros(images, dtype=bool)
    held[order[: int(np.floor(share * images))]] = True
    return held


def measure(targets: np.ndarray, top: np.ndarray, classes: int) -> dict[str, float]:
    """Return `top1`, `mean_class_top1` and, with more than 5 classes, `top5`, in percent.

    Args:
        targets: (N,) true classes.
        top: (N, K) predicted classes, best first.
        classes: how many there are; the mean is over those that have images.
    """
    if len(targets) == 0 or top.ndim != 2 or len(top) != len(targets):
        raise ValueError(f"predictions of shape {top.shape} do not fit {len(targets)} targets")
    hits = top == targets[:, None]
    right = np.bincount(targets[hits[:, 0]], minlength=classes)
    present = np.bincount(targets, minlength=classes)
    seen = present > 0
    metrics = {
        "top1": 100.0 * int(right.sum()) / len(targets),
        "mean_class_top1": 100.0 * float(np.mean(right[seen] / present[seen])),
    }
    if top.shape[1] == 5:
        metrics["top5"] = 100.0 * int(hits.any(axis=1).sum()) / len(targets)
    return metrics


_SAVED = ("targets", "top", "classes")


def save(folder: Path, targets: np.ndarray, top: np.ndarray, classes: int) -> dict[str, float]:
    """Write `folder`/predictions.npz atomically and return the metrics that follow from it.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    arrays: dict[str, Any] = {
        "targets": targets.astype(np.int32),
        "top": top.astype(np.int32),
        "classes": np.array(classes),
    }
    with atomic_writer(folder / PREDICTIONS_NAME) as handle:
        np.savez_compressed(handle, **arrays)
    return measure(targets, top, classes)


def _held_out(job: Job, recipe: LogisticRecipe) -> np.ndarray:
    assert isinstance(job.data, ImageData)
    if job.data.held_out is not None:
        return job.data.held_out
    return validation_rows(job.data.splits["train"], recipe.validation, recipe.validation_seed)


def _double(features: Features) -> np.ndarray:
    """Return features as (N, D) float64."""
    return features.values[:].numpy().astype(np.float64)
