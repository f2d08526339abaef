"""Objects as columns of numbers: a tenth of the memory of Python's own, and answers about all of them in one step.

Shapes: M objects, P polygons (an RLE counts as one), C numbers of polygons, T bytes of RLE texts.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mec_transfer.datasets.objects.annotation import ObjectAnnotation, Segmentation

NONE, POLYGONS, COUNTS, TEXT, BYTES = range(5)
"""What an object's segmentation is: `COUNTS`, `TEXT` and `BYTES` are RLEs by the type of their counts."""
EXACT = 2**53
"""The largest whole number up to which a float64 holds every one."""
_BLOCK = 1 << 16
"""Pieces that are gathered at a time: an index of all their numbers would take as much memory as they do."""
COLUMNS = {
    **dict.fromkeys(("box", "xywh", "area", "numbers"), "<f8"),
    **dict.fromkeys(("rings", "corners", "letters"), "<i8"),
    **dict.fromkeys(("difficult", "crowd", "whole"), "?"),
    **dict.fromkeys(("kind", "text"), "u1"),
    "class_index": "<i4",
}
"""The columns' types, the same on every machine."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ObjectColumns:
    """Objects, column by column; see `ObjectAnnotation` for what they mean."""

    class_index: np.ndarray
    """(M,) int32."""
    box: np.ndarray
    """(M, 4) float64."""
    xywh: np.ndarray
    """(M, 4) float64, NaN for None."""
    area: np.ndarray
    """(M,) float64, NaN for None."""
    difficult: np.ndarray
    """(M,) bool."""
    crowd: np.ndarray
    """(M,) bool."""
    kind: np.ndarray
    """(M,) uint8: one of NONE, POLYGONS, COUNTS, TEXT, BYTES."""
    rings: np.ndarray
    """(M + 1,) int64: where each object's polygons begin, and at the end P. An RLE is one: height, width, counts."""
    corners: np.ndarray
    """(P + 1,) int64: where each polygon's numbers begin, and at the end C."""
    whole: np.ndarray
    """(P,) bool: every number was written as a whole one, which NumPy, and so Detectron2, treats otherwise."""
    numbers: np.ndarray
    """(C,) float64."""
    letters: np.ndarray
    """(M + 1,) int64: where each object's RLE text begins, and at the end T."""
    text: np.ndarray
    """(T,) uint8, UTF-8."""

    def __post_init__(self) -> None:
        for name, value in self.arrays().items():
            object.__setattr__(self, name, np.ascontiguousarray(value, dtype=COLUMNS[name]))

    def __len__(self) -> int:
        return len(self.class_index)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the columns by name."""
        return dict(vars(self))

    def take(self, order: np.ndarray) -> ObjectColumns:
        """Return the objects at the indices `order`, (K,), in that order."""
        if np.array_equal(order, np.arange(len(self))):
            return self
        polygons, rings = _gather(np.arange(len(self.whole)), self.rings, order)
        numbers, corners = _gather(self.numbers, self.corners, polygons)
        text, letters = _gather(self.text, self.letters, order)
        plain = ("class_index", "box", "xywh", "area", "difficult", "crowd", "kind")
        return ObjectColumns(
            **{name: getattr(self, name)[order] for name in plain},
            rings=rings,
            corners=corners,
            whole=self.whole[polygons],
            numbers=numbers,
            letters=letters,
            text=text,
        )

    @staticmethod
    def join(parts: Sequence[ObjectColumns]) -> ObjectColumns:
        """Return the objects of `parts`, one after the other."""
        if len(parts) == 1:
            return parts[0]
        columns = {name: [getattr(part, name) for part in parts] for name in COLUMNS}
        offsets = ("rings", "corners", "letters")
        return ObjectColumns(
            **{name: np.concatenate(found) for name, found in columns.items() if name not in offsets},
            **{name: join_offsets(columns[name]) for name in offsets},
        )

    def polygon_lengths(self) -> np.ndarray:
        """Return how many numbers each polygon has, (P,)."""
        return np.diff(self.corners)

    def owners(self, places: np.ndarray) -> np.ndarray:
        """Return the indices of the objects whose polygons the numbers at `places`, (K,), belong to."""
        polygons = np.searchsorted(self.corners, places, side="right") - 1
        found: np.ndarray = np.searchsorted(self.rings, polygons, side="right") - 1
        return found

    def annotations(self, start: int, stop: int) -> list[ObjectAnnotation]:
        """Return the objects from `start` up to `stop` as plain values."""
        rings = self.rings[start : stop + 1].tolist()
        polygons = self._polygons(rings[0], rings[-1])
        columns = (self.class_index, self.area, self.difficult, self.crowd, self.kind)
        boxes = (zip(*column[start:stop].T.tolist()) for column in (self.box, self.xywh))
        rows = zip(*(column[start:stop].tolist() for column in columns), *boxes, itertools.pairwise(rings))
        things: list[ObjectAnnotation] = []
        for index, area, difficult, crowd, kind, box, xywh, (begin, end) in rows:
            mine = polygons[begin - rings[0] : end - rings[0]]
            shape: Segmentation | None = mine if kind else None
            if kind > POLYGONS:
                shape = self._rle(start + len(things), kind, mine[0])
            things.append(
                ObjectAnnotation(
                    class_index=index,
                    box=box,
                    xywh=xywh if xywh[0] == xywh[0] else None,  # NaN is not itself
                    difficult=difficult,
                    crowd=crowd,
                    segmentation=shape,
                    area=area if area == area else None,
                )
            )
        return things

    def _polygons(self, start: int, stop: int) -> list[list[float]]:
        corners = self.corners[start : stop + 1].tolist()
        numbers = self.numbers[corners[0] : corners[-1]].tolist()
        polygons = [numbers[begin - corners[0] : end - corners[0]] for begin, end in itertools.pairwise(corners)]
        for index in np.flatnonzero(self.whole[start:stop]):
            polygons[index] = list(map(int, polygons[index]))
        return polygons

    def _rle(self, index: int, kind: int, numbers: list[float]) -> dict[str, Any]:
        height, width, *counts = numbers
        if kind == COUNTS:
            return {"size": [height, width], "counts": counts}
        text = self.text[self.letters[index] : self.letters[index + 1]].tobytes()
        return {"size": [height, width], "counts": text if kind == BYTES else text.decode()}


def pack_objects(things: Sequence[ObjectAnnotation]) -> ObjectColumns:
    """Return plain objects as columns."""
    nothing = (np.nan,) * 4
    shapes = [_parts(thing.segmentation) for thing in things]
    polygons = [polygon for _, polygons, _ in shapes for polygon in polygons]
    return ObjectColumns(
        class_index=np.array([thing.class_index for thing in things]),
        box=np.array([thing.box for thing in things], dtype=np.float64).reshape(-1, 4),
        xywh=np.array([thing.xywh or nothing for thing in things], dtype=np.float64).reshape(-1, 4),
        area=np.array([np.nan if thing.area is None else thing.area for thing in things]),
        difficult=np.array([thing.difficult for thing in things]),
        crowd=np.array([thing.crowd for thing in things]),
        kind=np.array([kind for kind, _, _ in shapes]),
        rings=offsets_of(len(polygons) for _, polygons, _ in shapes),
        corners=offsets_of(map(len, polygons)),
        whole=np.array([is_whole(polygon) for polygon in polygons]),
        numbers=np.array([float(number) for polygon in polygons for number in polygon]),
        letters=offsets_of(len(text) for _, _, text in shapes),
        text=np.frombuffer(b"".join(text for _, _, text in shapes), dtype=np.uint8),
    )


def _parts(shape: Segmentation | None) -> tuple[int, list[list[float]], bytes]:
    """Return a segmentation's kind, numbers and text."""
    if shape is None:
        return NONE, [], b""
    if isinstance(shape, list):
        return POLYGONS, shape, b""
    size, counts = shape["size"], shape["counts"]
    if isinstance(counts, bytes):
        return BYTES, [list(size)], counts
    if isinstance(counts, str):
        return TEXT, [list(size)], counts.encode()
    return COUNTS, [[*size, *counts]], b""


def is_whole(polygon: Sequence[float]) -> bool:
    """Whether a polygon has whole numbers alone, which a float64 can hold."""
    return set(map(type, polygon)) == {int} and max(polygon) <= EXACT and min(polygon) >= -EXACT


def offsets_of(lengths: Iterable[int]) -> np.ndarray:
    """Return where each of several pieces begins, (N + 1,) int64, the last being the end of all."""
    return np.fromiter(itertools.accumulate(lengths, initial=0), dtype=np.int64)


def join_offsets(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return offsets of pieces of which `parts` are the offsets, one after the other."""
    ends = itertools.accumulate((int(part[-1]) for part in parts), initial=0)
    moved = [part[:-1] + end for part, end in zip(parts, ends)]
    return np.concatenate([*moved, [sum(int(part[-1]) for part in parts)]])


def _gather(values: np.ndarray, first: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pieces of `values` that begin at `first`, at the indices `order`, and where they then begin."""
    begin, lengths = first[:-1][order], np.diff(first)[order]
    edges = np.concatenate([[0], np.cumsum(lengths)])
    found = np.empty(edges[-1], dtype=values.dtype)
    for start in range(0, len(order), _BLOCK):
        some = slice(start, start + _BLOCK)
        total = edges[min(start + _BLOCK, len(order))] - edges[start]
        shift = np.repeat(begin[some] - edges[:-1][some], lengths[some])
        found[edges[start] : edges[start] + total] = values[np.arange(edges[start], edges[start] + total) + shift]
    return found, edges
