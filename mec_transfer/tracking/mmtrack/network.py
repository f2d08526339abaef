"""MMTracking's networks with a checkpoint's weights in them. Imported after `engine.load()` only.

A stock config says where each part loads weights from (`init_cfg`), and an address that is not replaced would give the
number of somebody else's network. Nothing is loaded by MMTracking here: the backbone's entry is taken out, any other is
refused, and `guard` proves what is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmcv import Config
from torch import nn

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.backbone.layouts import find_layout
from mec_transfer.common.errors import ConfigError, RunError, one_line
from mec_transfer.engines.guard import LAYERS, looking
from mec_transfer.tracking.mmtrack.config import SOT_LAYOUT

_DEFAULTS = {"style": "pytorch", "strides": [1, 2, 2, 2], "dilations": [1, 1, 1, 1]}
"""What mmdet's ResNet takes where its config says nothing."""


def read_config(path: Path, changes: Mapping[str, Any]) -> Config:
    """Read a stock MMTracking config with what it inherits from; `changes` are dotted keys.

    Raises:
        ConfigError: it is not a config that MMTracking reads.
    """
    try:
        config = Config.fromfile(str(path))
        config.merge_from_dict(dict(changes))
    except Exception as error:  # the file is a program: it raises what it likes
        raise ConfigError(f"{path}: not a config that MMTracking reads ({one_line(error)})") from None
    for key in ("load_from", "resume_from"):
        if config.get(key):
            raise ConfigError(f"{path}: {key} is '{config[key]}'; the checkpoint alone may be loaded: set it to None")
    return config


def fit_backbone(config: Config, backbone: Backbone, layout: str) -> None:
    """Take out where the backbone would be loaded from, and check that the config fits the checkpoint.

    Args:
        config: a config whose `model` has a backbone; changed in place.
        backbone: the checkpoint.
        layout: the engine's file format, whose settings the config must have.

    Raises:
        ConfigError: a setting differs from what the weights mean, or another part would load weights from somewhere.
        CheckpointError: the engine has no network of the checkpoint's shape.
    """
    target = find_layout(layout)
    target.check(backbone)
    network = config.model.backbone
    for key, wanted in target.settings(backbone).items():
        _, _, name = key.rpartition("backbone.")
        if not key.startswith("backbone."):
            continue
        found = network.get(name, _DEFAULTS.get(name))
        if (list(found) if isinstance(found, tuple) else found) != wanted:
            raise ConfigError(
                f"the stock config: model.backbone.{name} is {found!r}, but the checkpoint's weights are those of a "
                f"network with {wanted!r}; mend it there or in recipe.changes"
            )
    network["init_cfg"] = None
    for place, address in _addresses(config.model, "model"):
        raise ConfigError(
            f"the stock config: {place} loads weights from {address}: the number would be that network's too; set it "
            "to None"
        )


def check_pixels(config: Config) -> None:
    """Check that a tracker's pipelines feed raw pixels: the weights hold the normalisation (layout openmmlab-sot).

    Raises:
        ConfigError: a step normalises, or turns the channels.
    """
    for place, step in _steps(config.data, "data"):
        if "Normalize" in str(step.get("type")) or step.get("to_rgb"):
            raise ConfigError(
                f"the stock config: {place} has a step {step['type']}, but the network takes raw BGR pixels of 0 to "
                "255: mean, std and the channels' order are folded into its first layer; take the step out"
            )


def copy_backbone(network: nn.Module, backbone: Backbone, layout: str) -> None:
    """Copy the checkpoint into the engine's ResNet.

    Raises:
        RunError: a tensor has no place there, or is of another shape.
    """
    state = network.state_dict()
    with torch.no_grad():
        for name, tensor in find_layout(layout).to_engine(backbone).items():
            if name not in state or state[name].shape != tensor.shape:
                found = f"of shape {tuple(state[name].shape)}" if name in state else "not there"
                raise RunError(
                    f"{backbone.provenance.source}: {name} is {tuple(tensor.shape)}, and in the tracker's backbone it "
                    f"is {found}; nothing was trained"
                )
            state[name].copy_(tensor)


def engine_stages(network: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return layer1 to layer4 of a network's backbone, one of mmdet's ResNets, on an input of its own, (N, 3, H, W)."""
    resnet: Any = network.backbone
    with looking(network):
        x = resnet.maxpool(resnet.relu(resnet.norm1(resnet.conv1(x.to(next(resnet.parameters()).device)))))
        stages = {}
        for name in LAYERS:
            stages[name] = x = getattr(resnet, name)(x)
    return stages


def build_tracker(config: Config, backbone: Backbone, device: torch.device) -> nn.Module:
    """Build the single-object tracker with the checkpoint's backbone; what is drawn comes from torch's own stream."""
    from mmtrack.models import build_model

    network: nn.Module = build_model(config.model)
    network.init_weights()  # type: ignore[operator]
    copy_backbone(network.backbone, backbone, SOT_LAYOUT)  # type: ignore[arg-type]
    return network.to(device)


def _addresses(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield each key below `value` that loads weights, and from where."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = f"{place}.{key}"
            if key in ("pretrained", "checkpoint") and isinstance(inner, str):
                yield here, inner
            else:
                yield from _addresses(inner, here)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _addresses(inner, f"{place}[{number}]")


def _steps(value: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every step of every pipeline below `value`, nested ones too."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in ("pipeline", "transforms") and isinstance(inner, list):
                for step in inner:
                    yield f"{place}.{key}", step
                    yield from _steps(step, f"{place}.{key}")
            else:
                yield from _steps(inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _steps(inner, f"{place}[{number}]")
