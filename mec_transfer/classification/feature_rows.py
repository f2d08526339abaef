"""Features that need not be in memory: rows in several tensors, as mapped files give them, used as if they were one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch


class FeatureRows:
    """(N, D) float32 rows on the CPU that lie in parts, in their order.

    A slice, or a tensor of indices, copies the rows asked for into one tensor, as of a tensor; the others stay where
    they are.
    """

    def __init__(self, parts: Sequence[torch.Tensor]) -> None:
        """Every part is (n, D), with the same n but for the last one, which may have fewer."""
        self.parts = tuple(parts)
        self.shape: torch.Size = torch.Size((sum(map(len, self.parts)), self.parts[0].shape[1]))
        self.device: torch.device = self.parts[0].device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return torch.cat([self.parts[0][:0], *pieces(self, start, stop)])
        size = len(self.parts[0])
        if len(self.parts) == 1 or not len(rows):
            return self.parts[0][rows]
        return torch.stack([self.parts[row // size][row % size] for row in rows.tolist()])


class PickedRows:
    """Some rows of others, in an order of their own, looked up when they are used."""

    def __init__(self, rows: Rows, picked: torch.Tensor) -> None:
        """`picked` is (n,) int64 indices into `rows`."""
        self.device: torch.device = rows.device
        self.shape: torch.Size = torch.Size((len(picked), rows.shape[1]))
        self.rows, self.picked = rows, picked.to(self.device)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        return self.rows[self.picked[rows]]


Rows: TypeAlias = "torch.Tensor | FeatureRows | PickedRows"
"""(N, D): what has a length, a shape and a device, and of which slices and picks are tensors."""


def pieces(rows: Rows, start: int, stop: int) -> Iterator[torch.Tensor]:
    """Yield the rows from `start` to before `stop`; where they lie in parts, part by part and without a copy."""
    if not isinstance(rows, FeatureRows):
        yield rows[start:stop]
        return
    size = len(rows.parts[0])
    while start < stop:
        part, first = divmod(start, size)
        piece = rows.parts[part][first : first + stop - start]
        yield piece
        start += len(piece)


def on_device(rows: FeatureRows, device: torch.device) -> torch.Tensor | FeatureRows:
    """Return the rows in one tensor on a GPU if they fill no more than half of what it has free; else as they are."""
    if device.type != "cuda" or 4 * rows.shape.numel() > torch.cuda.mem_get_info(device)[0] // 2:
        return rows
    there = torch.empty(rows.shape, device=device)
    done = 0
    for part in rows.parts:
        there[done : done + len(part)] = part
        done += len(part)
    return there
