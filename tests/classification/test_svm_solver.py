from __future__ import annotations

import warnings

import numpy as np
import pytest

from mec_transfer.classification.config import SvmConfig, SvmRecipe
from mec_transfer.classification.svm_solver import fit_class, unit_length
from mec_transfer.common.config import load_config
from mec_transfer.common.paths import CONFIGS

pytest.importorskip("sklearn")
PUBLISHED = load_config(SvmConfig, CONFIGS / "classification" / "voc07_svm.yaml").recipe


def recipe(**changes: object) -> SvmRecipe:
    return PUBLISHED.model_copy(update=changes)


def blobs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of length 1 and labels of which the rarer one is not easily told apart."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([1, 0, 0, 0, -1], size=count)
    features = rng.normal(size=(count, 12)) + (labels == 1)[:, None] * np.linspace(0, 1.2, 12)
    return features / np.linalg.norm(features, axis=1)[:, None], labels


def test_features_are_divided_by_their_length_and_a_little() -> None:
    features = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(unit_length(features), [[3 / 5.00001, 4 / 5.00001], [0, 0]], rtol=1e-12)
    assert unit_length(features).dtype == np.float64


def test_the_steps_of_the_published_script_give_the_same_numbers() -> None:
    """VISSL's svm_trainer: scikit-learn's own cross validation for each cost, a fit on all images for the best."""
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import LinearSVC

    (train, labels), (test, _) = blobs(90, 0), blobs(40, 1)
    found = fit_class(train, labels, test, PUBLISHED, seed=7)
    targets = labels.astype(np.int32)
    targets[targets == 0] = -1
    machines = [
        LinearSVC(
            C=cost,
            class_weight={1: 2, -1: 1},
            intercept_scaling=1.0,
            penalty="l2",
            loss="squared_hinge",
            tol=0.0001,
            dual=True,
            max_iter=2000,
            random_state=7,
        )
        for cost in [0.01, 0.1, 1.0, 2, 5, 10, 15, 20, 50, 100, 1000]
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        validated = [
            cross_val_score(machine, train, targets, cv=3, scoring="average_precision").mean() for machine in machines
        ]
        best = int(np.argmax(validated))
        scores = machines[best].fit(train, targets).decision_function(test)
    np.testing.assert_allclose(found.cross_validated, validated, atol=1e-12)
    assert found.cost == machines[best].C
    np.testing.assert_allclose(found.scores, scores, atol=1e-12)


def test_the_solution_minimises_the_published_objective() -> None:
    """0.5 |w|^2 (the intercept in it) + C sum of weight * max(0, 1 - y f(x))^2 has no descent at the solution."""
    (train, labels), cost = blobs(60, 3), 5.0
    found = fit_class(
        train, labels, np.vstack([np.eye(12), np.zeros((1, 12))]), recipe(costs=(cost,), tolerance=1e-9), 0
    )
    intercept = found.scores[-1]
    w = np.append(found.scores[:-1] - intercept, intercept)
    x, y = np.column_stack([train, np.ones(len(train))]), np.where(labels == 1, 1.0, -1.0)
    weight, slack = np.where(y == 1, 2.0, 1.0), np.maximum(0, 1 - y * (x @ w))
    gradient = w - 2 * cost * ((weight * slack * y)[:, None] * x).sum(axis=0)
    assert np.abs(gradient).max() < 1e-5 and slack.any()


def test_a_fit_that_ran_out_of_passes_says_so() -> None:
    train, labels = blobs(60, 3)
    assert fit_class(train, labels, train, recipe(costs=(1.0,)), 0).converged
    assert not fit_class(train, labels, train, recipe(costs=(1000.0,), max_iter=3), 0).converged


def test_the_first_of_equally_good_costs_is_taken() -> None:
    train = np.repeat(np.eye(2), 9, axis=0)
    labels = np.repeat([1, 0], 9)
    found = fit_class(train, labels, train, recipe(costs=(1.0, 0.1, 10.0)), 0)
    assert found.cross_validated.tolist() == [1.0, 1.0, 1.0] and found.cost == 1.0
