"""One class's linear SVM by the steps of VISSL: a cost chosen by cross validation, then one fit on all images."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from mec_transfer.classification.config import MachineRecipe, SvmRecipe

_NORM_EPS = 1e-5
"""VISSL adds it to the length by which a feature is divided."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClassSvm:
    """What became of one class."""

    cross_validated: np.ndarray
    """(costs,) average precision in [0, 1], the mean over the folds."""
    cost: float
    """The chosen one."""
    scores: np.ndarray
    """(N,) float64 of the test images: the decision function."""
    converged: bool
    """Whether the last fit ended by its tolerance and not by its number of passes."""


def unit_length(features: np.ndarray) -> np.ndarray:
    """Return (N, D) features in float64, each divided by its length and a little."""
    values = features.astype(np.float64)
    return values / (np.linalg.norm(values, axis=1) + _NORM_EPS)[:, None]


def fit_class(train: np.ndarray, labels: np.ndarray, test: np.ndarray, recipe: SvmRecipe, seed: int) -> ClassSvm:
    """Choose a cost on the training images, fit on all of them, and score the test images.

    Folds are stratified and not shuffled, and their score is scikit-learn's average precision, which is not
    interpolated. An image whose label does not count (-1) is a negative one here, as in VISSL.

    Args:
        train: (N, D) features of length 1.
        labels: (N,) 1, 0 or -1.
        test: (M, D) features of length 1.
        recipe: the benchmark's.
        seed: of the order in which the solver visits the images. Its stopping rule leaves a trace of that order.
    """
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import StratifiedKFold

    targets = np.where(labels == 1, 1, -1)
    found = np.zeros((len(recipe.costs), recipe.folds))
    with warnings.catch_warnings():
        # Fits that stop by their number of passes, and folds without an image of the class, are told by the caller.
        warnings.simplefilter("ignore")
        folds = list(StratifiedKFold(recipe.folds).split(train, targets))
        for fold, (kept, held) in enumerate(folds):
            part, rest = train[kept], train[held]
            for number, cost in enumerate(recipe.costs):
                machine = make_machine(recipe, cost, seed).fit(part, targets[kept])
                found[number, fold] = average_precision_score(targets[held], machine.decision_function(rest))
        means = found.mean(axis=1)
        cost = recipe.costs[int(np.argmax(means))]
        machine = make_machine(recipe, cost, seed).fit(train, targets)
    return ClassSvm(
        cross_validated=means,
        cost=cost,
        scores=machine.decision_function(test),
        converged=bool(machine.n_iter_ < recipe.max_iter),
    )


def make_machine(recipe: MachineRecipe, cost: float, seed: int) -> Any:
    """Return scikit-learn's LinearSVC as VISSL sets it up."""
    from sklearn.svm import LinearSVC

    return LinearSVC(
        C=cost,
        class_weight={1: recipe.positive_weight, -1: 1.0},
        penalty="l2",
        loss="squared_hinge",
        dual=True,
        intercept_scaling=1.0,
        tol=recipe.tolerance,
        max_iter=recipe.max_iter,
        random_state=seed,
    )
