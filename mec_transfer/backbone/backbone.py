"""The Backbone: a ResNet's weights by torchvision's names, with all that is needed to use them rightly."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

ARCHS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Stem = Literal["imagenet", "cifar"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How pixels become the network's input: channel order, then (x / 255 - mean) / std per channel."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    """In the order of `channel_order`, as `std`: of BGR the first is blue's."""
    std: tuple[float, float, float] = IMAGENET_STD
    channel_order: Literal["RGB", "BGR"] = "RGB"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a Backbone's weights were found."""

    source: str
    """File path, or a name such as `random:resnet50:0`."""
    file_sha256: str | None = None
    format: str = "unknown"
    """Name of the checkpoint format that matched."""
    prefix: str = ""
    """What stood before torchvision's names in the file."""
    encoder: Literal["only", "online", "teacher"] = "only"
    """Which of the file's networks was taken; `only` where it holds one."""
    epoch: int | None = None
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Tensors not taken: group (prefix) to count."""
    notes: tuple[str, ...] = ()
    """What a user should know of how it was read: the choice between networks, a conversion, an assumption."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A ResNet without its classifier.

    `state_dict` has torchvision's names and nothing else: weights and BN statistics, and the
    `num_batches_tracked` counters where the source has them; no `fc.*`. Tensors lie on the CPU.
    """

    arch: str
    state_dict: Mapping[str, torch.Tensor]
    preprocessing: Preprocessing = Preprocessing()
    stem: Stem = "imagenet"
    provenance: Provenance = Provenance(source="memory")

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the weights themselves (sorted name, dtype, shape, bytes) with arch, stem and preprocessing."""
        return weights_sha256(self.state_dict, self.arch, self.stem, self.preprocessing)

    @property
    def width(self) -> int:
        """Channels of the last stage: 512 for ResNet-18/34, 2048 for deeper ones."""
        return 512 if self.arch in ("resnet18", "resnet34") else 2048

    def module(self) -> torch.nn.Module:
        """Return a torchvision ResNet with these weights and `fc` = Identity: (N, 3, H, W) -> (N, width).

        Raises RuntimeError if the state dict is not a full match, which `read_backbone` has made sure of.
        """
        import torch

        with torch.device("meta"):  # no weights are drawn that would only be replaced
            network = build_resnet(self.arch, self.stem)
        state = {name: tensor.clone() for name, tensor in self.state_dict.items()}
        for name in network.state_dict():
            if name.endswith("num_batches_tracked"):
                state.setdefault(name, torch.zeros((), dtype=torch.int64))
        network.load_state_dict(state, assign=True)
        return network


def build_resnet(arch: str, stem: Stem = "imagenet", zero_init_residual: bool = False) -> torch.nn.Module:
    """Return a torchvision ResNet with `fc` = Identity and torchvision's default initialisation.

    The `cifar` stem is the field's small-image one: conv1 3x3 stride 1, no max pooling.
    """
    import torch
    import torchvision

    network = getattr(torchvision.models, arch)(weights=None, zero_init_residual=zero_init_residual)
    network.fc = torch.nn.Identity()
    if stem == "cifar":
        network.conv1 = torch.nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        torch.nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = torch.nn.Identity()
    return network


def weights_sha256(state_dict: Mapping[str, torch.Tensor], arch: str, stem: Stem, preprocessing: Preprocessing) -> str:
    """Hash weights with what gives them meaning; BN counters are left out, since they never move an output."""
    import torch

    head = {"arch": arch, "stem": stem, "preprocessing": dataclasses.asdict(preprocessing)}
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in sorted(state_dict):
        if name.endswith("num_batches_tracked"):
            continue
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
