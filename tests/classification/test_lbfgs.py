from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from mec_transfer.classification import lbfgs


def world(images: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = rng.normal(size=(classes, width))
    features = np.maximum(centres[labels] + 2 * rng.normal(size=(images, width)), 0).astype(np.float32)
    return features.astype(np.float64), labels


def loss_and_gradient(x: np.ndarray, y: np.ndarray, weights: np.ndarray, c: float) -> tuple[float, np.ndarray]:
    """The published objective by torch's own cross-entropy and autograd."""
    w = torch.from_numpy(weights).requires_grad_()
    logits = torch.from_numpy(x) @ w[:, :-1].T + w[:, -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y), reduction="sum")
    loss = loss + w[:, :-1].square().sum() / (2 * c)
    loss.backward()
    assert w.grad is not None
    return loss.item(), w.grad.numpy()


@pytest.mark.parametrize(("images", "classes"), [(50, 3), (5, 2), (64, 12)])
def test_objective_is_that_of_autograd(images: int, classes: int) -> None:
    x, y = world(images, 7, classes)
    weights = np.random.default_rng(1).normal(size=(classes, 8))
    expected, by_weights = loss_and_gradient(x, y, weights, 0.3)
    on_cpu = lbfgs._Objective(x, y, weights.shape, 1 / 0.3, map)
    on_gpu = lbfgs._ObjectiveOnGpu(torch.from_numpy(x), y, weights.shape, 1 / 0.3)
    for objective in (on_cpu, on_gpu):
        loss, gradient = objective(weights.ravel())
        assert loss == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient.reshape(weights.shape), by_weights, rtol=1e-9, atol=1e-10)


def test_logits_of_any_size_do_not_overflow() -> None:
    x, y = world(20, 5, 3)
    loss, gradient = lbfgs._Objective(x, y, (3, 6), 1.0, map)(1e4 * np.random.default_rng(0).normal(size=18))
    assert np.isfinite(loss) and np.isfinite(gradient).all()


@pytest.mark.parametrize("c", [0.001, 0.1, 10.0])
def test_converged_fits_are_scikit_learns(c: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = world(120, 10, 4)
    found = lbfgs.fit(torch.from_numpy(x), y, 4, c, None, 10_000)
    model = linear_model.LogisticRegression(C=c, tol=1e-10, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(found.weights[:, :-1], model.coef_, atol=2e-4 * (1 + np.abs(model.coef_).max()))
    np.testing.assert_array_equal(found.scores(x).argmax(axis=1), model.predict(x))


@pytest.mark.parametrize("c", [0.01, 1.0, 1e6])
def test_fits_cut_short_are_scikit_learns(c: float) -> None:
    """Dividing the loss by the number of images, as later versions do, leaves the steps of L-BFGS as they are."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = world(120, 10, 4)
    found = lbfgs.fit(torch.from_numpy(x), y, 4, c, None, 12)
    model = linear_model.LogisticRegression(C=c, tol=1e-10, max_iter=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        model.fit(x, y)
    assert found.iterations == model.n_iter_[0] == 12
    expected = np.column_stack([model.coef_, model.intercept_])
    np.testing.assert_allclose(found.weights, expected, rtol=1e-8, atol=1e-10)


def test_a_fit_starts_where_it_is_told_and_stops_at_its_limit() -> None:
    x, y = world(120, 10, 4)
    short = lbfgs.fit(torch.from_numpy(x), y, 4, 100.0, None, 3)
    assert short.iterations == 3
    whole = lbfgs.fit(torch.from_numpy(x), y, 4, 100.0, None, 10_000)
    again = lbfgs.fit(torch.from_numpy(x), y, 4, 100.0, whole, 10_000)
    assert again.iterations < 5 < whole.iterations
    value = [loss_and_gradient(x, y, f.weights, 100.0)[0] for f in (short, whole, again)]
    assert value[0] > value[1] >= value[2]


def test_any_number_of_threads_gives_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lbfgs, "_LEAST_FOR_THREADS", 0)
    x, y = world(90, 12, 5)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(lbfgs.fit(torch.from_numpy(x), y, 5, 10.0, None, 100).weights)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
