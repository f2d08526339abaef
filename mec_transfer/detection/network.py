"""Detectron2's networks as the transfer protocols use them, with a checkpoint's weights in them.

Imported after `engine.load()` only. `Res5ROIHeadsExtraNorm` is named in the stock yaml files: importing this module
registers it, as MoCo's detection/train_net.py does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import get_norm
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, Res5ROIHeads
from torch import nn

from mec_transfer.backbone import syncbn
from mec_transfer.backbone.backbone import Backbone
from mec_transfer.backbone.layouts import detectron2_name
from mec_transfer.common import device as devices
from mec_transfer.common.errors import ConfigError

STAGES = ("res2", "res3", "res4", "res5")

_DECIDED_ELSEWHERE = (
    *("DATASETS", "MODEL.WEIGHTS", "MODEL.DEVICE", "MODEL.RESNETS.DEPTH", "MODEL.RESNETS.STRIDE_IN_1X1"),
    *("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "INPUT.FORMAT", "MODEL.ROI_HEADS.NUM_CLASSES", "OUTPUT_DIR", "SEED"),
    *("DATALOADER.NUM_WORKERS", "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD", "VIS_PERIOD"),
    *("DATALOADER.SAMPLER_TRAIN", "DATALOADER.FILTER_EMPTY_ANNOTATIONS", "INPUT.MASK_FORMAT"),
)
"""By the checkpoint, the data, the options of the command: a value here would change nothing."""
_NOT_OFFERED = (
    *("SOLVER.AMP.ENABLED", "TEST.AUG.ENABLED", "MODEL.LOAD_PROPOSALS", "MODEL.KEYPOINT_ON"),
    *("DATALOADER.REPEAT_THRESHOLD", "SOLVER.REFERENCE_WORLD_SIZE", "CUDNN_BENCHMARK"),
)
"""No protocol here uses it; Detectron2's default is off."""


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeadsExtraNorm(Res5ROIHeads):
    """The C4 head with one more norm layer after res5, whose output is not normalised in a pretrained ResNet.

    Source: facebookresearch/moco detection/train_net.py (132aea9). State name: `roi_heads.res5.norm.*`.
    """

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Sequential, int]:
        blocks, channels = super()._build_res5_block(cfg)
        blocks.add_module("norm", get_norm(cfg.MODEL.RESNETS.NORM, channels))
        return blocks, channels


def read_config(path: Path, changes: dict[str, Any] | None = None) -> CfgNode:
    """Read a stock Detectron2 yaml, its `_BASE_` included, over Detectron2's defaults; `changes` are dotted keys.

    Raises:
        ConfigError: the file or a key is not Detectron2's.
    """
    config = get_cfg()
    try:
        config.merge_from_file(str(path))
        config.merge_from_list([item for pair in (changes or {}).items() for item in pair])
    except (KeyError, ValueError, AssertionError, OSError) as error:
        raise ConfigError(f"{path}: not a config that Detectron2 reads ({error})") from None
    return config


def check_settings(config: CfgNode, changes: Iterable[str]) -> None:
    """Raise ConfigError where a setting would have no effect: one of `changes`, or what is not offered here."""
    for key in changes:
        if any(key == name or key.startswith(f"{name}.") for name in _DECIDED_ELSEWHERE):
            raise ConfigError(f"recipe.changes: {key} has no effect: checkpoint, data or options decide; leave it out")
    for key in _NOT_OFFERED:
        if functools.reduce(getattr, key.split("."), config):
            raise ConfigError(f"recipe: {key} is set, which this training does not do; leave it out")


def fit_backbone(config: CfgNode, backbone: Backbone) -> None:
    """Write into a Detectron2 config what the checkpoint needs: depth, stride in the 3x3, channel order, mean and std.

    Raises:
        ConfigError: the checkpoint's network is none that Detectron2 builds.
    """
    if backbone.stem != "imagenet":
        raise ConfigError(
            f"{backbone.provenance.source}: has the '{backbone.stem}' stem; Detectron2 has only imagenet's"
        )
    config.MODEL.RESNETS.DEPTH = int(backbone.arch.removeprefix("resnet"))
    config.MODEL.RESNETS.STRIDE_IN_1X1 = False
    if config.MODEL.RESNETS.DEPTH < 50 and config.MODEL.ROI_HEADS.NAME.startswith("Res5"):
        raise ConfigError(f"a {backbone.arch} has no bottleneck blocks, of which a C4 head is made; take an FPN config")
    if config.MODEL.RESNETS.DEPTH < 50:
        config.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    scale = backbone.preprocessing
    # Both sides count the statistics in the network's own channel order: a BGR checkpoint's first mean is blue's, and
    # so is the first of PIXEL_MEAN where INPUT.FORMAT is BGR. Nothing is reversed.
    config.INPUT.FORMAT = scale.channel_order
    config.MODEL.PIXEL_MEAN = [255 * value for value in scale.mean]
    config.MODEL.PIXEL_STD = [255 * value for value in scale.std]


def build_network(config: CfgNode, backbone: Backbone, device: torch.device) -> nn.Module:
    """Build the detector on `device` and copy the backbone's weights in; `guard.check_network` is to prove it.

    Detectron2's own loading, which only warns of what it does not find, is not used.
    """
    config.MODEL.DEVICE = str(device)
    config.MODEL.WEIGHTS = ""
    network: nn.Module = build_model(config)
    state = network.state_dict()
    with torch.no_grad():
        for name, tensor in backbone.state_dict.items():
            for place in places(network, name):
                state[place].copy_(tensor.reshape(state[place].shape))
    if not devices.has_own_syncbn(device):
        syncbn.convert(network, device, nn.SyncBatchNorm)  # torch's own has no CPU kernels for several processes
    return network


def places(network: nn.Module, name: str) -> list[str]:
    """Return where a torchvision tensor belongs in the detector's state: res5 of a C4 network lies in its head."""
    target = detectron2_name(name)
    if target.endswith("num_batches_tracked"):
        return []
    bottom_up = hasattr(network.backbone, "bottom_up")
    if target.startswith("res5.") and not bottom_up:
        return [f"roi_heads.{target}"]
    return [f"backbone.bottom_up.{target}" if bottom_up else f"backbone.{target}"]


def stage_features(network: Any, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return res2 to res5 of a raw image, (3, H, W) in the config's channel order, as the detector computes them.

    With the network's own normalisation and padding; res5 of a C4 network is its head's blocks on the whole of res4.
    """
    resnet = getattr(network.backbone, "bottom_up", network.backbone)
    x = resnet.stem(network.preprocess_image([{"image": image}]).tensor)
    features = {}
    for stage in STAGES[:3]:
        features[stage] = x = getattr(resnet, stage)(x)
    if hasattr(resnet, "res5"):
        features["res5"] = resnet.res5(x)
    else:
        for block in list(network.roi_heads.res5)[:3]:
            x = block(x)
        features["res5"] = x
    return features
