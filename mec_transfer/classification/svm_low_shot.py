"""VOC07 classification by linear SVMs that learn from a few photos of each class, by VISSL's protocol."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import torch

from mec_transfer.benchmark import Benchmark, Job, Problem, primary_problems
from mec_transfer.classification.config import LowShotConfig, LowShotRecipe
from mec_transfer.classification.features import (
    Features,
)
from mec_transfer.classification.multilabel import average_precision
from mec_transfer.classification.svm import Fitted, check_machines, fit_missing, run_machines
from mec_transfer.classification.svm_solver import make_machine, unit_length
from mec_transfer.common.arrays import PREDICTIONS_NAME, Arrays, kept_arrays, measure_saved, save_arrays
from mec_transfer.common.progress import Meter
from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.results.record import Record, Selection

_SAMPLES = "samples"
"""The folder of what is done, a file for each k and sample, for as long as the job is not."""


class SvmLowShot(Benchmark):
    """A linear SVM for each class on k photos with it and k times as many without it as there are other classes.

    What moves the number: what moves the one of all photos (`Svm`), k, and that one cost is chosen for all classes and
    samples of a k, on the test images.
    """

    config: LowShotConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, crop, disk, scikit-learn, and whether every class has as many photos as the largest k asks for."""
        problems, splits = check_machines(job, self.config.recipe)
        if splits:
            problems += _sample_problems(splits["train"], max(self.config.recipe.ks))
            problems += primary_problems(self.config, [f"mAP_k{k}" for k in self.config.recipe.ks])
        return problems

    def run(self, job: Job) -> Record:
        """Extract what features the cache lacks, fit a sample after the other, and measure.

        Raises:
            DataError: the data set is not there, or an image of it cannot be decoded.
            RunError: the disk is full, or the backbone moved.
        """
        return run_machines(self.config, job, self._fit, Selection(chosen="a C for each k", by="test set"))

    def finished(self, job: Job) -> None:
        """Remove what each sample left for resuming."""
        shutil.rmtree(job.workdir / _SAMPLES, ignore_errors=True)

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """Recompute each k's mean of the classes' and samples' average precisions from the saved scores."""
        return measure_saved(folder, _measure)

    def _fit(self, features: dict[str, Features], splits: dict[str, ImageList], job: Job) -> Fitted:
        recipe, test = self.config.recipe, splits["test"]
        samples = _Samples(recipe, features, derive_seed(job.seed, job.trial, "low-shot"))
        shape = len(recipe.costs), len(test.classes)
        saved = {number: kept_arrays(_file(job.workdir, number), {"ap": shape}) for number in range(len(samples))}
        kept = {number: arrays["ap"] for number, arrays in saved.items() if arrays}
        meter = Meter(f"{self.config.id} SVMs", len(samples), "samples", start=len(kept))

        def save(number: int, ap: np.ndarray) -> None:
            save_arrays(_file(job.workdir, number), ap=ap)

        fitted: list[np.ndarray] = fit_missing(samples, kept, meter, job.workers, save)
        found = np.stack(fitted)
        by_cost = found.reshape(len(recipe.ks), recipe.samples, *shape).mean(axis=3)  # (k, sample, cost)
        best = by_cost.mean(axis=1).argmax(axis=1)
        # The scores of one cost alone are kept: its machines are fitted once more, to the same numbers.
        scores = np.stack(
            [
                np.stack(
                    [samples.scores(place * recipe.samples + sample, int(cost)) for sample in range(recipe.samples)]
                )
                for place, cost in enumerate(best)
            ]
        )
        arrays = {"labels": test.labels.astype(np.int8), "scores": scores, "ks": np.array(recipe.ks)}
        save_arrays(
            job.workdir / PREDICTIONS_NAME, **arrays, classes=np.array(test.classes), images=np.array(test.paths)
        )
        percent = 100.0 * by_cost
        details = {
            f"k{k}": {
                "cost": recipe.costs[cost],
                "samples": [round(float(value), 3) for value in percent[place, :, cost]],
                "mean_of_each_cost": [round(float(value), 3) for value in percent[place].mean(axis=0)],
            }
            for place, (k, cost) in enumerate(zip(recipe.ks, best))
        }
        return _measure(arrays), details, []


def draw_sample(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Draw k photos with each class, and k times as many without it as there are other classes.

    Args:
        labels: (N, C) 1, 0 or -1.
        k: how many.
        seed: of the draw.

    Returns:
        (N, C) as `labels` for what was drawn for a class, -1 for the rest.
    """
    rng = np.random.default_rng(seed)
    drawn = np.full_like(labels, -1)
    for label, count in ((1, k), (0, (labels.shape[1] - 1) * k)):
        for number in range(labels.shape[1]):
            rows = rng.choice(np.flatnonzero(labels[:, number] == label), count, replace=False)
            drawn[rows, number] = label
    return drawn


class _Samples(torch.utils.data.Dataset[np.ndarray]):
    """Item i is the average precision (costs, C), in [0, 1], of one k and sample: the samples of a k lie together."""

    def __init__(self, recipe: LowShotRecipe, features: dict[str, Features], seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.labels = {split: features[split].labels.numpy() for split in ("train", "test")}
        self.values = {split: unit_length(features[split].values[:].numpy()) for split in ("train", "test")}

    def __len__(self) -> int:
        return len(self.recipe.ks) * self.recipe.samples

    def __getitem__(self, number: int) -> np.ndarray:
        scores = [self.scores(number, cost) for cost in range(len(self.recipe.costs))]
        return np.array([_of_classes(self.labels["test"], of_cost) for of_cost in scores])

    def scores(self, number: int, cost: int) -> np.ndarray:
        """Return the decision functions (M, C) on the test images at a cost, given by its place."""
        k, sample = self.recipe.ks[number // self.recipe.samples], number % self.recipe.samples
        drawn = draw_sample(self.labels["train"], k, derive_seed(self.seed, k, sample))
        columns = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # at high costs the solver reaches its number of passes
            for label in drawn.T:
                rows = label != -1
                machine = make_machine(self.recipe, self.recipe.costs[cost], self.seed % 2**32)
                machine.fit(self.values["train"][rows], np.where(label[rows] == 1, 1, -1))
                columns.append(machine.decision_function(self.values["test"]))
        return np.stack(columns, axis=1)


def _measure(saved: Arrays) -> dict[str, float]:
    """Return `mAP_k<k>` in percent, of labels (M, C) and scores (k, sample, M, C). Raises ValueError."""
    labels, scores, ks = saved["labels"], saved["scores"], saved["ks"].tolist()
    if scores.ndim != 4 or scores.shape[0] != len(ks) or scores.shape[2:] != labels.shape:
        raise ValueError(f"scores {scores.shape} do not fit labels {labels.shape} and {len(ks)} k")
    found = [[_of_classes(labels, one) for one in of_k] for of_k in scores]
    return {f"mAP_k{k}": 100.0 * float(np.mean(of_k)) for k, of_k in zip(ks, found)}


def _of_classes(labels: np.ndarray, scores: np.ndarray) -> list[float]:
    return [average_precision(label, score) for label, score in zip(labels.T, scores.T, strict=True)]


def _sample_problems(train: ImageList, k: int) -> list[Problem]:
    """Return which classes have too few photos to draw from."""
    problems, others = [], len(train.classes) - 1
    if not others:
        return [Problem(message=f"{train.root}: only one class; photos without it are drawn for each other class")]
    for number, name in enumerate(train.classes):
        for label, count, what in ((1, k, "with"), (0, others * k, "without")):
            found = int((train.labels[:, number] == label).sum())
            if found < count:
                text = f"{train.root}: {found} training images {what} '{name}', {count} are drawn at k {k}"
                problems.append(Problem(message=f"{text}; lower recipe.ks"))
    return problems


def _file(folder: Path, number: int) -> Path:
    return folder / _SAMPLES / f"{number:03d}.npz"
