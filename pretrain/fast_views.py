"""The fast way to two views: processes decode, crop and flip; colour and blur follow for a whole batch on the device.

What is drawn, and the crop's pixels, are the reference's (`pretrain.views`) bit for bit. Colour is computed in floats
that are not rounded between two operations, and the blur is a Gaussian cut off at 3 sigma or later, where Pillow rounds
to bytes each time, knows 256 hues, and takes box filters for a Gaussian: pixels differ from the reference's by one or
two levels of 255 on average. Formulas: torchvision.transforms.v2.functional of the same names, in 0..255.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from mec_transfer.backbone.backbone import Preprocessing
from mec_transfer.common.device import copies_pinned_memory, prefers_large_operations
from mec_transfer.datasets.pixels import normalise
from pretrain.views import View, crop

_GRAY = (0.2989, 0.587, 0.114)
_COLUMNS = 11
_FACTORS, _IS_GRAY, _SIGMA, _SOLARIZE = slice(4, 8), 8, 9, 10
_CACHED_PIXELS = 2**16
"""How many images a CPU colours at a time: their floats stay in its cache."""


class Uncoloured(NamedTuple):
    """A view, or a batch of them, before its colours are changed."""

    pixels: torch.Tensor
    """(N, 3, size, size) uint8; of one view without the N."""
    colour: torch.Tensor
    """(N, 11) float32, on the CPU. Columns: four times which of brightness, contrast, saturation, hue comes next (-1:
    none), their four factors by that number, whether gray, the blur's sigma (0: none), whether to solarize."""

    def split(self, size: int) -> Iterator[Uncoloured]:
        """Yield the batch in parts of `size`."""
        return map(Uncoloured, self.pixels.split(size), self.colour.split(size))


Pixels = torch.Tensor | Uncoloured
"""A batch of one view: final pixels, (N, 3, size, size) uint8, or uncoloured ones."""


def cut_view(image: Image.Image, view: View, size: int) -> Uncoloured:
    """Crop and flip an RGB image; its colours are left to `to_input`."""
    pixels = np.asarray(crop(image, view.box, size))
    if view.flip:  # the last of the operations, but none of the others minds
        pixels = pixels[:, ::-1]
    row = np.zeros(_COLUMNS, dtype=np.float32)
    row[:4] = -1
    for place, (which, factor) in enumerate(view.jitter):
        row[place], row[_FACTORS.start + which] = which, factor
    row[_IS_GRAY], row[_SIGMA], row[_SOLARIZE] = view.gray, view.blur_sigma or 0, view.solarize
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return Uncoloured(torch.from_numpy(planes), torch.from_numpy(row))


def to_input(view: Pixels, preprocessing: Preprocessing, device: torch.device) -> torch.Tensor:
    """Return the network's input, (N, 3, size, size) float32 on `device`: coloured where that is left, normalised."""
    if isinstance(view, torch.Tensor):
        return normalise(view.to(device, non_blocking=True), preprocessing)
    return normalise(apply_colour(view, device), preprocessing)


def apply_colour(batch: Uncoloured, device: torch.device) -> torch.Tensor:
    """Return the coloured pixels of a batch, (N, 3, size, size) float32 in 0..255 on `device`."""
    pixels = batch.pixels.to(device, non_blocking=True)
    if prefers_large_operations(device):
        return _colour(pixels.float(), batch.colour)
    result = torch.empty(pixels.shape)
    together = max(1, _CACHED_PIXELS // pixels[0, 0].numel())
    for parts in zip(result.split(together), pixels.split(together), batch.colour.split(together), strict=True):
        target, bytes_, rows = parts
        target.copy_(_colour(bytes_.float(), rows))
    return result


def _colour(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Change the colours of `x`, (n, 3, H, W) float32 in 0..255, as its rows have it; `x` is used up."""
    for place in range(4):
        for which, adjust in enumerate(_ADJUST):
            chosen = rows[:, place] == which
            x = _change(x, chosen, adjust, rows[:, _FACTORS.start + which])
    x = _change(x, rows[:, _IS_GRAY] > 0, lambda part, _: gray(part).expand_as(part), rows[:, _IS_GRAY])
    reach = max(1, math.ceil(3 * float(rows[:, _SIGMA].max())))
    blur = functools.partial(blur_together, reach=reach) if prefers_large_operations(x.device) else blur_each
    x = _change(x, rows[:, _SIGMA] > 0, blur, rows[:, _SIGMA])
    return _change(x, rows[:, _SOLARIZE] > 0, lambda part, _: solarize(part), rows[:, _SOLARIZE])


def _change(
    x: torch.Tensor,
    chosen: torch.Tensor,
    operation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    values: torch.Tensor,
) -> torch.Tensor:
    """Apply an operation to the chosen images, (n,) bool on the CPU, each with its own value."""
    if not chosen.any():  # known on the CPU: no waiting for the device
        return x
    if chosen.all():
        return operation(x, _to(values, x))
    where = _to(chosen.nonzero()[:, 0], x)
    return x.index_copy_(0, where, operation(x.index_select(0, where), _to(values[chosen], x)))


def _to(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    if copies_pinned_memory(x.device):
        values = values.pin_memory()
    return values.to(x.device, non_blocking=True)


def gray(x: torch.Tensor) -> torch.Tensor:
    """Return the luma of (n, 3, H, W): (n, 1, H, W)."""
    red, green, blue = x.split(1, dim=1)
    return red.mul(_GRAY[0]).add_(green, alpha=_GRAY[1]).add_(blue, alpha=_GRAY[2])


def adjust_brightness(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Multiply by `factor`, (n,). `x`, here and below (n, 3, H, W) float32 in 0..255, may be changed in place."""
    return x.mul_(_wide(factor)).clamp_(0, 255)


def adjust_contrast(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Move away from (factor > 1) or towards the image's mean luma."""
    mean = gray(x.mean((2, 3), keepdim=True))
    return x.mul_(_wide(factor)).add_(mean.mul_(1 - _wide(factor))).clamp_(0, 255)


def adjust_saturation(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Move away from (factor > 1) or towards each pixel's luma."""
    luma = gray(x).mul_(1 - _wide(factor))
    return x.mul_(_wide(factor)).add_(luma).clamp_(0, 255)


def adjust_hue(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Turn the hue by `factor` of the circle.

    A colour is its smallest channel plus its chroma times a trapezoid of the hue, which each channel sees turned by a
    third of the circle: HSV and back without its tables of cases.
    """
    red, green, blue = x.unbind(1)
    largest, smallest = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    chroma = largest - smallest
    of_green, of_blue = (blue - red).add_(chroma, alpha=2), (red - green).add_(chroma, alpha=4)
    hue = torch.lerp(of_blue, of_green, (largest == green).to(x.dtype))  # exact at 0 and 1, and faster than torch.where
    hue.lerp_(green - blue, (largest == red).to(x.dtype))
    hue.div_(chroma.clamp(min=1e-6)).add_(6 * factor.view(-1, 1, 1))  # in sixths of the circle
    hue.sub_(hue.div(6).floor_().mul_(6))
    result = torch.empty_like(x)
    torch.addcmul(smallest, chroma, (hue - 3).abs_().sub_(1).clamp_(0, 1), out=result[:, 0])
    torch.addcmul(smallest, chroma, (hue - 2).abs_().neg_().add_(2).clamp_(0, 1), out=result[:, 1])
    torch.addcmul(smallest, chroma, (hue - 4).abs_().neg_().add_(2).clamp_(0, 1), out=result[:, 2])
    return result


_ADJUST = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def blur_each(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Blur with a Gaussian of `sigma` pixels, (n,), cut off at 3 sigma; pixels of the border are repeated.

    Shifted images added up, one image after the other: what a CPU does fastest.
    """
    return torch.stack(
        [_blur_along(2, _blur_along(1, image, s), s) for image, s in zip(x, sigma.tolist(), strict=True)]
    )


def _blur_along(axis: int, image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur (3, H, W) along its axis 1 or 2."""
    reach, length = max(1, math.ceil(3 * sigma)), image.shape[axis]
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(reach + 1)]
    total = 2 * sum(weights) - weights[0]
    padding = (0, 0, reach, reach) if axis == 1 else (reach, reach, 0, 0)
    padded = F.pad(image[None], padding, mode="replicate")[0]
    result = padded.narrow(axis, reach, length) * (weights[0] / total)
    for i in range(1, reach + 1):
        for first in (reach - i, reach + i):
            result.add_(padded.narrow(axis, first, length), alpha=weights[i] / total)
    return result


def blur_together(x: torch.Tensor, sigma: torch.Tensor, reach: int) -> torch.Tensor:
    """The same for all images at once, cut off at `reach` pixels: what a GPU does fastest."""
    n, channels, height, width = x.shape
    places = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    taps = torch.exp(-(places**2) / (2 * sigma.view(-1, 1) ** 2))
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)
    x = F.pad(x, (reach,) * 4, mode="replicate").view(1, n * channels, height + 2 * reach, width + 2 * reach)
    x = F.conv2d(x, taps.view(n * channels, 1, 1, -1), groups=n * channels)
    return F.conv2d(x, taps.view(n * channels, 1, -1, 1), groups=n * channels).view(n, channels, height, width)


def solarize(x: torch.Tensor) -> torch.Tensor:
    """Invert what Pillow would round to 128 or more."""
    return x.sub(127.5).abs_().neg_().add_(127.5)  # both branches at once; torch.where takes ten times as long


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)
