"""Exact nearest neighbours by cosine similarity, and their weighted vote.

The training rows are read once, a block at a time, and may lie in mapped files: what is held is one block, the test
rows and the k best of each so far, however many training rows there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mec_transfer.classification.feature_rows import Rows, pieces

_CHUNK_ELEMENTS = 1 << 26
"""Similarities held at once: 256 MiB."""
_BLOCK = {"cpu": 1 << 14, "cuda": 1 << 16}
"""Training rows held at once: 128 and 512 MiB of 2048 features. It does not follow the memory that is free: the last
bits of a product, and so a number, would depend on it."""
_PRODUCT = 4096
"""Training rows of one product on a CPU."""


@torch.no_grad()
def nearest(train: Rows, test: Rows, k: int, device: torch.device | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k training rows most similar to each test row.

    Of equally similar rows the earlier one comes first, on any device: the order of equals that `topk` leaves open
    would decide votes.

    Args:
        train: (N, D), rows of any length; k <= N.
        test: (M, D), rows of any length.
        k: how many.
        device: where to compute; where `train` lies, if it is not said.

    Returns:
        Similarities (M, k) float32, falling, and indices (M, k) int64 into `train`, both on the CPU.
    """
    device = device or train.device
    block = _BLOCK["cuda" if device.type == "cuda" else "cpu"]
    # On a CPU the shapes of the products are those of the first version, and so are their last bits.
    rows = max(256, _CHUNK_ELEMENTS // (min(block, len(train)) if device.type == "cuda" else len(train)))
    starts = range(0, len(test), rows)
    chunks = [_ready(_unit(test, start, start + rows, device)) for start in starts]
    best = [_Best(min(rows, len(test) - start), k, device) for start in starts]
    for start in range(0, len(train), block):
        unit = _unit(train, start, start + block, device)
        factors = [_ready(factor) for factor in unit.split(block if device.type == "cuda" else _PRODUCT)]
        for chunk, found in zip(chunks, best, strict=True):
            found.add(_similarities(chunk, factors), start)
    similarities, indices = torch.empty(len(test), k), torch.empty(len(test), k, dtype=torch.int64)
    for start, found in zip(starts, best, strict=True):
        similarities[start : start + rows] = found.values
        indices[start : start + rows] = found.indices
    return similarities, indices


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


def _unit(rows: Rows, start: int, stop: int, device: torch.device) -> torch.Tensor:
    """Copy rows to the device, scaled to length 1: (n, D) float32."""
    unit = torch.empty(min(stop, len(rows)) - start, rows.shape[1], device=device)
    done = 0
    for piece in pieces(rows, start, start + len(unit)):
        torch.nn.functional.normalize(piece.to(device).float(), dim=1, out=unit[done : done + len(piece)])
        done += len(piece)
    return unit


def _ready(rows: torch.Tensor) -> torch.Tensor:
    """Lay rows out for products: on a CPU for oneDNN, on AMD's processors 1.6 times as fast as MKL, which `@` calls."""
    return rows.to_mkldnn() if rows.device.type == "cpu" and torch.backends.mkldnn.is_available() else rows


def _similarities(test: torch.Tensor, factors: Sequence[torch.Tensor]) -> torch.Tensor:
    """(m, D) and some (n, D), all as `_ready` gives them -> (m, sum of n), in full float32."""
    products = [torch.nn.functional.linear(test, factor) for factor in factors]
    dense = [product.to_dense() if product.is_mkldnn else product for product in products]
    return dense[0] if len(dense) == 1 else torch.cat(dense, dim=1)


class _Best:
    """The k highest of each row's similarities so far; of equal ones those that came first."""

    def __init__(self, rows: int, k: int, device: torch.device) -> None:
        self.k = k
        self.values = torch.empty(rows, 0, device=device)  # falling
        self.indices = torch.empty(rows, 0, dtype=torch.int64, device=device)

    def add(self, similarities: torch.Tensor, start: int) -> None:
        """Take in (m, n) similarities, with the training rows from `start` on."""
        values, columns = self._candidates(similarities)
        values, indices = torch.cat([self.values, values], dim=1), torch.cat([self.indices, columns + start], dim=1)
        # The earlier training row is further left, and a stable sort leaves it there.
        values, order = values.sort(dim=1, descending=True, stable=True)
        self.values, self.indices = values[:, : self.k], indices.gather(1, order[:, : self.k])

    def _candidates(self, similarities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What may be among the best, with its columns, in their order: both (m, c), filled up with -inf on the right.

        Once a few blocks have been seen that is next to nothing, so that a look at each similarity is all it takes.
        """
        full = self.values.shape[1] == self.k
        inside = similarities > self.values[:, -1:] if full else torch.ones_like(similarities, dtype=torch.bool)
        counts = inside.sum(dim=1)
        if int(counts.max()) > 4 * self.k:
            bar = similarities.topk(self.k, dim=1).values[:, -1:]
            equal = similarities == bar  # all of them, where a network has collapsed
            inside &= (similarities > bar) | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= self.k))
            counts = inside.sum(dim=1)
        rows, columns = inside.nonzero(as_tuple=True)
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        values = similarities.new_full((len(counts), int(counts.max())), float("-inf"))
        values[rows, place] = similarities[rows, columns]
        return values, torch.zeros_like(values, dtype=torch.int64).index_put_((rows, place), columns)
