"""Label propagation: a new frame's cells take the labels of the most similar cells in the frames before it.

Two published variants; the configs name their sources:

unitrack: the context is the first frame, looked at from everywhere, and the last frames, looked at within a disk.
    Where there are not yet enough last frames, copies of the first one stand in and count as often as they are there.
    The softmax runs over the k most similar cells of all together.
dino: the first frame and the last ones other than it, all within a square. What is at least as similar as the k-th
    counts, which with ties is more than k cells.
"""

# F frames of the context, M cells of a map, Q cells of a block, K most similar ones, L labels (0 is the background)

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

import torch

from mec_transfer.tracking.vos.affinity import Block, LocalAffinity, Neighbourhood, unit_cells


@dataclasses.dataclass(frozen=True, kw_only=True)
class Propagation:
    """The settings."""

    variant: Literal["unitrack", "dino"]
    recent: int
    """How many of the last frames, beside the first one."""
    radius: int
    """The radius of the neighbourhood, in cells."""
    topk: int
    temperature: float


class Propagator:
    """Propagates the labels of a video's first frame: give it the frames' features in the order of time."""

    def __init__(self, settings: Propagation, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Take the first frame's features, (C, rows, columns), and its soft labels, (L, rows, columns)."""
        self._settings, self._dino, self._next = settings, settings.variant == "dino", 0
        channels, rows, columns = features.shape
        places = settings.recent + (1 if self._dino else 0)
        shape = Neighbourhood(settings.radius, "square" if self._dino else "disk")
        self._affinity = LocalAffinity(rows, columns, channels, places, shape, features.device)
        # Place after place; UniTrack's first frame, looked at from everywhere, comes after the recent ones.
        self._labels = torch.zeros((settings.recent + 1, rows * columns, len(labels)), device=features.device)
        first = unit_cells(features)
        if self._dino:
            self._remember(first, labels, 0)
            return
        self._affinity.remember_everywhere(first)
        for place in range(settings.recent):
            self._remember(first, labels, place)
        self._labels[settings.recent] = self._labels[0]

    @torch.inference_mode()
    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Return the next frame's soft labels, (L, rows, columns) float32; they are part of the context from here on.

        Args:
            features: (C, rows, columns), as the first frame's.
        """
        cells = unit_cells(features)
        labels = self._follow(cells)
        self._remember(cells, labels, self._next + (1 if self._dino else 0))
        self._next = (self._next + 1) % self._settings.recent
        return labels

    @torch.inference_mode()
    def look(self, features: torch.Tensor) -> torch.Tensor:
        """Return the same, and leave the context as it is."""
        return self._follow(unit_cells(features))

    def _remember(self, cells: torch.Tensor, labels: torch.Tensor, place: int) -> None:
        self._affinity.remember(cells, place)
        self._labels[place] = labels.flatten(1).T

    def _follow(self, cells: torch.Tensor) -> torch.Tensor:
        table = self._labels.flatten(0, 1)
        similarity, keys, tied = self._nearest(cells, self._affinity.near(cells), table)
        if not self._dino:
            far_similarity, far_keys, _ = self._nearest(cells, self._affinity.everywhere(cells), table)
            offset = self._settings.recent * cells.shape[0] * cells.shape[1]
            similarity, best = _largest(torch.cat([similarity, far_similarity], dim=1), self._settings.topk)
            keys = torch.cat([keys, far_keys + offset], dim=1).gather(1, best)
        weights = torch.softmax(similarity / self._settings.temperature, dim=1)
        labels = (table[keys] * weights[..., None]).sum(1)
        for which, those in tied:
            labels[which] = those
        return labels.T.reshape(-1, *cells.shape[:2])

    def _nearest(
        self, cells: torch.Tensor, blocks: Iterable[Block], table: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Return the K largest similarities of every cell, (M, K) descending, their keys, and the labels after ties."""
        topk, count = self._settings.topk, cells.shape[0] * cells.shape[1]
        similarity = cells.new_full((count, topk), -torch.inf)
        keys = torch.zeros((count, topk), dtype=torch.int64, device=cells.device)
        tied = []
        for block in blocks:
            largest, where = _nearest(block, topk + 1 if self._dino else topk)
            found = min(topk, largest.shape[1])
            similarity[block.cells, :found] = largest[:, :found]
            keys[block.cells, :found] = where[:, :found]
            if largest.shape[1] > topk:
                threshold = largest[:, topk - 1]
                ties = ((largest[:, topk] == threshold) & threshold.isfinite()).nonzero()[:, 0]
                if len(ties):
                    tied.append((block.cells[ties], self._all_of(block, ties, threshold[ties], table)))
        return similarity, keys, tied

    def _all_of(self, block: Block, which: torch.Tensor, threshold: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Return (len(which), L): from all that is at least as similar to those cells of a block as `threshold`."""
        similarity = block.similarity[:, which]
        similarity = similarity.masked_fill(similarity < threshold[:, None], -torch.inf).transpose(0, 1).flatten(1)
        return torch.softmax(similarity / self._settings.temperature, dim=1) @ table[block.keys.flatten()]


def _nearest(block: Block, topk: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest similarities, (Q, K), and their keys.

    What is among the largest stands in a column that is among those with the largest maxima over the groups. To take
    the maxima reads everything once, at the speed of memory; only a few columns are left to select from.
    """
    groups = len(block.similarity)
    columns = _largest(block.similarity.amax(0), topk)[1]
    candidates = block.similarity.gather(2, columns.expand(groups, -1, -1))
    similarity, best = _largest(candidates.transpose(0, 1).flatten(1), topk)
    keys = block.keys[:, columns].transpose(0, 1).flatten(1)
    return similarity, keys.gather(1, best)


def _largest(values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `count` largest of each row, descending, and where they are; all where there are fewer."""
    largest = values.topk(min(count, values.shape[1]), dim=1)
    return largest.values, largest.indices
