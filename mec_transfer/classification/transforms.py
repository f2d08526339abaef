"""How an image is cut on the loading processes; `datasets.pixels.normalise` does the rest on the device.

Bytes travel, not floats (four times less to copy), and the result of both is bit for bit that of torchvision's
`Compose([Resize, CenterCrop, ToTensor, Normalize])`, or with `RandomResizedCrop` and `RandomHorizontalFlip`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from mec_transfer.classification.config import ViewConfig
from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.image_list import ImageList

ByteTransform = Callable[[Image.Image], torch.Tensor]


_ENLARGED = 3
"""How many times an image may be enlarged before it is worth a word."""


def remark_on_size(images: ImageList, view: ViewConfig) -> str:
    """Say that a view enlarges images many times, as ImageNet's does those of CIFAR; empty where it does not.

    Raises:
        DataError: the first image cannot be read.
    """
    width, height = images.load(0).size
    times = (view.resize or 0) / min(width, height)
    if times <= _ENLARGED:
        return ""
    return (
        f"{images.name(0)}: {width} x {height} pixels, which this protocol enlarges {times:.0f} times; "
        "the configs cifar10_* take small images as they are"
    )


def eval_transform(view: ViewConfig) -> ByteTransform:
    """Return: shorter side to `resize`, central square of `crop`, as a uint8 tensor (3, crop, crop).

    Of a view that is `squeezed` the whole image becomes the square, as torchvision's `Resize([crop, crop])` does it. A
    view with `squares` begins with these.
    """
    return _CentralView(view)


def train_transform(view: ViewConfig) -> ByteTransform:
    """Return: RandomResizedCrop(crop) of the default scale and ratio, flip with p 0.5, as uint8 (3, crop, crop).

    Draws from torch's global generator exactly as torchvision's own pair does.
    """
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(view.crop, interpolation=_mode(view)),
            transforms.RandomHorizontalFlip(),
            _to_bytes,
        ]
    )


class _CentralView:
    """A class and not a closure, since loading processes may have to pickle it."""

    def __init__(self, view: ViewConfig) -> None:
        self.view = view

    def __call__(self, image: Image.Image) -> torch.Tensor:
        crop = self.view.crop
        for side, interpolation in self.view.squares:
            image = functional.resize(image, [side, side], functional.InterpolationMode(interpolation))
        if self.view.resize is not None:
            image = functional.resize(image, [self.view.resize], _mode(self.view))
        if self.view.squeezed:
            return _to_bytes(functional.resize(image, [crop, crop], _mode(self.view)))
        if min(image.size) < crop:  # torchvision would pad with black and say nothing
            raise DataError(
                f"an image of {image.width}x{image.height} pixels is smaller than the crop of {crop}: "
                "set the view's 'resize', or a smaller 'crop'"
            )
        return _to_bytes(image if image.size == (crop, crop) else functional.center_crop(image, [crop, crop]))


def _mode(view: ViewConfig) -> functional.InterpolationMode:
    return functional.InterpolationMode(view.interpolation)


def _to_bytes(image: Image.Image) -> torch.Tensor:
    """(3, H, W) uint8, lying in memory as the decoder left it (H, W, 3)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
