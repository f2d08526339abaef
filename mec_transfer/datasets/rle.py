"""Masks as COCO's compressed run lengths: written, checked and measured without being unpacked.

The text holds the lengths of runs of 0 and 1 in turn, down the columns, from the third on as the difference to the
length two before; each number in base 32, low digits first, 48 added to a digit, 32 where another digit follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_DIGITS = 6
"""More than a run in any image can need."""


def mask_fields(line: str) -> list[str]:
    """Return the fields of a line of a MOTS file, between blanks, tabs or commas; no RLE holds any of these."""
    return line.replace(",", " ").split()


def mask_text(mask: np.ndarray) -> str:
    """Return a mask, (H, W) bool of at least one pixel, as COCO's compressed run lengths."""
    pixels = mask.ravel(order="F")
    starts = np.flatnonzero(np.diff(pixels, prepend=False))  # of every run but the first, which is of 0
    return lengths_text(np.diff(starts, prepend=0, append=len(pixels)))


def lengths_text(lengths: np.ndarray) -> str:
    """Return the lengths of runs of 0 and 1 in turn, (R,) int64, the first of 0, as COCO's compressed text."""
    numbers = lengths.copy()
    numbers[3:] -= lengths[1:-2]
    return "".join(map(_number_text, numbers.tolist()))


def _number_text(number: int) -> str:
    text = ""
    while True:
        digit, number = number & 31, number >> 5
        if number == (-1 if digit & 16 else 0):
            return text + chr(48 + digit)
        text += chr(48 + digit + 32)


def mask_runs(counts: str, height: int, width: int) -> np.ndarray:
    """Return the runs of a mask, (R, 2) int64: start and end, half-open, of pixels counted down the columns.

    Raises:
        ValueError: with what is wrong: not such a text, or not of as many pixels as the image has.
    """
    text = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if not len(text) or text.min() < 0 or text.max() > 63 or text[-1] & 32:
        raise ValueError("malformed RLE")
    last = np.flatnonzero(~(text & 32).astype(bool))
    first = np.concatenate([[0], last[:-1] + 1])
    digits = last - first + 1
    if digits.max() > _DIGITS:
        raise ValueError("malformed RLE")
    place = np.arange(len(text)) - np.repeat(first, digits)
    lengths = np.add.reduceat((text & 31) << (5 * place), first)
    lengths -= np.where(text[last] & 16, 1 << (5 * digits), 0)
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    ends = np.cumsum(lengths)
    if lengths.min() < 0 or ends[-1] != height * width:
        raise ValueError(f"malformed RLE: its runs do not add up to {height} x {width} pixels")
    runs = np.stack([ends - lengths, ends], axis=1)[1::2]
    return runs[runs[:, 1] > runs[:, 0]]


def runs_box(runs: np.ndarray, height: int) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1, half-open, of the box around a mask that is not empty."""
    left, right = runs[:, 0] // height, (runs[:, 1] - 1) // height
    top, bottom = runs[:, 0] % height, (runs[:, 1] - 1) % height
    wraps = right > left
    top, bottom = np.where(wraps, 0, top), np.where(wraps, height - 1, bottom)
    return int(left.min()), int(top.min()), int(right.max()) + 1, int(bottom.max()) + 1


def first_overlap(masks: Sequence[np.ndarray]) -> tuple[int, int] | None:
    """Return the indices of two masks, each its runs, that share a pixel; None if none do."""
    if not masks:
        return None
    owner = np.repeat(np.arange(len(masks)), [len(runs) for runs in masks])
    runs = np.concatenate(masks)
    order = np.argsort(runs[:, 0], kind="stable")
    runs, owner = runs[order], owner[order]
    clash = np.flatnonzero(runs[1:, 0] < runs[:-1, 1])
    if not len(clash):
        return None
    one, two = int(owner[clash[0]]), int(owner[clash[0] + 1])
    return min(one, two), max(one, two)
