"""Exact nearest neighbours by cosine similarity, and their weighted vote.

The training rows are read once, a block at a time, and may lie in mapped files: what is held is one block, the test
rows and the k best of each so far, however many training rows there are.
"""

from __future__ import annotations

import torch

from mec_transfer.classification.feature_rows import FeatureRows
from mec_transfer.common.device import multiplies_by_onednn, prefers_large_operations

_CHUNK_ELEMENTS = 1 << 26
"""Similarities held at once: 256 MiB."""
_BLOCK, _LARGE_BLOCK = 1 << 14, 1 << 16
"""Training rows held at once: 128 and 512 MiB of 2048 features. It does not follow the memory that is free: the last
bits of a product, and so a number, would depend on it."""
_FEW = 256
"""Test rows that are held at once at the least."""


@torch.no_grad()
def nearest(
    train: torch.Tensor | FeatureRows, test: torch.Tensor | FeatureRows, k: int, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
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
    large = prefers_large_operations(device)
    block = _LARGE_BLOCK if large else _BLOCK
    # On a CPU the shapes of the products are those of the first version, and so are their last bits.
    rows = max(_FEW, _CHUNK_ELEMENTS // (min(block, len(train)) if large else len(train)))
    chunks = [chunk for chunk in _unit(test, 0, torch.empty(test.shape, device=device)).split(rows) if len(chunk)]
    best = [_Best(len(chunk), k, device) for chunk in chunks]
    memory = torch.empty(min(block, len(train)), train.shape[1], device=device)  # anew each time would take longer
    for start in range(0, len(train), block):
        unit = _unit(train, start, memory[: len(train) - start])
        for chunk, found in zip(chunks, best, strict=True):
            found.add(_similarities(chunk, unit), start)
    none = (torch.empty(0, k), torch.empty(0, k, dtype=torch.int64))  # of no test rows
    values, indices = zip(none, *((found.values.cpu(), found.indices.cpu()) for found in best), strict=True)
    return torch.cat(values), torch.cat(indices)


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


def _unit(rows: torch.Tensor | FeatureRows, start: int, out: torch.Tensor) -> torch.Tensor:
    """Fill `out`, (n, D) float32, with the rows from `start` on, scaled to length 1, and return it."""
    stop, done = start + len(out), 0
    for piece in rows.between(start, stop).parts if isinstance(rows, FeatureRows) else [rows[start:stop]]:
        torch.nn.functional.normalize(piece.to(out.device).float(), dim=1, out=out[done : done + len(piece)])
        done += len(piece)
    return out


def _similarities(test: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
    """(m, D) and (n, D) -> (m, n), in full float32.

    On a CPU through oneDNN: on AMD's processors 1.3 to 1.6 times as fast as MKL, which `@` calls.
    """
    if not multiplies_by_onednn(test.device):
        return test @ train.T
    if len(test) < _FEW:
        return torch.nn.functional.linear(test.to_mkldnn(), train.to_mkldnn()).to_dense()
    # What torch.compile makes of a linear layer: the same, but without a copy of both in oneDNN's own layout. For few
    # rows it sums in another order, and their last bits would not be those of the first version.
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(test, train, None, "none", [], "")
    return product


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
        height, full = len(similarities), self.values.shape[1] == self.k
        inside = similarities > self.values[:, -1:] if full else _highest(similarities, self.k)
        rows, columns = inside.nonzero(as_tuple=True)
        counts = rows.bincount(minlength=height)
        if int(counts.max()) > 4 * self.k:
            rows, columns = (inside & _highest(similarities, self.k)).nonzero(as_tuple=True)
            counts = rows.bincount(minlength=height)
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        values = similarities.new_full((height, int(counts.max())), float("-inf"))
        values[rows, place] = similarities[rows, columns]
        return values, torch.zeros_like(values, dtype=torch.int64).index_put_((rows, place), columns)


def _highest(similarities: torch.Tensor, k: int) -> torch.Tensor:
    """Mark the k highest of each row, and a few of those equal to the last, the first ones among them: (m, n) bool."""
    if similarities.shape[1] <= k:
        return torch.ones_like(similarities, dtype=torch.bool)
    bar = similarities.topk(k, dim=1).values[:, -1:]
    equal = similarities == bar  # where a network has collapsed, all of them
    return (similarities > bar) | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= k))
