"""Two random views of an image, by MoCo v3's recipe as MEC uses it (MEC main_pretrain.py, loader.py).

Drawing and applying are apart: `draw_view` takes a random generator and gives a `View`, `apply_view` makes its pixels.
Distributions are those of torchvision's transforms of the same names.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode, functional

from pretrain.config import ViewsConfig

_ASPECT = (math.log(3 / 4), math.log(4 / 3))
_JITTERS = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """What is done to an image to make one view, in the order of the fields."""

    box: tuple[int, int, int, int]
    """Left, top, width, height of the crop, in pixels of the image."""
    jitter: tuple[tuple[int, float], ...] = ()
    """(which of brightness, contrast, saturation, hue; its factor), in the order of their application."""
    gray: bool = False
    blur_sigma: float | None = None
    solarize: bool = False
    flip: bool = False


def draw_view(random: np.random.Generator, config: ViewsConfig, number: int, image_size: tuple[int, int]) -> View:
    """Draw view `number` (0 or 1) of an image of `image_size` (width, height)."""

    def happens(probability: float) -> bool:
        return bool(random.random() < probability)

    return View(
        box=_draw_box(random, image_size, config.crop_scale),
        jitter=_draw_jitter(random, config.jitter) if happens(config.jitter_probability) else (),
        gray=happens(config.gray_probability),
        blur_sigma=random.uniform(*config.blur_sigma) if happens(config.blur_probability[number]) else None,
        solarize=happens(config.solarize_probability[number]),
        flip=happens(config.flip_probability),
    )


def apply_view(image: Image.Image, view: View, size: int) -> torch.Tensor:
    """Return the view's pixels of an RGB image: (3, size, size) uint8."""
    image = crop(image, view.box, size)
    for which, factor in view.jitter:
        image = _JITTERS[which](image, factor)
    if view.gray:
        image = functional.rgb_to_grayscale(image, num_output_channels=3)
    if view.blur_sigma is not None:
        image = image.filter(ImageFilter.GaussianBlur(radius=view.blur_sigma))
    if view.solarize:
        image = ImageOps.solarize(image)
    if view.flip:
        image = ImageOps.mirror(image)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def crop(image: Image.Image, box: tuple[int, int, int, int], size: int) -> Image.Image:
    """Cut out a box (left, top, width, height) and resize it to a square of `size` pixels, bilinearly."""
    left, top, width, height = box
    return functional.resized_crop(image, top, left, height, width, [size, size], InterpolationMode.BILINEAR)


def _draw_box(
    random: np.random.Generator, image_size: tuple[int, int], scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    """As RandomResizedCrop: ten attempts at an area and an aspect ratio, else the largest central crop allowed."""
    image_width, image_height = image_size
    for _ in range(10):
        area = image_width * image_height * random.uniform(*scale)
        aspect = math.exp(random.uniform(*_ASPECT))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= image_width and 0 < height <= image_height:
            left = int(random.integers(image_width - width + 1))
            top = int(random.integers(image_height - height + 1))
            return left, top, width, height
    lowest, highest = map(math.exp, _ASPECT)
    width = min(image_width, round(image_height * highest))
    height = min(image_height, round(image_width / lowest))
    return (image_width - width) // 2, (image_height - height) // 2, width, height


def _draw_jitter(
    random: np.random.Generator, strengths: tuple[float, float, float, float]
) -> tuple[tuple[int, float], ...]:
    *around_one, hue = strengths
    factors = [random.uniform(1 - strength, 1 + strength) for strength in around_one]
    factors.append(random.uniform(-hue, hue))
    return tuple((int(which), factors[which]) for which in random.permutation(4))
