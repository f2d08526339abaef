"""Logistic regression on frozen features, as transfer to other data sets is published."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

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
from mec_transfer.classification.predictions import best_classes
from mec_transfer.common import extras
from mec_transfer.common.arrays import PREDICTIONS_NAME, kept_arrays, measure_saved, save_arrays
from mec_transfer.common.distributed import on_first
from mec_transfer.common.progress import Meter
from mec_transfer.common.runtime import pick_device, versions
from mec_transfer.datasets.images.data import ImageData
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.values import few
from mec_transfer.results.record import Record, Selection

_FITS = "fits.npz"
"""What is done, for as long as the job is not."""


class Logistic(Benchmark):
    """Multinomial logistic regression on the central crop's features, which are used as they are.

    One fit for each strength of the penalty, from the weakest on, each starting from the one before it, on the
    training images less those for validation; the best there names the strength, of equal ones the weaker. The
    classifier is then fitted to all training images, again from where the last fit ended, and judged on `val`, which
    is the data set's test part. Where an image may have any number of classes, each class has a fit of its own, of two
    classes (it is there, or not), that starts from the fit of the class before it, as published. What moves the number
    beside these: that fits end after 100 iterations (`lbfgs.py`).
    """

    config: LogisticConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, crop, disk, scipy, whether the metric fits the data, and each class can be fitted and judged."""
        problems, splits = check_features(job, self.config.recipe, labelled_splits)
        if problem := extras.lacking("transfer"):
            problems.append(Problem(message=problem))
        if splits:
            problems += [Problem(message=message) for message in self._unfit(job, splits)]
        return problems

    def _unfit(self, job: Job, splits: Mapping[str, ImageList]) -> Iterator[str]:
        """Yield what keeps the classes from being fitted and judged."""
        held, classes = _held_out(job, self.config.recipe), splits["train"].classes
        if not held.any():
            share = f"{self.config.recipe.validation:g} of {len(held)} training images"
            yield f"{job.data.folder}: {share} is none for validation; set a larger recipe.validation"
            return
        train, val = (_targets(splits[split].labels) for split in ("train", "val"))
        primary = self.config.metrics.primary
        if (train.ndim == 2) != (primary == "mAP11"):
            several = "any number of classes" if train.ndim == 2 else "one class"
            yield f"metrics.primary: '{primary}' is not for images with {several} each"
            return
        there = [_present(train[~held], len(classes)), _present(train[held], len(classes)), _present(val, len(classes))]
        parts = [
            ("training images that are not for validation", there[0]),
            ("images for validation", there[1]),
            ("images of 'val'", there[2]),
        ]
        for what, present in parts if train.ndim == 2 else parts[:1]:
            if lost := [name for name, is_there in zip(classes, present, strict=True) if not is_there]:
                yield (
                    f"{job.data.folder}: none of the {what} is of class {few(lost)}; add one, or take "
                    "another share for validation with --set recipe.validation=0.1"
                )

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
        classes = splits["train"].classes
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

    def _fit(
        self, train: Features, val: Features, classes: Sequence[str], job: Job
    ) -> tuple[dict[str, float], _Search]:
        """Return the metrics on `val`, and how the penalty was chosen; go on after the last C of an earlier attempt."""
        recipe, held = self.config.recipe, _held_out(job, self.config.recipe)
        order = np.concatenate([np.flatnonzero(~held), np.flatnonzero(held)])
        fitted = len(held) - int(held.sum())
        x, y = _double(train)[order], _targets(train.labels.numpy())[order]  # the images for validation last
        rows = torch.from_numpy(x).to(pick_device(job.device))
        search = _Search(grid(recipe))
        kept = _Kept(job.workdir / _FITS, x, y, len(classes) if y.ndim == 1 else 2, search.cs, recipe.max_iterations)
        fits = kept.load(search)
        meter = Meter(f"{self.config.id} fits", len(search.cs) + 1, "fits", start=len(search.scores))
        try:
            for c in search.cs[len(search.scores) :]:
                fits = fit_all(rows[:fitted], y[:fitted], len(classes), c, fits, recipe.max_iterations)
                measured = measure(_predict(fits, x[fitted:], y[fitted:], classes))
                search.scores.append(measured[self.config.metrics.primary])
                search.iterations.append(max(found.iterations for found in fits))
                kept.save(search, fits[-1])
                meter.advance(1)
            fits = fit_all(rows, y, len(classes), search.cs[search.chosen], fits, recipe.max_iterations)
            search.final_iterations = max(found.iterations for found in fits)
            meter.advance(1)
        finally:
            meter.close()
        return save(job.workdir, _predict(fits, _double(val), _targets(val.labels.numpy()), classes)), search

    def finished(self, job: Job) -> None:
        """Remove what each C left for resuming."""
        (job.workdir / _FITS).unlink(missing_ok=True)

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """Recompute the metrics from the predicted classes or scores."""
        return measure_saved(folder, measure, ("targets", "classes"))


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


class _Kept:
    """What it takes to go on after a C: the scores so far, and the fit that the next one starts from, bit for bit."""

    def __init__(
        self, path: Path, x: np.ndarray, y: np.ndarray, classes: int, cs: Sequence[float], max_iterations: int
    ) -> None:
        """Take what the fits depend on: with anything else, what lies in `path` does not count."""
        self.path = path
        self._shapes = {
            "key": (),
            "done": (),
            "scores": (len(cs),),
            "iterations": (len(cs),),
            "weights": (classes, x.shape[1] + 1),
        }
        digest = hashlib.sha256(f"{x.shape} {y.shape} {list(cs)} {max_iterations} {versions()}".encode())
        digest.update(x.data)
        digest.update(y.data)
        self._key = digest.hexdigest()

    def load(self, search: _Search) -> list[lbfgs.Fit]:
        """Fill `search` with what is done; return the last fit, or nothing."""
        kept = kept_arrays(self.path, self._shapes)
        if kept is None or str(kept["key"]) != self._key:
            return []
        done = int(kept["done"])
        search.scores, search.iterations = kept["scores"][:done].tolist(), kept["iterations"][:done].tolist()
        return [lbfgs.Fit(kept["weights"], search.iterations[-1])]

    def save(self, search: _Search, last: lbfgs.Fit) -> None:
        """Write the file anew. Raises RunError where the disk is full."""
        done = len(search.scores)
        scores, iterations = np.zeros(self._shapes["scores"]), np.zeros(self._shapes["iterations"], dtype=np.int64)
        scores[:done], iterations[:done] = search.scores, search.iterations
        arrays = {"scores": scores, "iterations": iterations, "weights": last.weights}
        save_arrays(self.path, key=np.array(self._key), done=np.array(done), **arrays)


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


def measure(predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the metrics, in percent, of what `predictions.npz` holds.

    One class an image: `top1`, `mean_class_top1` (over the classes that have images) and, with more than 5 classes,
    `top5`, of `targets` (N,) and the predicted classes `top` (N, 1 or 5), best first. Any number of classes an image:
    `mAP11` and each class's `AP11/CLASS` of `targets` (N, K) bool and `scores` (N, K). `classes` (K,) are the names.
    """
    targets, names = predictions["targets"], predictions["classes"]
    found = predictions["top" if targets.ndim == 1 else "scores"]
    if len(targets) == 0 or found.ndim != 2 or len(found) != len(targets):
        raise ValueError(f"predictions of shape {found.shape} do not fit {len(targets)} targets")
    if targets.ndim == 2:
        precisions = [100.0 * average_precision(*columns) for columns in zip(targets.T, found.T, strict=True)]
        by_class = {f"AP11/{name}": value for name, value in zip(names.tolist(), precisions, strict=True)}
        return {"mAP11": float(np.mean(precisions)), **by_class}
    hits = found == targets[:, None]
    right = np.bincount(targets[hits[:, 0]], minlength=len(names))
    present = np.bincount(targets, minlength=len(names))
    seen = present > 0
    metrics = {
        "top1": 100.0 * int(right.sum()) / len(targets),
        "mean_class_top1": 100.0 * float(np.mean(right[seen] / present[seen])),
    }
    if found.shape[1] == 5:
        metrics["top5"] = 100.0 * int(hits.any(axis=1).sum()) / len(targets)
    return metrics


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return VOC 2007's average precision, 0 to 1, on the curve that the published script takes from scikit-learn.

    The curve has a point for each score that occurs, and one of precision 1 at recall 0, so that the first of the
    eleven points always counts in full. `truth` (N,) bool holds at least one True; `scores` is (N,).
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of those with one score
    found = np.cumsum(truth[order])[last]
    precision, recall = np.append(found / (last + 1), 1.0), np.append(found / found[-1], 0.0)
    return float(np.mean([precision[recall >= point].max() for point in np.linspace(0, 1, 11)]))


def save(folder: Path, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Write `folder`/predictions.npz atomically and return the metrics that follow from it.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    save_arrays(folder / PREDICTIONS_NAME, **predictions)
    return measure(predictions)


def fit_all(
    x: torch.Tensor, y: np.ndarray, classes: int, c: float, before: Sequence[lbfgs.Fit], limit: int
) -> list[lbfgs.Fit]:
    """Return one classifier for all classes, or one each where `y` is (N, K); `before` are those of the last C."""
    start = before[-1] if before else None
    if y.ndim == 1:
        return [lbfgs.fit(x, y, classes, c, start, limit)]
    fits = []
    for column in y.T:
        start = lbfgs.fit(x, column.astype(np.int64), 2, c, start, limit)
        fits.append(start)
    return fits


def _predict(
    fits: Sequence[lbfgs.Fit], x: np.ndarray, targets: np.ndarray, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return what `measure` takes."""
    about = {"targets": targets, "classes": np.array(classes)}
    if targets.ndim == 2:
        return about | {"scores": np.stack([found.scores(x)[:, 1] for found in fits], axis=1)}
    return about | {"top": best_classes(fits[0].scores(x)).astype(np.int32)}


def _targets(labels: np.ndarray) -> np.ndarray:
    """Return the class of each image, (N,) int64, or its classes, (N, K) bool.

    What a label says does not count, such as VOC's difficult objects, is taken as no, as the published script does.
    """
    return labels if labels.ndim == 1 else labels == 1


def _present(targets: np.ndarray, classes: int) -> np.ndarray:
    """Return which classes have an image."""
    counts: np.ndarray = targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets, minlength=classes)
    return counts > 0


def _held_out(job: Job, recipe: LogisticRecipe) -> np.ndarray:
    assert isinstance(job.data, ImageData)
    if job.data.held_out is not None:
        return job.data.held_out
    return validation_rows(job.data.splits["train"], recipe.validation, recipe.validation_seed)


def _double(features: Features) -> np.ndarray:
    """Return features as (N, D) float64."""
    return features.values[:].numpy().astype(np.float64)
