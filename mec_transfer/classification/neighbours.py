"""Exact nearest neighbours by cosine similarity, and their weighted vote."""

from __future__ import annotations

import torch

_CHUNK_ELEMENTS = 1 << 26
"""Similarities held at once: 256 MiB, or 256 test rows of a large training set."""
_BLOCK = 4096


@torch.no_grad()
def nearest(train: torch.Tensor, test: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k training rows most similar to each test row.

    Of equally similar rows the earlier one comes first, on any device: the order of equals that `topk` leaves open
    would decide votes.

    Args:
        train: (N, D) float32, rows of length 1; k <= N.
        test: (M, D) float32, rows of length 1, on the same device.
        k: how many.

    Returns:
        Similarities (M, k) float32, falling, and indices (M, k) int64 into `train`, both on the CPU.
    """
    rows = max(256, _CHUNK_ELEMENTS // len(train))
    found = [_nearest_of_chunk(_similarities(chunk, train), k) for chunk in test.split(rows)]
    return torch.cat([similarities for similarities, _ in found]), torch.cat([indices for _, indices in found])


def vote(
    similarities: torch.Tensor, indices: torch.Tensor, train_labels: torch.Tensor, temperature: float, classes: int
) -> torch.Tensor:
    """Add up exp(similarity / T) of the neighbours of each class (DINO's eval_knn.py, InstDisc).

    Args:
        similarities: (M, k).
        indices: (M, k) into `train_labels`.
        train_labels: (N,) int64, on the CPU.
        temperature: T.
        classes: C.

    Returns:
        Votes (M, C) float64, relative to exp(1 / T), which no cosine exceeds by more than rounding.
    """
    weights = ((similarities.double() - 1) / temperature).exp()
    votes = torch.zeros(len(similarities), classes, dtype=torch.float64)
    return votes.scatter_add_(1, train_labels[indices], weights)


def _similarities(test: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
    """(m, D) and (N, D) -> (m, N), in full float32.

    On a CPU through oneDNN, block by block: on AMD's processors 1.6 times as fast as MKL, which `@` calls.
    """
    if test.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return test @ train.T
    similarities = torch.empty(len(test), len(train))
    converted = test.to_mkldnn()
    for start in range(0, len(train), _BLOCK):
        block = train[start : start + _BLOCK]
        product = torch.nn.functional.linear(converted, block.to_mkldnn())
        similarities[:, start : start + _BLOCK] = product.to_dense()
    return similarities


def _nearest_of_chunk(similarities: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One test row a row: (m, N) -> (m, k), (m, k)."""
    more = min(k + 1, similarities.shape[1])
    values, indices = similarities.topk(more, dim=1)
    tied = (values[:, 1:] == values[:, :-1]).any(dim=1).nonzero()[:, 0].tolist()
    values, indices = values[:, :k].cpu(), indices[:, :k].cpu()
    for row in tied:
        candidates = (similarities[row] >= values[row, -1].to(similarities.device)).nonzero()[:, 0].cpu()  # ascending
        order = similarities[row].cpu()[candidates].sort(descending=True, stable=True).indices[:k]
        indices[row] = candidates[order]
    return values, indices
