"""Features that need not be in memory: rows in several tensors, as mapped files give them, used as if they were one."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import TypeAlias

import torch

from mec_transfer.common.device import free_memory


class FeatureRows:
    """(N, D) float32 rows on the CPU that lie in parts, in their order.

    A slice, or a tensor of indices, copies the rows asked for into one tensor, as of a tensor; the others stay where
    they are.
    """

    def __init__(self, parts: Sequence[torch.Tensor]) -> None:
        """At least one part; each is (n, D)."""
        self.parts = tuple(parts)
        self.starts = list(itertools.accumulate(map(len, self.parts), initial=0))
        self.shape: torch.Size = torch.Size((self.starts[-1], self.parts[0].shape[1]))
        self.device: torch.device = self.parts[0].device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return torch.cat(self.between(start, stop).parts)
        if len(self.parts) == 1 or not len(rows):
            return self.parts[0][rows]
        places = ((bisect.bisect_right(self.starts, row) - 1, row) for row in rows.tolist())
        return torch.stack([self.parts[part][row - self.starts[part]] for part, row in places])

    def between(self, start: int, stop: int) -> FeatureRows:
        """Return the rows from `start` to before `stop`, without a copy."""
        own = slice(bisect.bisect_right(self.starts, start) - 1, bisect.bisect_left(self.starts, stop))
        places = zip(self.parts[own], self.starts[own], strict=False)  # one more start: the end
        inside = [part[max(0, start - first) : stop - first] for part, first in places]
        return FeatureRows(inside or [self.parts[0][:0]])


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


def on_device(rows: FeatureRows, device: torch.device) -> torch.Tensor | FeatureRows:
    """Return the rows in one tensor on a GPU if they fill no more than half of what it has free; else as they are."""
    if 4 * rows.shape.numel() > free_memory(device) // 2:
        return rows
    there = torch.empty(rows.shape, device=device)
    done = 0
    for part in rows.parts:
        there[done : done + len(part)] = part
        done += len(part)
    return there
