"""Windows of a frame, warped to squares: what single-object tracking compares.

As UniTrack cuts them (tracker/sot/lib/utils/utils.py, `crop_chw`): the window's corners fall on the centres of the
crop's outermost pixels, pixels between are bilinear, and outside the *normalised* frame everything is zero. That code
calls OpenCV 4's warpAffine, which rounds coordinates to 1/32 of a pixel; OpenCV 5 no longer does.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

_FRACTION = 1 << 10
"""OpenCV's fixed point: the parts of a pixel in which it adds up coordinates."""


def warp_windows(
    pixels: torch.Tensor, windows: np.ndarray, size: int, *, subpixels: int = 32, part: slice = slice(None)
) -> torch.Tensor:
    """Return each window of a frame as a (3, size, size) crop, or the same part of each, all of them in one tensor.

    Args:
        pixels: (3, H, W) float32, normalised.
        windows: (N, 4) float64: x0, y0, x1, y1 in pixels, where 0 is the centre of the first pixel.
        size: of the crops, in pixels.
        subpixels: coordinates are rounded to so many parts of a pixel; 0: not at all.
        part: the crops' rows, and columns, that are wanted.

    Returns:
        (N, 3, size, size) float32 on the device of `pixels`, contiguous as channels_last, or only the part.
    """
    count, height = len(windows), pixels.shape[1] + 2
    scales = (size - 1) / (windows[:, 2:] - windows[:, :2])
    determinants = 1 / (scales[:, 0] * scales[:, 1])
    axes = []
    for axis, length in enumerate((pixels.shape[2], pixels.shape[1])):
        # As OpenCV inverts the map, bit by bit: a last bit can move a coordinate by 1/32 of a pixel.
        step = scales[:, 1 - axis] * determinants
        start = -step * (-scales[:, axis] * windows[:, axis])
        taps = _taps(*_coordinates(step, start, size, subpixels, rounded_apart=axis == 0), length)
        axes.append([tap[:, part].to(pixels.device) for tap in taps])
    (left, right, across), (upper, lower, down) = axes
    side = left.shape[1]
    # Whole columns, then whole rows of what they give: the fewest and the longest copies.
    bordered = F.pad(pixels, (1, 1, 1, 1)).permute(2, 1, 0).contiguous()
    strips = _between(bordered, left.flatten(), right.flatten(), across.flatten())
    strips = strips.view(count, side, height, 3).transpose(1, 2).reshape(count * height, side, 3)
    begins = height * torch.arange(count, device=pixels.device)[:, None]
    crops = _between(strips, (upper + begins).flatten(), (lower + begins).flatten(), down.flatten())
    return crops.view(count, side, side, 3).permute(0, 3, 1, 2)


def _between(lines: torch.Tensor, first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.lerp(lines.index_select(0, first), lines.index_select(0, second), weight[:, None, None])


def _coordinates(
    step: np.ndarray, start: np.ndarray, size: int, subpixels: int, rounded_apart: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each window's pixels lie along one axis, (N, size): the whole pixel (int64) and the rest of it.

    OpenCV rounds twice: to 1/1024 of a pixel, the way and the start apart along x and together along y; then to 1/32.
    """
    steps = step[:, None] * np.arange(size)
    if not subpixels:
        exact = steps + start[:, None]
        whole = np.floor(exact)
        return whole.astype(np.int64), exact - whole
    parts = [steps, start[:, None]] if rounded_apart else [steps + start[:, None]]
    fixed = sum(np.rint(part * _FRACTION).astype(np.int64) for part in parts)
    ratio = _FRACTION // subpixels
    whole, rest = np.divmod((fixed + ratio // 2) // ratio, subpixels)
    return whole, rest / subpixels


def _taps(whole: np.ndarray, rest: np.ndarray, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the two pixels that a pixel lies between and the second one's weight.

    Indices count from the zero border of one pixel; everything farther out is that border too.
    """
    nearer, farther = (torch.from_numpy((whole + shift).clip(-1, length) + 1) for shift in (0, 1))
    return nearer, farther, torch.from_numpy(rest.astype(np.float32))
