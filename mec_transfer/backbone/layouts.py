"""Layouts: how each engine names, shapes and feeds the tensors that torchvision calls `layer1.0.conv1.weight`.

Four layouts only rename, so the way there and back gives the same bytes. `openmmlab-sot` also changes values:
mmtrack's SOTResNet has 3x3 kernels where torchvision has 1x1 ones, and its pipeline feeds raw pixels.

BN counters (`num_batches_tracked`) are carried along where the source has them: SyncBN and BN keep one in every
engine, frozen BN ignores it, and no output depends on it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mec_transfer.backbone.backbone import ARCHS, Backbone, Preprocessing
from mec_transfer.common.errors import CheckpointError, UserError, did_you_mean

if TYPE_CHECKING:
    import torch

    StateDict = dict[str, torch.Tensor]

SOT_STRIDES = (1, 2, 1, 1)
SOT_DILATIONS = (1, 1, 2, 4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One engine's names, and for SOTResNet its shapes and values too."""

    name: str
    suffixes: tuple[str, ...]
    """File endings that make the engine read the file as what it is; the first is the usual one."""
    archs: tuple[str, ...] = ARCHS
    stems: tuple[str, ...] = ("imagenet",)
    renames: bool = True
    """Whether names are all that changes: then a conversion is exact, else equal within a tolerance."""
    to_engine: Callable[[Backbone], StateDict]
    """The engine's tensors for a Backbone; floats as contiguous float32."""
    from_engine: Callable[[Mapping[str, torch.Tensor], Preprocessing], StateDict]
    """torchvision's tensors for an engine's, given the preprocessing of the Backbone they came from."""
    settings: Callable[[Backbone], dict[str, Any]]
    """What the engine's config must say for these weights to mean the same there."""

    def check(self, backbone: Backbone) -> None:
        """Raise CheckpointError where the engine has no network of the Backbone's shape."""
        for what, value, allowed in (("arch", backbone.arch, self.archs), ("stem", backbone.stem, self.stems)):
            if value not in allowed:
                raise CheckpointError(
                    f"{backbone.provenance.source}: layout {self.name} has no network with {what} '{value}'; "
                    f"it takes {', '.join(allowed)}"
                )


def find_layout(name: str) -> Layout:
    """Return a layout by its name. Raises UserError that lists the names."""
    if name not in LAYOUTS:
        raise UserError(f"'{name}' is not a layout.{did_you_mean(name, LAYOUTS)} There are: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def detectron2_name(name: str) -> str:
    """torchvision's name to Detectron2's: `layer1.0.bn1.bias` to `res2.0.conv1.norm.bias`."""
    module, _, leaf = name.rpartition(".")
    module = re.sub(r"^layer(\d)", lambda match: f"res{int(match[1]) + 1}", module)
    module = module if module.startswith("res") else f"stem.{module}"
    module = re.sub(r"bn(\d)$", r"conv\1.norm", module)
    module = re.sub(r"downsample\.0$", "shortcut", module)
    module = re.sub(r"downsample\.1$", "shortcut.norm", module)
    return f"{module}.{leaf}"


def torchvision_name(name: str) -> str:
    """Detectron2's name to torchvision's: the inverse of `detectron2_name`."""
    module, _, leaf = name.removeprefix("stem.").rpartition(".")
    module = re.sub(r"^res(\d)", lambda match: f"layer{int(match[1]) - 1}", module)
    module = re.sub(r"conv(\d)\.norm$", r"bn\1", module)
    module = re.sub(r"shortcut\.norm$", "downsample.1", module)
    module = re.sub(r"shortcut$", "downsample.0", module)
    return f"{module}.{leaf}"


def _renamed(rename: Callable[[str], str]) -> Callable[[Backbone], StateDict]:
    return lambda backbone: {rename(name): _plain(tensor) for name, tensor in backbone.state_dict.items()}


def _renamed_back(rename: Callable[[str], str]) -> Callable[[Mapping[str, torch.Tensor], Preprocessing], StateDict]:
    return lambda tensors, _: {rename(name): tensor for name, tensor in tensors.items()}


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _to_sot(backbone: Backbone) -> StateDict:
    """SOTResNet's tensors: 3x3 shortcuts in layers 2 to 4, and conv1 and bn1 that take raw 0-255 BGR.

    With x = (raw / 255 - mean) / std, conv1(x) = conv1'(raw) - shift for the kernel conv1' = conv1 / (255 std)
    and shift = sum over channels and kernel of conv1 * mean / std; bn1 takes the shift up in its running mean.
    SOTResNet does not pad conv1, so this holds for every pixel, the border's too.
    """
    import torch

    tensors = {name: _plain(tensor) for name, tensor in backbone.state_dict.items()}
    for name in _sot_shortcuts(tensors):
        tensors[name] = torch.nn.functional.pad(tensors[name], (1, 1, 1, 1))
    kernel, shift, scale = _fold(tensors["conv1.weight"], backbone.preprocessing)
    kernel = kernel / scale
    tensors["conv1.weight"] = (kernel.flip(1) if backbone.preprocessing.channel_order == "RGB" else kernel).float()
    tensors["bn1.running_mean"] = (tensors["bn1.running_mean"].double() + shift).float()
    return tensors


def _from_sot(tensors: Mapping[str, torch.Tensor], preprocessing: Preprocessing) -> StateDict:
    """Undo `_to_sot`: exact but for conv1.weight and bn1.running_mean, which come back within float32 rounding."""
    found = dict(tensors)
    for name in _sot_shortcuts(found):
        found[name] = found[name][:, :, 1:2, 1:2].contiguous()
    kernel = found["conv1.weight"]
    kernel = kernel.flip(1) if preprocessing.channel_order == "RGB" else kernel
    scale = _fold(kernel, preprocessing)[2]
    found["conv1.weight"] = (kernel.double() * scale).float()
    shift = _fold(found["conv1.weight"], preprocessing)[1]
    found["bn1.running_mean"] = (found["bn1.running_mean"].double() - shift).float()
    return found


def _fold(kernel: torch.Tensor, preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return conv1's kernel in float64 (64, 3, k, k), the shift (64,) and the scale 255 std (1, 3, 1, 1)."""
    import torch

    mean = torch.tensor(preprocessing.mean, dtype=torch.float64)[None, :, None, None]
    std = torch.tensor(preprocessing.std, dtype=torch.float64)[None, :, None, None]
    return kernel.double(), (kernel.double() * mean / std).sum((1, 2, 3)), 255 * std


def _sot_shortcuts(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    return [name for name in tensors if re.fullmatch(r"layer[234]\.0\.downsample\.0\.weight", name)]


def _pixels(values: tuple[float, ...]) -> list[float]:
    return [round(255 * value, 6) for value in values]


def _detectron2_settings(backbone: Backbone) -> dict[str, Any]:
    shallow = {"MODEL.RESNETS.RES2_OUT_CHANNELS": 64} if backbone.width == 512 else {}
    return {
        "MODEL.RESNETS.DEPTH": int(backbone.arch.removeprefix("resnet")),
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.PIXEL_MEAN": _pixels(backbone.preprocessing.mean),
        "MODEL.PIXEL_STD": _pixels(backbone.preprocessing.std),
        "INPUT.FORMAT": backbone.preprocessing.channel_order,
        **shallow,
    }


def _openmmlab_settings(backbone: Backbone) -> dict[str, Any]:
    return {
        "backbone.depth": int(backbone.arch.removeprefix("resnet")),
        "backbone.style": "pytorch",
        "img_norm_cfg.mean": _pixels(backbone.preprocessing.mean),
        "img_norm_cfg.std": _pixels(backbone.preprocessing.std),
        "img_norm_cfg.to_rgb": backbone.preprocessing.channel_order == "RGB",
    }


def _sot_settings(backbone: Backbone) -> dict[str, Any]:
    return {
        "backbone.type": "SOTResNet",
        "backbone.depth": int(backbone.arch.removeprefix("resnet")),
        "backbone.style": "pytorch",
        "backbone.strides": list(SOT_STRIDES),
        "backbone.dilations": list(SOT_DILATIONS),
        "pipeline": "no Normalize step: raw 0-255 BGR pixels",
    }


def _plain_settings(backbone: Backbone) -> dict[str, Any]:
    return {
        key: list(value) if key != "channel_order" else value for key, value in vars(backbone.preprocessing).items()
    }


def _same(name: str) -> str:
    return name


_LAYOUTS = (
    Layout(
        name="torchvision",
        suffixes=(".pth", ".pt"),
        stems=("imagenet", "cifar"),
        to_engine=_renamed(_same),
        from_engine=_renamed_back(_same),
        settings=_plain_settings,
    ),
    Layout(
        name="timm",
        suffixes=(".safetensors", ".pth", ".pt"),
        to_engine=_renamed(_same),
        from_engine=_renamed_back(_same),
        settings=_plain_settings,
    ),
    Layout(
        name="detectron2",
        suffixes=(".pkl",),
        to_engine=_renamed(detectron2_name),
        from_engine=_renamed_back(torchvision_name),
        settings=_detectron2_settings,
    ),
    Layout(
        name="openmmlab",
        suffixes=(".pth", ".pt"),
        to_engine=_renamed(_same),
        from_engine=_renamed_back(_same),
        settings=_openmmlab_settings,
    ),
    Layout(
        name="openmmlab-sot",
        suffixes=(".pth", ".pt"),
        archs=("resnet50",),
        renames=False,
        to_engine=_to_sot,
        from_engine=_from_sot,
        settings=_sot_settings,
    ),
)
LAYOUTS = {layout.name: layout for layout in _LAYOUTS}
