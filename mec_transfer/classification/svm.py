"""VOC07 classification by linear SVMs on frozen features, by VISSL's protocol."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from mec_transfer.benchmark import Benchmark, Job, Problem, make_record, primary_problems
from mec_transfer.classification.config import LowShotConfig, MachineRecipe, SvmConfig
from mec_transfer.classification.features import (
    Features,
    check_features,
    discard_features,
    extract_features,
    feature_details,
    labelled_splits,
)
from mec_transfer.classification.multilabel import measure_scores, save_scores
from mec_transfer.classification.svm_solver import ClassSvm, fit_class, unit_length
from mec_transfer.common import extras
from mec_transfer.common.arrays import kept_arrays, measure_saved, save_arrays
from mec_transfer.common.distributed import on_first
from mec_transfer.common.progress import Meter
from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.voc_labels import VocLabels
from mec_transfer.datasets.loading import Loader
from mec_transfer.results.record import Record, Selection

T = TypeVar("T")
Fitted = tuple[dict[str, float], dict[str, Any], list[str]]
"""Metrics, details and warnings."""
Fit = Callable[[dict[str, Features], dict[str, ImageList], Job], Fitted]
_CLASSES = "classes"
"""The folder of what is done, a file a class, for as long as the job is not."""


class Svm(Benchmark):
    """A linear SVM for each class, on features of length 1; the number is the mean of the classes' average precisions.

    What moves it: the features (the whole image squeezed into a square, the network's pooled output), the grid of
    costs, of which each class takes its own by 3-fold cross validation on the training images, the weight of 2 for
    images of the class, the solver's limit of 2,000 passes, and that average precision is interpolated.
    """

    config: SvmConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, crop, disk, scikit-learn, and whether every class has images to learn and to be measured on."""
        problems, splits = check_machines(job, self.config.recipe)
        if splits:
            problems += _class_problems(splits["train"], splits["test"], self.config.recipe.folds)
            measured = ["mAP", *(f"AP/{name}" for name in splits["test"].classes)]
            problems += primary_problems(self.config, measured)
        return problems

    def run(self, job: Job) -> Record:
        """Extract what features the cache lacks, fit a class after the other, and measure.

        Raises:
            DataError: the data set is not there, or an image of it cannot be decoded.
            RunError: the disk is full, or the backbone moved.
        """
        chosen = f"each class's C, {self.config.recipe.folds}-fold cross validation"
        return run_machines(self.config, job, self._fit, Selection(chosen=chosen, by="held-out training images"))

    def finished(self, job: Job) -> None:
        """Remove what each class left for resuming."""
        shutil.rmtree(job.workdir / _CLASSES, ignore_errors=True)

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """Recompute every class's average precision and their mean from the saved scores."""
        return measure_saved(folder, measure_scores)

    def _fit(self, features: dict[str, Features], splits: dict[str, ImageList], job: Job) -> Fitted:
        train, test = splits["train"], splits["test"]
        task = _Classes(self.config, features["train"], features["test"], derive_seed(job.seed, job.trial, "svm"))
        numbers, costs = range(len(train.classes)), len(self.config.recipe.costs)
        kept = {number: svm for number in numbers if (svm := _load(job.workdir, number, costs, len(test)))}
        meter = Meter(f"{self.config.id} SVMs", len(numbers), "classes", start=len(kept))
        svms = fit_missing(task, kept, meter, job.workers, lambda number, svm: _save(job.workdir, number, svm))
        metrics = save_scores(job.workdir, test, np.stack([svm.scores for svm in svms], axis=1))
        details = {
            "costs": {name: svm.cost for name, svm in zip(train.classes, svms)},
            "cross_validated_ap": {
                name: [round(100.0 * float(ap), 3) for ap in svm.cross_validated]
                for name, svm in zip(train.classes, svms)
            },
        }
        return metrics, details, _warnings(self.config, train.classes, svms)


def run_machines(config: SvmConfig | LowShotConfig, job: Job, fit: Fit, selection: Selection) -> Record:
    """Extract what features the cache lacks, `fit` on them, and return the record. Raises as `Benchmark.run` does."""
    began, splits = time.monotonic(), labelled_splits(job)
    features = extract_features(job, splits, config.recipe)
    extracted = time.monotonic()
    # The solver is a matter of minutes and of one machine's cores: rank 0 does it for all.
    metrics, details, warnings = on_first(lambda: fit(features, splits, job))
    discard_features(job)
    assert isinstance(job.data, VocLabels)
    return make_record(
        config,
        job,
        metrics=metrics,
        selection=selection,
        seconds=time.monotonic() - began,
        warnings=warnings,
        details={
            **feature_details(features),
            "svm_seconds": round(time.monotonic() - extracted, 3),
            "labels_from": job.data.labels_from,
            **details,
        },
    )


def fit_missing(
    task: torch.utils.data.Dataset[T], kept: Mapping[int, T], meter: Meter, workers: int, save: Callable[[int, T], None]
) -> list[T]:
    """Return every item of `task`: those that an interrupted job has `kept`, and the others, each saved when done.

    An item in each process: the solver draws from one generator a process, so that threads would disturb it.
    """
    done = dict(kept)
    todo = [number for number in range(meter.total) if number not in done]
    loader: Loader[T] = Loader(torch.utils.data.Subset(task, todo), min(workers, len(todo)), batch_size=None)
    with contextlib.closing(meter):
        for number, item in zip(todo, loader, strict=True):
            save(number, item)
            done[number] = item
            meter.advance()
    return [done[number] for number in range(meter.total)]


def check_machines(job: Job, recipe: MachineRecipe) -> tuple[list[Problem], dict[str, ImageList]]:
    """Return what keeps SVMs from being fitted whatever they learn from, and the splits where they are sound."""
    if lacking := extras.lacking(SvmConfig.extra):
        return [Problem(message=lacking)], {}
    problems, splits = check_features(job, recipe, labelled_splits)
    if splits and (missing := {"train", "test"} - set(splits)):
        return [*problems, Problem(message=f"dataset.splits: '{min(missing)}' is missing")], {}
    return problems, splits


class _Classes(torch.utils.data.Dataset[ClassSvm]):
    """Item i is the SVM of class i."""

    def __init__(self, config: SvmConfig, train: Features, test: Features, seed: int) -> None:
        self.recipe, self.seed = config.recipe, seed % 2**32
        self.labels = train.labels.numpy()
        self.train, self.test = (unit_length(part.values[:].numpy()) for part in (train, test))

    def __getitem__(self, number: int) -> ClassSvm:
        return fit_class(self.train, self.labels[:, number], self.test, self.recipe, self.seed)


def _class_problems(train: ImageList, test: ImageList, folds: int) -> list[Problem]:
    """Return which classes cannot be told apart from the rest, or only in some of the folds."""
    problems = []
    for number, name in enumerate(train.classes):
        positive = int((train.labels[:, number] == 1).sum())
        for count, what in ((positive, "with"), (len(train) - positive, "without")):
            text = f"{train.root}: {count} training images {what} '{name}'"
            if count < 2:
                problems.append(Problem(message=f"{text}; at least two are needed, and {folds} for sound folds"))
            elif count < folds:
                problems.append(Problem(message=f"{text}: not one for each of {folds} folds", severity="warning"))
        if folds > (most := max(positive, len(train) - positive)):
            text = f"{train.root}: at most {most} folds can be made of the training images with and without '{name}'"
            problems.append(Problem(message=f"{text}; lower recipe.folds ({folds})"))
        if not (test.labels[:, number] == 1).any():
            problems.append(Problem(message=f"{test.root}: no test image with '{name}', so that it has no precision"))
    return problems


def _warnings(config: SvmConfig, classes: tuple[str, ...], svms: list[ClassSvm]) -> list[str]:
    found = []
    if unfinished := [name for name, svm in zip(classes, svms) if not svm.converged]:
        found.append(f"the solver reached its {config.recipe.max_iter} passes for {', '.join(unfinished)}")
    costs = config.recipe.costs
    ends = Counter(svm.cost for svm in svms if len(costs) > 1 and svm.cost in (min(costs), max(costs)))
    found += [
        f"the best cost of {count} of {len(svms)} classes, {cost:g}, is an end of the grid: a better one may lie beyond"
        for cost, count in sorted(ends.items())
    ]
    return found


def _save(folder: Path, number: int, svm: ClassSvm) -> None:
    save_arrays(_file(folder, number), **{name: np.asarray(value) for name, value in vars(svm).items()})


def _load(folder: Path, number: int, costs: int, images: int) -> ClassSvm | None:
    """Return what an earlier attempt left of a class; None where that has to be computed."""
    shapes = {"cross_validated": (costs,), "cost": (), "scores": (images,), "converged": ()}
    kept = kept_arrays(_file(folder, number), shapes)
    if kept is None:
        return None
    return ClassSvm(
        cross_validated=kept["cross_validated"],
        cost=float(kept["cost"]),
        scores=kept["scores"],
        converged=bool(kept["converged"]),
    )


def _file(folder: Path, number: int) -> Path:
    return folder / _CLASSES / f"{number:03d}.npz"
