"""Crops against a warp written out as matrices in float64, and against OpenCV's own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mec_transfer.tracking.sot.crops import warp_windows

SIZE = 24
FRAME = np.random.default_rng(0).normal(size=(3, 19, 31)).astype(np.float32)
WINDOWS = {
    "inside": (4.3, 5.1, 17.9, 14.2),
    "over the left and upper border": (-8.2, -3.7, 11.4, 9.3),
    "larger than the frame": (-40.0, -20.5, 70.25, 44.0),
    "three pixels": (12.0, 7.0, 15.0, 10.0),
    "far outside": (300.0, 400.0, 320.0, 410.0),
}


def slow_warp(frame: np.ndarray, window: tuple[float, ...], size: int, parts: int) -> np.ndarray:
    """Bilinear in float64 with zeros outside, as two matrices; in 1/1024 and then 1/32 of a pixel where parts is 32."""
    x0, y0, x1, y1 = window
    weights = [np.zeros((size, length)) for length in frame.shape[1:]]
    for place in range(size):
        way_x, way_y = place * (x1 - x0) / (size - 1), place * (y1 - y0) / (size - 1)
        x, y = way_x + x0, way_y + y0
        if parts:
            x = (round(1024 * way_x) + round(1024 * x0) + 16) // 32 / 32
            y = (round(1024 * y) + 16) // 32 / 32
        for matrix, value in zip(weights, (y, x), strict=True):
            for pixel in range(matrix.shape[1]):
                matrix[place, pixel] = max(0.0, 1 - abs(value - pixel))
    return weights[0] @ frame.astype(np.float64) @ weights[1].T


@pytest.mark.parametrize("parts", [0, 32])
def test_all_windows_at_once_equal_a_slow_warp_of_each(parts: int) -> None:
    windows = np.array(list(WINDOWS.values()))
    crops = warp_windows(torch.from_numpy(FRAME), windows, SIZE, subpixels=parts)
    assert crops.shape == (len(windows), 3, SIZE, SIZE) and crops.is_contiguous(memory_format=torch.channels_last)
    for crop, window in zip(crops.numpy(), WINDOWS.values(), strict=True):
        np.testing.assert_allclose(crop, slow_warp(FRAME, window, SIZE, parts), atol=2e-6)
    assert not crops[-1].any() and crops[0].all()
    part = warp_windows(torch.from_numpy(FRAME), windows, SIZE, subpixels=parts, part=slice(5, 18))
    assert torch.equal(part, crops[:, :, 5:18, 5:18])


def test_opencv_gives_the_same() -> None:
    # OpenCV 4 rounds coordinates, 5 does not.
    parts, tolerance = (32, 2e-6) if int(cv2.__version__.split(".")[0]) < 5 else (0, 2e-3)
    windows = np.array(list(WINDOWS.values()))
    crops = warp_windows(torch.from_numpy(FRAME), windows, SIZE, subpixels=parts)
    for crop, (x0, y0, x1, y1) in zip(crops.numpy(), windows, strict=True):
        a, b = (SIZE - 1) / (x1 - x0), (SIZE - 1) / (y1 - y0)
        there = cv2.warpAffine(
            FRAME.transpose(1, 2, 0), np.array([[a, 0, -a * x0], [0, b, -b * y0]]), (SIZE, SIZE), borderValue=0
        )
        np.testing.assert_allclose(crop, there.transpose(2, 0, 1), atol=tolerance)
