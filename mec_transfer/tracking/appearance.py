"""The one appearance model that all five tasks share: a frozen ResNet, cut off, at output stride 8.

As UniTrack has it (Zhongdao/UniTrack model/resnet.py, config/*.yaml): every stride in layer3 and layer4 is 1, nothing
is dilated instead, and the features are those of layer3 ("s3") or layer4 ("s4").
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import nn

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.common.errors import UserError
from mec_transfer.datasets.pixels import normalise
from mec_transfer.tracking.config import STRIDE, Precision, Stage

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Features(Protocol):
    """What the tasks need of an appearance model; tests put perfect features in its place."""

    device: torch.device
    channels: int
    reach: int
    """Pixels beyond the one in its middle, 8 x its row or column, that a cell depends on in each direction."""

    def prepare(self, frames: np.ndarray) -> torch.Tensor:
        """Normalise RGB frames, (H, W, 3) or (N, H, W, 3) uint8: (N, 3, H, W) float32."""

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, channels, ceil(H / 8), ceil(W / 8)) float32 features of normalised pixels."""


class Appearance:
    """A backbone's features as maps: (N, 3, H, W) pixels to (N, channels, ceil(H / 8), ceil(W / 8)) float32.

    `fp32` is exact: no TF32 even where the program allows it. `bf16` and `fp16` run the network under autocast.
    """

    def __init__(
        self, backbone: Backbone, *, stage: Stage = "layer3", device: torch.device, precision: Precision = "fp32"
    ) -> None:
        """Raises UserError for a backbone with the small-image stem, whose output stride would be 2."""
        if backbone.stem != "imagenet":
            raise UserError(
                f"{backbone.provenance.source}: has the '{backbone.stem}' stem; frozen-feature tracking needs output "
                f"stride {STRIDE}, which only the 'imagenet' stem gives"
            )
        self.backbone, self.stage, self.device, self.precision = backbone, stage, device, precision
        network = backbone.module().requires_grad_(False).eval()
        stages = ["layer1", "layer2", "layer3"] + (["layer4"] if stage == "layer4" else [])
        parts = [getattr(network, name) for name in ("conv1", "bn1", "relu", "maxpool", *stages)]
        for part in parts[6:]:
            _undo_strides(part)
        self._network = nn.Sequential(*parts).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.channels = backbone.width // (1 if stage == "layer4" else 2)
        self.reach = _reach(self._network)

    def prepare(self, frames: np.ndarray) -> torch.Tensor:
        """Normalise RGB frames, (H, W, 3) or (N, H, W, 3) uint8, as the checkpoint wants: (N, 3, H, W) float32."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device)
        pixels = pixels[None] if pixels.dim() == 3 else pixels
        return normalise(pixels.permute(0, 3, 1, 2), self.backbone.preprocessing)

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features of normalised `pixels`, on the device."""
        pixels = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
        if self.precision == "fp32":
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                features: torch.Tensor = self._network(pixels)
            return features
        with torch.autocast(self.device.type, _HALVES[self.precision]):
            features = self._network(pixels)
        return features.float()


def map_size(width: int, height: int) -> tuple[int, int]:
    """Return (columns, rows) of the feature map of an image."""
    return -(-width // STRIDE), -(-height // STRIDE)


def _reach(network: nn.Module) -> int:
    """Return how many pixels beyond its middle one a cell depends on; what runs beside a block's main path is 1 x 1."""
    reach, step = 0, 1
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and "downsample" not in name:
            (kernel, *_), (stride, *_) = (
                size if isinstance(size, tuple) else (size,) for size in (module.kernel_size, module.stride)
            )
            reach += kernel // 2 * step
            step *= stride
    return reach


def _undo_strides(stage: nn.Module) -> None:
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
