"""The MEC objective: the coding length of two views' embeddings, by its Taylor series or exactly.

Source: Liu et al., "Self-Supervised Learning via Maximum Entropy Coding" (NeurIPS 2022), equations 2 to 4, and the
authors' main_pretrain.py. Rows are normalised, C = P Z^T / lamda_inv, and log det(I + C) = tr log(I + C) is expanded
to sum_k (-1)^(k+1) tr(C^k) / k, which converges where the spectral radius of C is below 1.

All of it is computed in float32 (float64 for float64 input) whatever autocast says, and without TensorFloat-32 or
bfloat16 products even where the program allows them (`coding_length.full_precision`).

Axes: M rows of the whole batch, n of this process, D embedding dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from mec_transfer.common.errors import RunError
from pretrain import logdet
from pretrain.coding_length import Batch, Order, Result, coding_length, full_precision
from pretrain.gather import gather_rows, own_rows

ORDER = 4
"""Terms of the series in the published code."""


class NoLogarithmError(RunError, ValueError):
    """det(I + C) is not positive (C is not symmetric), so that its logarithm does not exist."""


class MecLoss(NamedTuple):
    """What one step of training needs to know of the objective; scalars but for the embeddings."""

    loss: torch.Tensor
    """To be minimised: -lamda_inv times the coding length per sample, without its factor mu."""
    coding_length: torch.Tensor
    """mu times the series per sample, mu = (M + D) / 2 (equation 2); detached, for the log only."""
    spectral_norm: torch.Tensor
    """As `spectral_norm` has it, the larger of the two pairs of views. The series may diverge from 1 on."""
    embedding_std: torch.Tensor
    """Spread of the normalised online embeddings times sqrt(D): 1 when spread evenly, 0 when collapsed to a point."""
    embeddings: torch.Tensor
    """(M, D): the normalised online embeddings of view 1, of all processes, detached."""


def taylor_trace(p: torch.Tensor, z: torch.Tensor, lamda_inv: float, order: int = ORDER) -> torch.Tensor:
    """Return sum_{k=1..order} (-1)^(k+1) tr(C^k) / k with C = normalise(p) normalise(z)^T / lamda_inv.

    Args:
        p: (M, D) embeddings of one view.
        z: (M, D) embeddings of the other, row by row of the same images.
        lamda_inv: 1 / lamda = M * eps / D; positive.
        order: terms of the series, at least 1.

    Returns:
        A scalar with gradients to p and z, which themselves have none.
    """
    return _of_one_batch(p, z, lamda_inv, order).value


def exact_logdet(p: torch.Tensor, z: torch.Tensor, lamda_inv: float) -> torch.Tensor:
    """Return log det(I + C), the limit of `taylor_trace` where C's spectral radius is below 1. Arguments as there.

    Raises:
        NoLogarithmError: a ValueError too: det(I + C) is not positive.
    """
    result = _of_one_batch(p, z, lamda_inv, "exact")
    _check_signs(lamda_inv, result)
    return result.value


def spectral_norm(p: torch.Tensor, z: torch.Tensor, lamda_inv: float) -> torch.Tensor:
    """Estimate the largest singular value of C's smaller form, without gradients. Arguments as for `taylor_trace`.

    No eigenvalue of C is larger: below 1 the series converges. Estimated from below, by power iteration.
    """
    _check(p, z, lamda_inv, ORDER)
    with torch.no_grad(), full_precision(p.device):
        return logdet.largest_singular_value(Batch.of(p, z).minus_c(lamda_inv))


def mec_loss(
    p1: torch.Tensor, z1: torch.Tensor, p2: torch.Tensor, z2: torch.Tensor, lamda_inv: float, order: Order = ORDER
) -> MecLoss:
    """Return the published loss of two views: -lamda_inv * (L(p1, z2) + L(p2, z1)) / (2 M), L = `taylor_trace`.

    As in the published code (and swapped against the paper, which changes no value), p is the teacher's output and
    z the predictor's. Under several processes each gives rows of its own, equally many, and all compute the same loss
    of the whole batch. What a process then knows of the gradient, that to its own rows, is complete: nothing is
    exchanged in the backward pass. It is multiplied by the world size, which the mean that DistributedDataParallel
    takes cancels, so that the parameters' gradients are those of one process with the whole batch.

    Args:
        p1: (n, D) teacher output for view 1; p2 for view 2.
        z1: (n, D) predictor output for view 1; z2 for view 2.
        lamda_inv: of this step (`schedules.lamda_inv_at`).
        order: terms of the series, or "exact" for `exact_logdet` in place of `taylor_trace`.

    Raises:
        NoLogarithmError: order is "exact" and det(I + C) not positive; on every process alike. To know it, a GPU's
            queue has to run empty once a step; a series needs no such look.
    """
    _check(p1, z2, lamda_inv, order)
    _check(p2, z1, lamda_inv, order)
    all_p1, all_z1, all_p2, all_z2 = (gather_rows(tensor) for tensor in (p1, z1, p2, z2))
    rows = own_rows(len(z1))
    first = coding_length((p1, z2), (all_p1, all_z2), rows, lamda_inv, order, watch=True)
    second = coding_length((p2, z1), (all_p2, all_z1), rows, lamda_inv, order, watch=True)
    if order == "exact":
        _check_signs(lamda_inv, first, second)
    m, d = all_z1.shape
    per_sample = 0.5 * (first.value + second.value) / m
    embeddings = F.normalize(all_z1 if all_z1.dtype == torch.float64 else all_z1.float())
    return MecLoss(
        loss=-per_sample * lamda_inv,
        coding_length=per_sample.detach() * (m + d) / 2,
        spectral_norm=torch.maximum(first.norm, second.norm),
        embedding_std=embeddings.std(dim=0).mean() * d**0.5,
        embeddings=embeddings,
    )


def _of_one_batch(p: torch.Tensor, z: torch.Tensor, lamda_inv: float, order: Order) -> Result:
    _check(p, z, lamda_inv, order)
    return coding_length((p, z), (p, z), slice(None), lamda_inv, order, watch=False)


def _check_signs(lamda_inv: float, *results: Result) -> None:
    """Look once at the signs of all results; one that is not a number belongs to a loss that says so itself."""
    if bool((torch.stack([result.sign for result in results]) <= 0).any()):
        raise NoLogarithmError(
            f"det(I + C) is not positive at lamda_inv {lamda_inv:g}, so that log det(I + C) does not exist: "
            'raise eps or lamda_inv_warmup_factor, or use the series (order 4) instead of order "exact"'
        )


def _check(p: torch.Tensor, z: torch.Tensor, lamda_inv: float, order: Order) -> None:
    if p.ndim != 2 or p.shape != z.shape or not p.numel():
        raise ValueError(f"p and z must be two (M, D) matrices of one shape, not {tuple(p.shape)} and {tuple(z.shape)}")
    if not lamda_inv > 0:
        raise ValueError(f"lamda_inv = {lamda_inv}: must be positive")
    if order != "exact" and not (isinstance(order, int) and order >= 1):
        raise ValueError(f'order = {order!r}: must be an integer from 1 on, or "exact"')
