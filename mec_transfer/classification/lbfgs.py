"""Logistic regression as scikit-learn 0.22 fits it: multinomial, L2, L-BFGS-B, stopped where that version stops.

The published numbers come from fits that 100 iterations cut short, each started where the one before it ended, so the
optimiser's rules are part of the protocol: the loss is summed over the images, and scipy's L-BFGS-B ends at a largest
gradient of 1e-4, at a relative gain of 2.2e-9 (scipy's own default), or at the limit of iterations. scikit-learn from
1.5 on divides the loss by the number of images under other limits, and so ends elsewhere. Everything is float64. On a
GPU the loss and its gradient are computed there, and the optimiser's own sums here.
Shapes: N images, D numbers of a feature, K classes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from mec_transfer.common.device import is_gpu

_BLOCKS = 8
"""The most threads that a fit uses."""
_LEAST_FOR_THREADS = 10_000_000
"""Products of an image's number with a weight in one evaluation, from which on threads are worth their handing over."""
GRADIENT_TOLERANCE = 1e-4
"""scikit-learn's `tol`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A fitted classifier."""

    weights: np.ndarray
    """(K, D + 1) float64, the intercepts last."""
    iterations: int

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the decision values, (n, K) float64, of `features` (n, D)."""
        values: np.ndarray = features @ self.weights[:, :-1].T
        values += self.weights[:, -1]
        return values


def fit(
    features: torch.Tensor, labels: np.ndarray, classes: int, c: float, start: Fit | None, max_iterations: int
) -> Fit:
    """Minimise the cross-entropy, summed over the images, plus |weights|^2 / (2 c); intercepts are not penalised.

    On a CPU it uses as many threads as torch does, with the same result on any number of them.

    Args:
        features: (N, D) float64, on the device that computes.
        labels: (N,) int64, below `classes`.
        classes: K, 2 or more.
        c: the inverse of the penalty's strength.
        start: where to begin; None for zeros.
        max_iterations: at which L-BFGS-B is stopped.
    """
    from scipy import optimize
    from threadpoolctl import threadpool_limits

    shape = (classes, features.shape[1] + 1)
    begin = np.zeros(shape) if start is None else start.weights
    threads = torch.get_num_threads()
    several = threads > 1 and features.numel() * classes >= _LEAST_FOR_THREADS
    # BLAS has one thread: scipy's own sums, over the weights, depend on how many it may use. Products are shared out in
    # blocks to threads of this pool, which wait without spinning.
    with ThreadPoolExecutor(threads) as pool, threadpool_limits(1, user_api="blas"):
        objective: Callable[[np.ndarray], tuple[float, np.ndarray]]
        if is_gpu(features.device):
            objective = _ObjectiveOnGpu(features, labels, shape, 1.0 / c)
        else:
            objective = _Objective(features.numpy(), labels, shape, 1.0 / c, pool.map if several else map)
        limits = {"gtol": GRADIENT_TOLERANCE, "maxiter": max_iterations}
        found = optimize.minimize(objective, begin.ravel(), method="L-BFGS-B", jac=True, options=limits)
    return Fit(found.x.reshape(shape), int(found.nit))


class _Objective:
    """The loss and its gradient: sums over blocks of images, always the same ones and in the same order."""

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        shape: tuple[int, int],
        strength: float,
        map_: Callable[..., Any],
    ) -> None:
        self.shape, self.strength, self.map = shape, strength, map_
        rows = np.array_split(np.arange(len(labels)), _BLOCKS)
        self.blocks = [
            _Block(features[own[0] : own[-1] + 1], (labels[own], np.arange(len(own)))) for own in rows if len(own)
        ]

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(self.shape)
        plain = np.ascontiguousarray(weights[:, :-1])
        loss = 0.5 * self.strength * float(np.vdot(plain, plain))
        gradient = np.empty(self.shape)
        np.multiply(plain, self.strength, out=gradient[:, :-1])
        gradient[:, -1] = 0.0
        part = functools.partial(_part, weights=plain, intercepts=weights[:, -1:])
        for own_loss, by_weights, by_intercepts in self.map(part, self.blocks):
            loss += own_loss
            gradient[:, :-1] += by_weights
            gradient[:, -1] += by_intercepts
        return loss, gradient.ravel()


@dataclasses.dataclass(frozen=True, eq=False)
class _Block:
    features: np.ndarray
    """(n, D)."""
    truth: tuple[np.ndarray, np.ndarray]
    """Where the true classes' values lie in (K, n)."""


def _part(block: _Block, weights: np.ndarray, intercepts: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return a block's loss and its gradient by the weights (K, D) and by the intercepts (K,)."""
    p = weights @ block.features.T  # (K, n): logits, then probabilities, then the loss by the logits
    p += intercepts
    p -= p.max(axis=0)
    loss = -float(p[block.truth].sum())
    np.exp(p, out=p)
    sums = p.sum(axis=0)
    loss += float(np.log(sums).sum())
    p /= sums
    p[block.truth] -= 1.0
    return loss, p @ block.features, p.sum(axis=1)


class _ObjectiveOnGpu:
    """The same of all images at once, where starting an operation costs more than its sums."""

    def __init__(self, features: torch.Tensor, labels: np.ndarray, shape: tuple[int, int], strength: float) -> None:
        self.features, self.shape, self.strength = features, shape, strength
        self.truth = torch.from_numpy(labels).to(features.device), torch.arange(len(labels), device=features.device)

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(flat.reshape(self.shape)).to(self.features.device)
        plain, intercepts = weights[:, :-1], weights[:, -1:]
        p = plain @ self.features.T  # (K, N): logits, then probabilities, then the loss by the logits
        p += intercepts
        p -= p.amax(dim=0)
        loss = 0.5 * self.strength * plain.square().sum() - p[self.truth].sum()
        p.exp_()
        sums = p.sum(dim=0)
        loss += sums.log().sum()
        p /= sums
        p[self.truth] -= 1.0
        gradient = torch.cat([torch.addmm(self.strength * plain, p, self.features), p.sum(dim=1, keepdim=True)], dim=1)
        return loss.item(), gradient.flatten().cpu().numpy()
