"""Cosine similarities of a frame's cells with those of other frames, a block at a time, where they can matter only.

A cell looks at a neighbourhood in recent frames, so most of the cells x cells matrix is never needed. The map is cut
into tiles; the cells that a tile's neighbourhoods cover are one window, and window and tile are multiplied as one small
matrix product for all recent frames at once. Each frame's features are laid out anew when it comes: in strips of
columns as wide as a window, so that a window (some rows of a strip) is contiguous and never copied.
"""

# F recent frames, Q cells of a block of the new frame, N cells it is compared with, G groups of them, C channels

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F

_TILE = (8, 12)  # rows, columns: small enough for a tight window, large enough for the matrix product
_CUDA_TILE = (20, 27)  # few large products, where starting one costs more than cells that are computed and not used
_CHUNK = 1024
_GROUPS = 16


@dataclasses.dataclass(frozen=True)
class Neighbourhood:
    """Which cells of another frame a cell looks at."""

    radius: int
    """In cells."""
    shape: Literal["disk", "square"]
    """disk: Euclidean distance strictly below the radius; square: rows and columns apart by the radius at most."""

    @property
    def reach(self) -> int:
        """The most rows or columns apart."""
        return self.radius - 1 if self.shape == "disk" else self.radius

    def holds(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Whether it holds a cell that many rows and columns away (bool, broadcast)."""
        if self.shape == "disk":
            return rows**2 + columns**2 < self.radius**2
        return (rows.abs() <= self.radius) & (columns.abs() <= self.radius)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """A block of the new frame's cells, and how similar they are to what they are compared with."""

    cells: torch.Tensor
    """(Q,) int64: their numbers, row by row."""
    similarity: torch.Tensor
    """(G, Q, N) float32; -inf where a cell is not looked at."""
    keys: torch.Tensor
    """(G, N) int64: number of a cell plus frame x cells, the frame being the one that `remember` was told."""


class LocalAffinity:
    """Compares new frames with the ones remembered; all of one size, with features of C channels."""

    def __init__(
        self, rows: int, columns: int, channels: int, frames: int, neighbourhood: Neighbourhood, device: torch.device
    ) -> None:
        """`frames` is how many there is room for."""
        self.rows, self.columns, self.neighbourhood, self._device = rows, columns, neighbourhood, device
        self._filled = 0
        height, width = _CUDA_TILE if device.type == "cuda" else _TILE
        self._row_tiles = [self._tile(start, height, rows) for start in range(0, rows, height)]
        self._column_tiles = [self._tile(start, width, columns) for start in range(0, columns, width)]
        self._strips = [
            torch.empty((frames, rows, tile.until - tile.since, channels), device=device) for tile in self._column_tiles
        ]
        self._outside: dict[tuple[int, ...], torch.Tensor] = {}
        self._everywhere = torch.empty(0, device=device)

    def remember(self, cells: torch.Tensor, frame: int) -> None:
        """Keep a frame's `unit_cells` in place `frame` (from 0), in place of what was there."""
        for strip, tile in zip(self._strips, self._column_tiles, strict=True):
            strip[frame] = cells[:, tile.since : tile.until]
        self._filled = max(self._filled, frame + 1)

    def remember_everywhere(self, cells: torch.Tensor) -> None:
        """Keep the `unit_cells` of the frame whose cells are looked at from everywhere."""
        flat = cells.flatten(0, 1)
        size = -(-len(flat) // _GROUPS)
        self._everywhere = F.pad(flat, (0, 0, 0, size * _GROUPS - len(flat)))

    def near(self, cells: torch.Tensor) -> Iterator[Block]:
        """Compare a frame's `unit_cells` with their neighbourhoods in all remembered frames, one group a frame."""
        number = torch.arange(self.rows * self.columns, device=self._device).view(self.rows, self.columns)
        frame = torch.arange(self._filled, device=self._device)[:, None] * number.numel()
        for strip, across in zip(self._strips, self._column_tiles, strict=True):
            columns = cells[:, across.start : across.stop].contiguous()
            for down in self._row_tiles:
                query = columns[down.start : down.stop].flatten(0, 1)
                keys = strip[: self._filled, down.since : down.until].flatten(1, 2)
                similarity = torch.baddbmm(
                    self._outside_of(down, across), query.expand(self._filled, -1, -1), keys.transpose(1, 2)
                )
                window = number[down.since : down.until, across.since : across.until].flatten()
                yield Block(
                    cells=number[down.start : down.stop, across.start : across.stop].flatten(),
                    similarity=similarity,
                    keys=window + frame,
                )

    def everywhere(self, cells: torch.Tensor) -> Iterator[Block]:
        """Compare a frame's `unit_cells` with all of the frame that is looked at from everywhere, in groups."""
        flat = cells.flatten(0, 1)
        keys = torch.arange(len(self._everywhere), device=self._device).view(_GROUPS, -1)
        for start in range(0, len(flat), _CHUNK):
            query = flat[start : start + _CHUNK]
            # One product for all groups: a third faster than one for each, and the same bits.
            similarity = (query @ self._everywhere.T).unflatten(1, (_GROUPS, -1)).transpose(0, 1)
            similarity.masked_fill_((keys >= len(flat))[:, None], -torch.inf)
            yield Block(
                cells=torch.arange(start, start + len(query), device=self._device),
                similarity=similarity,
                keys=keys.clamp(max=len(flat) - 1),
            )

    def _tile(self, start: int, size: int, length: int) -> _Tile:
        stop, reach = min(start + size, length), self.neighbourhood.reach
        return _Tile(start=start, stop=stop, since=max(0, start - reach), until=min(length, stop + reach))

    def _outside_of(self, down: _Tile, across: _Tile) -> torch.Tensor:
        """Return (1, Q, N): 0 within the neighbourhood and -inf outside; the same for all tiles off the border."""
        key = (*down.shape, *across.shape)
        if key not in self._outside:
            rows, columns = down.apart(self._device), across.apart(self._device)
            holds = self.neighbourhood.holds(rows[:, None, :, None], columns[None, :, None, :])
            outside = torch.zeros(holds.shape, device=self._device).masked_fill_(~holds, -torch.inf)
            self._outside[key] = outside.flatten(2, 3).flatten(0, 1)[None]
        return self._outside[key]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tile:
    """A tile's span along one axis, and its window's."""

    start: int
    stop: int
    since: int
    until: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.stop - self.start, self.start - self.since, self.until - self.stop

    def apart(self, device: torch.device) -> torch.Tensor:
        """(tile, window): how far the window's cells are from the tile's."""
        window = torch.arange(self.since, self.until, device=device)
        return window - torch.arange(self.start, self.stop, device=device)[:, None]


def unit_cells(features: torch.Tensor) -> torch.Tensor:
    """Return a map of features, (C, rows, columns), as (rows, columns, C), contiguous, each cell of length 1."""
    return F.normalize(features.permute(1, 2, 0).contiguous(), dim=-1)
