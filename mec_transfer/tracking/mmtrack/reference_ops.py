"""Detectors' two operations written out in float64, box by box and sample by sample, to compare fast ones with."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def random_boxes(number: int) -> tuple[Tensor, Tensor]:
    """Return seeded boxes (N, 4) that overlap, at whole pixels, and their scores (N,), all different."""
    generator = torch.Generator().manual_seed(1)
    corner = torch.randint(0, 60, (number, 2), generator=generator)
    size = torch.randint(5, 40, (number, 2), generator=generator)
    scores = torch.randperm(number, generator=generator).float() / number
    return torch.cat((corner, corner + size), dim=1).float(), scores


def random_regions() -> tuple[Tensor, Tensor]:
    """Return seeded images (2, 5, 24, 32) and regions (K, 5), image index first, some beyond the edge."""
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(12, 2, generator=generator) * 60 - 6
    size = torch.rand(12, 2, generator=generator) * 30
    index = torch.arange(12)[:, None] % 2
    return torch.rand(2, 5, 24, 32, generator=generator), torch.cat((index, corner, corner + size), dim=1)


def nms(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float, offset: int) -> list[int]:
    """Return the indices that greedy non-maximum suppression keeps, best first.

    Args:
        boxes: (N, 4), corners.
        scores: (N,).
        threshold: a box goes that overlaps a better one that stays by a larger IoU.
        offset: what is added to widths and heights, 1 where corners are the last pixels.
    """
    left, top, right, bottom = boxes.astype(np.float64).T
    areas = (right - left + offset) * (bottom - top + offset)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        for better in kept:
            width = min(right[index], right[better]) - max(left[index], left[better]) + offset
            height = min(bottom[index], bottom[better]) - max(top[index], top[better]) + offset
            inner = max(width, 0.0) * max(height, 0.0)
            if inner / (areas[index] + areas[better] - inner) > threshold:
                break
        else:
            kept.append(int(index))
    return kept


def roi_align(image: Array, rois: Array, size: tuple[int, int], scale: float, samples: int, aligned: bool) -> Array:
    """Return the averages (K, C, height, width) of bilinear samples in each bin of each region (Mask R-CNN, 3).

    Args:
        image: (N, C, H, W).
        rois: (K, 5), the index of the image and the corners in its pixels times 1 / `scale`.
        size: bins along height and width.
        scale: of the regions' coordinates.
        samples: along each side of a bin; 0 takes as many as the bin has pixels, rounded up.
        aligned: whether a pixel's centre, not its corner, lies at its whole number (and regions may be thin).
    """
    result = np.zeros((len(rois), image.shape[1], *size))
    shift = 0.5 if aligned else 0.0
    for number, (index, *corners) in enumerate(rois):
        left, top, right, bottom = (corner * scale - shift for corner in corners)
        width, height = right - left, bottom - top
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_height, bin_width = height / size[0], width / size[1]
        rows, columns = samples or math.ceil(bin_height), samples or math.ceil(bin_width)
        for row in range(size[0]):
            for column in range(size[1]):
                total = np.zeros(image.shape[1])
                for j in range(rows):
                    for i in range(columns):
                        y = top + (row + (j + 0.5) / rows) * bin_height
                        x = left + (column + (i + 0.5) / columns) * bin_width
                        total += _bilinear(image[int(index)], y, x)
                result[number, :, row, column] = total / max(rows * columns, 1)
    return result


def _bilinear(image: Array, y: float, x: float) -> Array:
    """Return the value (C,) of `image` (C, H, W) at a point; 0 more than a pixel beyond its edge."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(image.shape[0])
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, along = y - top, x - left
    above: Array = image[:, top, left] * (1 - along) + image[:, top, right] * along
    below: Array = image[:, bottom, left] * (1 - along) + image[:, bottom, right] * along
    return above * (1 - down) + below * down
