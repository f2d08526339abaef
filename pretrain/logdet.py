"""log det(I + C) of a square matrix with its derivative: exactly, or by the series of tr log(I + C) cut after n terms.

Both return the value and G with d value = tr(G dC), which is all that a gradient needs: the inverse (I + C)^-1, or its
own series I - C + C^2 - ... of n terms. Both are given X = -C, whose signs do not alternate, and overwrite it.

Axes: K x K, whatever the size of the form that is passed in.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F


class LogDet(NamedTuple):
    """A value with what belongs to it."""

    value: torch.Tensor
    """Scalar: log|det(I + C)| or its series."""
    sign: torch.Tensor
    """Scalar: of det(I + C); 1 for a series, which exists for any C."""
    gradient: torch.Tensor | None
    """(K, K) G; None where it was not asked for."""


def truncated(minus_c: torch.Tensor, order: int, with_gradient: bool) -> LogDet:
    """Return L = sum_{k=1..n} (-1)^(k+1) tr(C^k) / k = -sum tr(X^k) / k and G = sum_{k=0..n-1} X^k, n = `order`.

    With a step s (Paterson and Stockmeyer's) only X ... X^s and X^2s, X^3s ... are formed: every other trace is that of
    a product of two of them, tr(X^js X^i), which is a sum over K^2 entries. G takes one product more where s divides n:
    (I + X + ... + X^(s-1)) (I + X^s + X^2s + ...). For n = 4, s = 2: two products in all, X X and (I + X)(I + X^2).
    """
    step = _best_step(order)
    small = [minus_c]  # X, X^2 ... X^s
    while len(small) < step:
        small.append(small[-1] @ minus_c)
    large = [small[-1]]  # X^s, X^2s ...
    while (len(large) + 1) * step < order:
        large.append(large[-1] @ large[0])
    scratch = torch.empty_like(minus_c)
    total = torch.stack([power.diagonal().sum() / k for k, power in enumerate(small, 1)]).sum()
    for j, power in enumerate(large, 1):
        rest = [(i, j * step + i) for i in range(1, step + 1) if j * step + i <= order]
        if rest:
            torch.mul(small[0], 1 / rest[0][1], out=scratch)
            for i, k in rest[1:]:
                scratch.add_(small[i - 1], alpha=1 / k)
            total = total + scratch.mul_(power.T).sum()
    gradient = _geometric(small, large, order, scratch) if with_gradient else None
    return LogDet(-total, torch.ones_like(total), gradient)


def exact(minus_c: torch.Tensor, with_gradient: bool) -> LogDet:
    """Return log|det(I + C)|, its sign, and G = (I + C)^-1, all from one LU factorisation.

    Nothing waits for the device: whoever reads `sign` does. A singular matrix gives sign 0 and a G that is not finite.
    """
    matrix = minus_c.neg_()
    matrix.diagonal().add_(1)
    lu, pivots, _ = torch.linalg.lu_factor_ex(matrix)
    diagonal = lu.diagonal()
    in_place = torch.arange(1, len(pivots) + 1, dtype=pivots.dtype, device=pivots.device)
    swaps = (pivots != in_place).sum()
    sign = diagonal.sign().prod() * (1 - 2 * (swaps % 2))
    inverse = None
    if with_gradient:
        eye = torch.eye(len(lu), dtype=lu.dtype, device=lu.device)
        inverse = torch.linalg.lu_solve(lu, pivots, eye)
    return LogDet(diagonal.abs().log().sum(), sign, inverse)


def largest_singular_value(matrix: torch.Tensor, iterations: int = 12) -> torch.Tensor:
    """Estimate the spectral norm of a matrix from below by power iteration, each two products with a vector."""
    generator = torch.Generator(matrix.device).manual_seed(0)  # its own: the run's random streams stay untouched
    vector = torch.randn(matrix.shape[1], generator=generator, device=matrix.device, dtype=matrix.dtype)
    for _ in range(iterations):
        vector = F.normalize(matrix.T @ (matrix @ vector), dim=0)
    return torch.linalg.vector_norm(matrix @ vector)


def _best_step(order: int) -> int:
    """The step with the fewest matrix products for value and gradient together."""
    return 1 if order <= 2 else min(range(2, order + 1), key=lambda step: _products(order, step))


def _products(order: int, step: int) -> int:
    blocks, rest = divmod(order, step)
    return (step - 1) + max(-(-order // step) - 2, 0) + (blocks > 1) + (rest > 1)


def _geometric(small: list[torch.Tensor], large: list[torch.Tensor], order: int, out: torch.Tensor) -> torch.Tensor:
    """Return sum_{k<order} X^k; overwrites X and X^s.

    In blocks of s = len(small) terms: S (I + T) + X^(bs) R with S of s terms, T = X^s + ... of b - 1, R what is left.
    """
    step = len(small)
    if step == 1:  # order 1 or 2
        total = small[0] if order == 2 else small[0].zero_()
        total.diagonal().add_(1)
        return total
    blocks, rest = divmod(order, step)
    left_over = _partial_sum(small[0].clone(), small[1 : rest - 1]) if rest > 1 else None
    total = block = _partial_sum(small[0], small[1 : step - 1])
    if blocks > 1:
        powers = large[0]
        for power in large[1 : blocks - 1]:
            powers.add_(power)
        total = torch.addmm(block, powers, block, out=out)
    if left_over is not None:
        total.addmm_(large[blocks - 1], left_over)
    elif rest:
        total.add_(large[blocks - 1])
    return total


def _partial_sum(first: torch.Tensor, others: list[torch.Tensor]) -> torch.Tensor:
    """I + first + others, in place of `first`."""
    for power in others:
        first.add_(power)
    first.diagonal().add_(1)
    return first
