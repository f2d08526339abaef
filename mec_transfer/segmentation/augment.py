"""How images are resized, cut and changed: mmseg's pipelines, with draws from a generator that is the image's own.

Sizes, draws and the order of the steps are mmseg's and mmcv's. The arithmetic differs in the last of 8 bits: an image
is resized bilinearly in float32 and rounded, where OpenCV works with 11 bits of the coefficients.
"""

from __future__ import annotations

import numpy as np

from mec_transfer.datasets.segments.split import VOID
from mec_transfer.segmentation.config import AugmentationConfig

_TRIES = 10
_BRIGHTNESS, _FACTOR, _HUE = 32.0, (0.5, 1.5), 18
"""mmseg's PhotoMetricDistortion; hue is counted in 180 steps."""


def fitted_size(width: int, height: int, scale: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height that an image has once it is resized to fit a frame of long and short side."""
    factor = min(max(scale) / max(width, height), min(scale) / min(width, height))
    return max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5))


def resize_image(pixels: np.ndarray, width: int, height: int, top: int = 0, left: int = 0, crop: int = 0) -> np.ndarray:
    """Resize (H, W, 3) uint8 bilinearly, without smoothing where it shrinks, as OpenCV does.

    With `crop`, only the square of that side from (top, left) on, as far as it lies in the resized image, is computed.
    """
    rows, columns = range(top, min(top + crop, height) if crop else height), range(left, width)
    columns = columns[:crop] if crop else columns
    above, below, down = _neighbours(pixels.shape[0], height, rows)
    before, behind, across = _neighbours(pixels.shape[1], width, columns)
    first, last = int(before[0]), int(behind[-1]) + 1
    part = pixels[:, first:last]
    down, across = down[:, None, None], across[:, None]
    part = part[above] * (1 - down) + part[below] * down
    part = part[:, before - first] * (1 - across) + part[:, behind - first] * across
    resized: np.ndarray = np.rint(part).astype(np.uint8)
    return resized


def _neighbours(length: int, wanted: int, places: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for some of the `wanted` places along an axis, the two pixels it lies between, and how far."""
    at = ((np.array(places) + 0.5) * (length / wanted) - 0.5).clip(0, length - 1)
    first = at.astype(np.int64)
    return first, (first + 1).clip(max=length - 1), (at - first).astype(np.float32)


def resize_labels(labels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (H, W) uint8: each pixel takes the label at its upper left corner, as OpenCV's nearest neighbour does."""
    rows = (np.arange(height) * (labels.shape[0] / height)).astype(np.int64).clip(max=labels.shape[0] - 1)
    columns = (np.arange(width) * (labels.shape[1] / width)).astype(np.int64).clip(max=labels.shape[1] - 1)
    return labels[rows[:, None], columns]


def augment(
    pixels: np.ndarray,
    labels: np.ndarray,
    scale: tuple[int, int],
    config: AugmentationConfig,
    chance: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Resize, crop, flip and distort an image, (H, W, 3) uint8, and its labels, (H, W) uint8.

    Returns:
        Both as squares of `config.crop`, and the height and width of what is no padding; labels there are VOID.
    """
    low, high = config.ratio
    ratio = chance.random() * (high - low) + low
    frame = int(scale[0] * ratio), int(scale[1] * ratio)
    width, height = fitted_size(pixels.shape[1], pixels.shape[0], frame)
    labels = resize_labels(labels, width, height)
    top, left = _place(labels, config, chance)
    labels = labels[top : top + config.crop, left : left + config.crop]
    pixels = resize_image(pixels, width, height, top, left, config.crop)
    if chance.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    if config.distortion:
        pixels = distort(pixels, chance)
    below, beside = (config.crop - length for length in labels.shape)
    size = labels.shape[0], labels.shape[1]
    pixels = np.pad(pixels, ((0, below), (0, beside), (0, 0)))
    return pixels, np.pad(labels, ((0, below), (0, beside)), constant_values=VOID), size


def _place(labels: np.ndarray, config: AugmentationConfig, chance: np.random.Generator) -> tuple[int, int]:
    """Return where a crop begins, top and left: drawn again while one class has too large a share of it."""
    for attempt in range(_TRIES + 1):
        top, left = (int(chance.integers(max(length - config.crop, 0) + 1)) for length in labels.shape)
        if config.most_of_one_class == 1 or attempt == _TRIES:
            break
        found = labels[top : top + config.crop, left : left + config.crop]
        pixels = np.bincount(found.ravel(), minlength=VOID + 1)[:VOID]
        if (pixels > 0).sum() > 1 and pixels.max() / pixels.sum() < config.most_of_one_class:
            break
    return top, left


def distort(pixels: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, saturation and hue of (H, W, 3) uint8, each with probability 1/2.

    Contrast comes second or last, by a draw.
    """
    if _coin(chance):
        pixels = _linear(pixels, 1.0, chance.uniform(-_BRIGHTNESS, _BRIGHTNESS))
    early = _coin(chance)
    if early and _coin(chance):
        pixels = _linear(pixels, chance.uniform(*_FACTOR), 0.0)
    if _coin(chance):
        hsv = to_hsv(pixels)
        hsv[..., 1] = _linear(hsv[..., 1], chance.uniform(*_FACTOR), 0.0)
        pixels = from_hsv(hsv)
    if _coin(chance):
        hsv = to_hsv(pixels)
        hsv[..., 0] = (hsv[..., 0].astype(np.int64) + int(chance.integers(-_HUE, _HUE))) % 180
        pixels = from_hsv(hsv)
    if not early and _coin(chance):
        pixels = _linear(pixels, chance.uniform(*_FACTOR), 0.0)
    return pixels


def to_hsv(pixels: np.ndarray) -> np.ndarray:
    """Return hue in 0...179, saturation and value in 0...255, (H, W, 3) uint8, of RGB, as OpenCV has them."""
    rgb = pixels.astype(np.float32)
    value, low = rgb.max(axis=-1), rgb.min(axis=-1)
    spread = value - low
    red, green, blue = np.moveaxis(rgb, -1, 0)
    safe = np.where(spread > 0, spread, 1)
    hue = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = np.rint(30 * np.where(hue < 0, hue + 6, hue)) % 180
    saturation = np.rint(255 * spread / np.where(value > 0, value, 1))
    return np.stack([np.where(spread > 0, hue, 0), saturation, value], axis=-1).astype(np.uint8)


def from_hsv(hsv: np.ndarray) -> np.ndarray:
    """Return RGB, (H, W, 3) uint8, of what `to_hsv` gives."""
    hue, saturation, value = np.moveaxis(hsv.astype(np.float32), -1, 0)
    sector = hue / 30  # 0...6
    channels = []
    for shift in (5, 3, 1):
        at = (shift + sector) % 6
        channels.append(value - value * saturation / 255 * np.clip(np.minimum(at, 4 - at), 0, 1))
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _coin(chance: np.random.Generator) -> bool:
    return bool(chance.integers(2))


def _linear(values: np.ndarray, factor: float, shift: float) -> np.ndarray:
    """Scale and shift 8-bit values; what lies beyond them is cut off, and fractions are dropped."""
    changed: np.ndarray = np.clip(values.astype(np.float32) * factor + shift, 0, 255).astype(np.uint8)
    return changed
