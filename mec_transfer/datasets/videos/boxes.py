"""Boxes in the frames of a video."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from mec_transfer.datasets.videos.frames import Frames


def far_outside(boxes: np.ndarray, frames: Frames) -> np.ndarray:
    """Return which boxes, (N, 4) of x0, y0, x1, y1, are farther out of the image than they are large.

    Boxes of people who leave are extrapolated: in MOT16-10 one that counts ends two pixels before the image begins.
    Farther out, the numbers are of another image or in another order.
    """
    (x0, y0, x1, y1), width, height = boxes.T, boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    out: np.ndarray = np.maximum(x0 - frames.width, -x1) > width
    return out | (np.maximum(y0 - frames.height, -y1) > height)


def split_by_frame(numbers: np.ndarray, frames: Sequence[int]) -> list[np.ndarray]:
    """Return the indices of the rows, `numbers` their frame numbers, of each of the consecutive `frames`, in order."""
    order = np.argsort(numbers, kind="stable")
    edges = np.searchsorted(numbers[order], [*frames, frames[-1] + 1])
    return [order[start:end] for start, end in itertools.pairwise(edges)]
