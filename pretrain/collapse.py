"""Watches whether the embeddings still differ, by their effective rank, and warns when they have collapsed."""

from __future__ import annotations

import torch

ROWS = 256
"""How many rows the rank is computed from: enough to tell 1 from 100, and cheap."""
LOWEST_RANK = 1.5
LOWEST_STD = 0.05
"""The least spread of the embeddings, which is 1 where they are spread evenly."""


@torch.no_grad()
def effective_rank(embeddings: torch.Tensor) -> float:
    """Return the effective rank of the first `ROWS` embeddings about their mean, from 1 to min(rows - 1, D).

    The exponential of the entropy of the covariance matrix's eigenvalues as shares of their sum (Roy and Vetterli, "The
    effective rank", EUSIPCO 2007, with the squares of the singular values they take). 0 where all rows are alike.

    Args:
        embeddings: (M, D).
    """
    rows = embeddings[:ROWS].double()
    rows = rows - rows.mean(dim=0)
    spectrum = torch.linalg.eigvalsh(rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows).clamp_min(0)
    total = spectrum.sum()
    if not total > 1e-12:
        return 0.0
    shares = spectrum / total
    return float(torch.exp(torch.special.entr(shares).sum()))


class CollapseWatch:
    """Warns once for each collapse of the embeddings; not during the warm-up, when all are still alike."""

    def __init__(self, warmup: int) -> None:
        self.warmup, self.collapsed = warmup, False

    def check(self, step: int, rank: float, std: float) -> str | None:
        """Return a warning where a collapse has just begun after `step` steps."""
        before, self.collapsed = self.collapsed, step > self.warmup and (rank < LOWEST_RANK or std < LOWEST_STD)
        if before or not self.collapsed:
            return None
        return (
            f"step {step}: the embeddings have collapsed: effective rank {rank:.2f}, spread {std:.3f} of 1. Such a "
            "network tells no two images apart; lower base_lr, or raise warmup_epochs or batch_size"
        )
