"""The MEC objective: the coding length of two views' embeddings, by its Taylor series.

Source: Liu et al., "Self-Supervised Learning via Maximum Entropy Coding" (NeurIPS 2022), equations 2 to 4, and the
authors' main_pretrain.py. Rows are normalised, C = P Z^T / lamda_inv, and log det(I + C) = tr log(I + C) is expanded
to sum_k (-1)^(k+1) tr(C^k) / k, which converges where the spectral radius of C is below 1.

Axes: M rows of the whole batch, D embedding dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import normalize

from pretrain.gather import gather_batch

ORDER = 4
"""Terms of the series in the published code."""


class MecLoss(NamedTuple):
    """What one step of training needs to know of the objective; all scalars."""

    loss: torch.Tensor
    """To be minimised: -lamda_inv times the coding length per sample, without its factor mu."""
    coding_length: torch.Tensor
    """mu times the series per sample, mu = (M + D) / 2 (equation 2); detached, for the log only."""
    spectral_norm: torch.Tensor
    """Of C for the first pair of views, estimated from below. The series may diverge from 1 on."""
    embedding_std: torch.Tensor
    """Spread of the normalised online embeddings times sqrt(D): 1 when spread evenly, 0 when collapsed to a point."""


def taylor_trace(p: torch.Tensor, z: torch.Tensor, lamda_inv: float, order: int = ORDER) -> torch.Tensor:
    """Return sum_{k=1..order} (-1)^(k+1) tr(C^k) / k with C = normalise(p) normalise(z)^T / lamda_inv.

    Computed in float32, or float64 for float64 input, whatever autocast says. The powers are taken of the M x M
    matrix C or the D x D matrix Z^T P / lamda_inv, whichever is smaller: tr(C^k) is the same. No power beyond
    ceil(order / 2) is formed, since tr(C^(i+j)) is the sum over the entries of C^i * (C^j)^T.

    Args:
        p: (M, D) embeddings of one view.
        z: (M, D) embeddings of the other, row by row of the same images.
        lamda_inv: 1 / lamda = M * eps / D; positive.
        order: terms of the series, at least 1.

    Returns:
        A scalar with gradients to p and z.
    """
    p, z = _check(p, z, lamda_inv)
    with torch.autocast(p.device.type, enabled=False):
        p, z = normalize(p), normalize(z)
        powers = [_smaller_product(p, z) / lamda_inv]
        total = powers[0].diagonal().sum()
        for k in range(2, order + 1):
            long, short = (k + 1) // 2, k // 2
            if long > len(powers):
                powers.append(powers[-1] @ powers[0])
            trace = (powers[long - 1] * powers[short - 1].T).sum()
            total = total + trace / k if k % 2 else total - trace / k
        return total


def exact_logdet(p: torch.Tensor, z: torch.Tensor, lamda_inv: float) -> torch.Tensor:
    """Return log|det(I + C)|, the limit of `taylor_trace` where C's spectral radius is below 1.

    Arguments and precision as for `taylor_trace`. By Sylvester's identity the smaller of the two forms serves.

    Raises:
        ValueError: det(I + C) is not positive (C is not symmetric), so that its logarithm does not exist.
    """
    p, z = _check(p, z, lamda_inv)
    with torch.autocast(p.device.type, enabled=False):
        product = _smaller_product(normalize(p), normalize(z)) / lamda_inv
        eye = torch.eye(len(product), dtype=product.dtype, device=product.device)
        sign, logdet = torch.linalg.slogdet(eye + product)
        if not bool(sign > 0):
            raise ValueError(f"det(I + C) is not positive (sign {sign.item():g}): log det(I + C) does not exist")
        return logdet


def spectral_norm(p: torch.Tensor, z: torch.Tensor, lamda_inv: float, iterations: int = 12) -> torch.Tensor:
    """Estimate the largest singular value of C by power iteration; a lower bound, without gradients.

    C itself is not formed: an iteration is four products with a vector. Arguments as for `taylor_trace`.
    """
    p, z = _check(p.detach(), z.detach(), lamda_inv)
    with torch.no_grad(), torch.autocast(p.device.type, enabled=False):
        p, z = normalize(p), normalize(z)
        generator = torch.Generator(p.device).manual_seed(0)  # its own: the run's random streams stay untouched
        vector = torch.randn(len(p), generator=generator, device=p.device, dtype=p.dtype)
        for _ in range(iterations):
            vector = normalize(z @ (p.T @ (p @ (z.T @ vector))), dim=0)
        return (p @ (z.T @ vector)).norm() / lamda_inv


def mec_loss(
    p1: torch.Tensor, z1: torch.Tensor, p2: torch.Tensor, z2: torch.Tensor, lamda_inv: float, order: int = ORDER
) -> MecLoss:
    """Return the published loss of two views: -lamda_inv * (L(p1, z2) + L(p2, z1)) / (2 M), L = `taylor_trace`.

    As in the published code (and swapped against the paper, which changes no value), p is the teacher's output and
    z the predictor's. Under several processes each gives its own rows, all compute the same loss of the whole batch,
    and gradients are those of one big batch once averaged over the processes (`gather_batch`).

    Args:
        p1: (n, D) teacher output for view 1; p2 for view 2.
        z1: (n, D) predictor output for view 1; z2 for view 2.
        lamda_inv: of this step (`schedules.lamda_inv_at`).
        order: terms of the series.
    """
    p1, z1, p2, z2 = (gather_batch(tensor) for tensor in (p1, z1, p2, z2))
    m, d = z1.shape
    per_sample = 0.5 * (taylor_trace(p1, z2, lamda_inv, order) + taylor_trace(p2, z1, lamda_inv, order)) / m
    return MecLoss(
        loss=-per_sample * lamda_inv,
        coding_length=per_sample.detach() * (m + d) / 2,
        spectral_norm=spectral_norm(p1, z2, lamda_inv),
        embedding_std=normalize(z1.detach().float()).std(dim=0).mean() * d**0.5,
    )


def _smaller_product(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return p @ z.T if len(p) <= p.shape[1] else z.T @ p


def _check(p: torch.Tensor, z: torch.Tensor, lamda_inv: float) -> tuple[torch.Tensor, torch.Tensor]:
    if p.ndim != 2 or p.shape != z.shape:
        raise ValueError(f"p and z must be two (M, D) matrices of one shape, not {tuple(p.shape)} and {tuple(z.shape)}")
    if not lamda_inv > 0:
        raise ValueError(f"lamda_inv = {lamda_inv}: must be positive")
    return _full_precision(p), _full_precision(z)


def _full_precision(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
