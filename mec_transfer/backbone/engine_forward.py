"""A ResNet's forward pass as each engine computes it, over the names and settings of that engine.

It knows nothing of `layouts.py`, so that a mistake there cannot hide here: it builds no module, renames nothing,
and asks the file for the tensors that the engine would ask it for.

    engine        names from                                      conventions
    torchvision   torchvision/models/resnet.py                    also timm's (timm/models/resnet.py, plain variants)
    openmmlab     mmdet/models/backbones/resnet.py                stride in the 3x3 with style 'pytorch'
    sot           mmtrack/models/backbones/sot_resnet.py          unpadded stem, dilated layers, 3x3 shortcuts
    detectron2    detectron2/modeling/backbone/resnet.py          stem, res2 to res5; STRIDE_IN_1X1
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mec_transfer.common.errors import RunError

if TYPE_CHECKING:
    import torch

STAGES = ("stem", "res2", "res3", "res4", "res5")

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_BN_EPS = 1e-5  # the same in all these engines


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Names:
    stem_conv: str = "conv1"
    stem_norm: str = "bn1"
    stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    conv: str = "conv{}"
    norm: str = "bn{}"
    shortcut: str = "downsample.0"
    shortcut_norm: str = "downsample.1"


_DETECTRON2 = _Names(
    stem_conv="stem.conv1",
    stem_norm="stem.conv1.norm",
    stages=("res2", "res3", "res4", "res5"),
    norm="conv{}.norm",
    shortcut="shortcut",
    shortcut_norm="shortcut.norm",
)


def engine_input(layout: str, settings: Mapping[str, Any], pixels: torch.Tensor) -> torch.Tensor:
    """What an engine's pipeline feeds its network under `settings`, for RGB pixels 0-255, (N, 3, H, W)."""
    import torch

    if layout == "openmmlab-sot":
        return pixels.flip(1)
    if layout == "detectron2":
        order, scale = settings["INPUT.FORMAT"], 1.0
        mean, std = settings["MODEL.PIXEL_MEAN"], settings["MODEL.PIXEL_STD"]
    elif layout == "openmmlab":
        order, scale = "RGB" if settings["img_norm_cfg.to_rgb"] else "BGR", 1.0
        mean, std = settings["img_norm_cfg.mean"], settings["img_norm_cfg.std"]
    else:
        order, scale, mean, std = settings["channel_order"], 255.0, settings["mean"], settings["std"]
    x = (pixels if order == "RGB" else pixels.flip(1)) / scale
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


class EngineForward:
    """The network that `layout`'s engine would build under `settings`, on the weights in `tensors`.

    Args:
        layout: a layout's name.
        depth: 18 to 152, where the settings do not say.
        tensors: what the engine's file holds.
        settings: what the engine's config says, by the layout's own keys (`Layout.settings`).
        small_stem: conv1 is 3x3 with stride 1 and nothing is pooled (the cifar stem).
    """

    def __init__(
        self,
        layout: str,
        depth: int,
        tensors: Mapping[str, torch.Tensor],
        settings: Mapping[str, Any],
        small_stem: bool = False,
    ) -> None:
        self.depth = settings.get("MODEL.RESNETS.DEPTH", settings.get("backbone.depth", depth))
        self.tensors, self.small_stem = tensors, small_stem
        self.names = _DETECTRON2 if layout == "detectron2" else _Names()
        self.sot = layout == "openmmlab-sot"
        self.strides = settings.get("backbone.strides", (1, 2, 2, 2))
        self.dilations = settings.get("backbone.dilations", (1, 1, 1, 1))
        self.stride_in_1x1 = settings.get("MODEL.RESNETS.STRIDE_IN_1X1", False)
        self.stride_in_1x1 |= settings.get("backbone.style", "pytorch") == "caffe"
        self.steps: list[tuple[str, torch.Tensor]] = []
        self.used: set[str] = set()

    def run(self, x: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
        """Return (stage, output) of every convolution and norm in the order of computing, and of every stage.

        Args:
            x: what the engine's pipeline feeds the network, (N, 3, H, W) float32.

        Raises:
            RunError: the file lacks a tensor that the engine builds, holds one that it does not, or one has
                another shape or type than the engine's.
        """
        x = self._stem(x)
        self.steps.append(("stem", x))
        for number, stage in enumerate(STAGES[1:]):
            for block in range(_BLOCKS[self.depth][number]):
                x = self._block(number, block, x)
            self.steps.append((stage, x))
        counters = {name.replace("running_mean", "num_batches_tracked") for name in self.used}
        left = sorted(set(self.tensors) - self.used - counters)
        if left:
            raise RunError(f"the file holds {len(left)} tensors that the engine does not know, such as '{left[0]}'")
        return self.steps

    def _stem(self, x: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        conv, norm = self.names.stem_conv, self.names.stem_norm
        if self.small_stem:
            return self._conv_norm("stem", conv, norm, x, kernel=3, padding=1).relu()
        x = self._conv_norm("stem", conv, norm, x, kernel=7, stride=2, padding=0 if self.sot else 3)
        return F.max_pool2d(x.relu(), kernel_size=3, stride=2, padding=1)

    def _block(self, number: int, block: int, x: torch.Tensor) -> torch.Tensor:
        stage, prefix = STAGES[number + 1], f"{self.names.stages[number]}.{block}."
        stride = self.strides[number] if block == 0 else 1
        dilation = padding = self.dilations[number]
        if self.sot and block == 0:
            dilation = max(dilation // 2, 1)
            padding = 2 - stride if self.dilations[number] == 1 else dilation

        def part(part: int, x: torch.Tensor, **geometry: int) -> torch.Tensor:
            conv, norm = prefix + self.names.conv.format(part), prefix + self.names.norm.format(part)
            return self._conv_norm(stage, conv, norm, x, **geometry)

        if self.depth < 50:
            out = part(1, x, kernel=3, stride=stride, padding=1).relu()
            out = part(2, out, kernel=3, padding=1)
        else:
            first, second = (stride, 1) if self.stride_in_1x1 else (1, stride)
            out = part(1, x, kernel=1, stride=first).relu()
            out = part(2, out, kernel=3, stride=second, padding=padding, dilation=dilation).relu()
            out = part(3, out, kernel=1)
        if block == 0 and out.shape[1] != x.shape[1]:
            names = prefix + self.names.shortcut, prefix + self.names.shortcut_norm
            if self.sot and (stride, self.dilations[number]) != (1, 1):
                padding = 0 if self.dilations[number] == 1 else dilation
                x = self._conv_norm(stage, *names, x, kernel=3, stride=stride, padding=padding, dilation=dilation)
            else:
                x = self._conv_norm(stage, *names, x, kernel=1, stride=stride)
        return (out + x).relu()

    def _conv_norm(
        self,
        stage: str,
        conv: str,
        norm: str,
        x: torch.Tensor,
        *,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
    ) -> torch.Tensor:
        import torch.nn.functional as F

        weight = self._take(f"{conv}.weight")
        if tuple(weight.shape[1:]) != (x.shape[1], kernel, kernel):
            built = f"(*, {x.shape[1]}, {kernel}, {kernel})"
            raise RunError(f"'{conv}.weight' has shape {tuple(weight.shape)} where the engine builds {built}")
        x = F.conv2d(x, weight, None, stride, padding, dilation)
        self.steps.append((stage, x))
        mean, var, gamma, beta = (
            self._take(f"{norm}.{leaf}") for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.batch_norm(x, mean, var, gamma, beta, training=False, eps=_BN_EPS)
        self.steps.append((stage, x))
        return x

    def _take(self, name: str) -> torch.Tensor:
        import torch

        self.used.add(name)
        if name not in self.tensors:
            raise RunError(f"the file lacks '{name}', which the engine would leave random")
        if self.tensors[name].dtype != torch.float32:
            raise RunError(f"'{name}' is {self.tensors[name].dtype} where the engine takes float32")
        return self.tensors[name]
