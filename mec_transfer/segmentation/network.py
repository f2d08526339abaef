"""The network: a dilated ResNet with fully convolutional heads, as mmseg's EncoderDecoder with FCNHead computes it."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from mec_transfer.backbone.backbone import Backbone, Preprocessing
from mec_transfer.datasets.pixels import normalise
from mec_transfer.datasets.segments.split import VOID
from mec_transfer.segmentation.config import HeadConfig, SegmentationRecipe

_HEAD_STD = 0.01
_DILATIONS: dict[int, dict[str, int]] = {16: {"layer4": 2}, 8: {"layer3": 2, "layer4": 4}}
"""By output stride: the dilation of each stage that has one in place of its stride."""


class Segmenter(nn.Module):
    """A ResNet and its heads: normalised pixels to scores of every class."""

    def __init__(self, backbone: Backbone, recipe: SegmentationRecipe, classes: int, seed: int) -> None:
        """Heads start at random from `seed`."""
        super().__init__()
        self.backbone = dilate(backbone.module(), recipe.output_stride)
        self.align_corners = recipe.align_corners
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = FcnHead(recipe.head, backbone.width, classes)
            self.auxiliary = FcnHead(recipe.auxiliary, backbone.width // 2, classes) if recipe.auxiliary else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of every class, (N, C, H, W), at the size of the pixels, (N, 3, H, W)."""
        return self.resize(self.head(self._stages(x)[1]), x.shape[-2:])

    def loss(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of the heads' losses, a scalar.

        Args:
            x: (N, 3, H, W) normalised pixels.
            labels: (N, H, W) int64, VOID where nothing is to be learnt.
        """
        third, fourth = self._stages(x)
        total = self.head.loss(self.resize(self.head(fourth), labels.shape[-2:]), labels)
        if self.auxiliary is not None:
            total = total + self.auxiliary.loss(self.resize(self.auxiliary(third), labels.shape[-2:]), labels)
        return total

    def resize(self, scores: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        """Resize scores, (N, C, h, w), bilinearly to (N, C, *size)."""
        return F.interpolate(scores, tuple(size), mode="bilinear", align_corners=self.align_corners)

    def _stages(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features of the third and the fourth stage."""
        body = self.backbone
        x = body.maxpool(body.relu(body.bn1(body.conv1(x))))  # type: ignore[operator]
        third: torch.Tensor = body.layer3(body.layer2(body.layer1(x)))  # type: ignore[operator]
        return third, body.layer4(third)  # type: ignore[operator]


class FcnHead(nn.Module):
    """Convolutions with batch norm and ReLU, then a 1x1 convolution: features of a stage to scores of every class."""

    def __init__(self, config: HeadConfig, into: int, classes: int) -> None:
        super().__init__()
        channels = config.channels
        inputs = [into] + [channels] * (config.convs - 1)
        self.convs = nn.Sequential(*(_convolution(one, channels, config.dilation) for one in inputs))
        self.joint = _convolution(into + channels, channels, 1) if config.concat_input else None
        self.dropout = nn.Dropout2d(config.dropout) if config.dropout else None
        self.classifier = nn.Conv2d(channels, classes, 1)
        nn.init.normal_(self.classifier.weight, std=_HEAD_STD)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]
        self.loss_weight = config.loss_weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, into, h, w) -> (N, classes, h, w)."""
        found = self.convs(x)
        if self.joint is not None:
            found = self.joint(torch.cat([x, found], dim=1))
        if self.dropout is not None:
            found = self.dropout(found)
        scores: torch.Tensor = self.classifier(found)
        return scores

    def loss(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the weighted cross-entropy, its mean over all pixels, those of VOID included, which add nothing.

        That is mmseg's mean (`avg_non_ignore` false); torch's own is over the labelled pixels alone.
        """
        total = F.cross_entropy(scores, labels, ignore_index=VOID, reduction="sum")
        return self.loss_weight * total / labels.numel()


def dilate(network: nn.Module, output_stride: Literal[8, 16]) -> nn.Module:
    """Replace the strides of the last stages of a torchvision ResNet by dilations, in place, and return it.

    The first block of a stage has half of the stage's dilation (mmseg's `contract_dilation`, and torchvision's
    `replace_stride_with_dilation`). In a block of two 3x3 convolutions the first one alone is dilated, as in mmseg's
    BasicBlock, for torchvision has no such block.
    """
    for stage, dilation in _DILATIONS[output_stride].items():
        for number, block in enumerate(getattr(network, stage)):
            own = dilation if number else dilation // 2
            if number == 0 and block.downsample is not None:
                block.downsample[0].stride = (1, 1)
            convolution = block.conv2 if hasattr(block, "conv3") else block.conv1
            convolution.stride, convolution.dilation, convolution.padding = (1, 1), (own, own), (own, own)
    return network


def to_input(
    pixels: torch.Tensor, preprocessing: Preprocessing, unscaled: bool, sizes: torch.Tensor | None = None
) -> torch.Tensor:
    """Return a network's input, (N, 3, H, W) float32, on the device of the pixels.

    Args:
        pixels: (N, 3, H, W) uint8.
        preprocessing: of the checkpoint.
        unscaled: subtract mean and deviation of pixels from 0 to 1 from pixels from 0 to 255.
        sizes: (N, 2) height and width of what is no padding, which is 0 after normalisation; None: all of it.
    """
    x = pixels.to(torch.float32)
    x = normalise(x.mul_(255) if unscaled else x, preprocessing)
    if sizes is None:
        return x
    rows, columns = (torch.arange(length, device=x.device) for length in x.shape[-2:])
    inside = (rows[:, None] < sizes[:, 0, None, None]) & (columns < sizes[:, 1, None, None])  # (N, H, W)
    return x * inside[:, None]


def _convolution(into: int, out: int, dilation: int) -> nn.Sequential:
    convolution = nn.Conv2d(into, out, 3, padding=dilation, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True))
