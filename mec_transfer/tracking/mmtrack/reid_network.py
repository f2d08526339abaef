"""MMTracking's ReID network with a checkpoint's backbone, as its training by a stock config has it.

Imported after `engine.load()` only. The published training loads its weights by an init_cfg of the whole network, after
which MMTracking initialises nothing: the head begins as torch itself begins linear layers, and so it does here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmcv import Config
from mmdet.datasets.pipelines import Normalize
from mmtrack.models import build_reid
from mmtrack.models.reid import BaseReID
from torch import nn

from mec_transfer.backbone.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone
from mec_transfer.backbone.layouts import find_layout
from mec_transfer.common.errors import ConfigError, RunError
from mec_transfer.datasets.pixels import normalise
from mec_transfer.engines.guard import check_features, check_tensors, checkpoint_features, seeded_image
from mec_transfer.tracking.mmtrack.config import stock_path
from mec_transfer.tracking.mmtrack.network import copy_backbone, engine_stages, fit_backbone, read_config
from mec_transfer.tracking.mmtrack.reid_config import ReidRecipe

LAYOUT = "openmmlab"
_WHO = "ReID network"
_PIXEL_TOLERANCE = 1e-5
"""How far normalised pixels (up to 3) may differ: (x - 255 mean) / (255 std) against (x / 255 - mean) / std."""
_PUBLISHED = {
    "mean": tuple(round(255 * value, 6) for value in IMAGENET_MEAN),
    "std": tuple(round(255 * value, 6) for value in IMAGENET_STD),
    "to_rgb": True,
}


_DECIDED_ELSEWHERE = (".depth", ".in_channels", ".num_classes", ".mean", ".std", ".to_rgb", ".num_ids")
"""By the checkpoint, the data and the recipe."""


def read_reid_config(recipe: ReidRecipe, backbone: Backbone, identities: int) -> Config:
    """Read a stock ReID config, and write into it what the checkpoint, the data and the recipe decide.

    These are the backbone's depth, the head's width and number of identities, the pixels' normalisation, and the
    persons of a batch.

    Raises:
        ConfigError: it is not such a config, a setting differs from what the weights mean, or a change has no effect.
        CheckpointError: MMTracking has no network of the checkpoint's shape.
    """
    if decided := [key for key in recipe.changes if key.endswith(_DECIDED_ELSEWHERE)]:
        raise ConfigError(
            f"recipe.changes: {decided[0]} has no effect: checkpoint, data or recipe decide; leave it out"
        )
    path = stock_path(recipe.config)
    config = read_config(path, recipe.changes)
    try:
        config.model = config.model.get("reid", config.model)
        model = config.model
        model.backbone.depth = int(backbone.arch.removeprefix("resnet"))
        model.head.in_channels, model.head.num_classes = backbone.width, identities
        pipelines = config.data.train.pipeline, config.data.test.pipeline
        config.data.train.triplet_sampler.num_ids = recipe.persons
        _ = config.optimizer, config.optimizer_config, config.lr_config, config.total_epochs
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a config of a ReID network ({error})") from None
    model.init_cfg = None
    fit_backbone(config, backbone, LAYOUT)
    for pipeline in pipelines:
        fit_normalisation(pipeline, backbone, path)
    return config


def normalising(pipeline: list[Any]) -> list[Any]:
    """Return the steps that normalise, nested ones too."""
    nested = [inner for step in pipeline for inner in normalising(step.get("transforms", []))]
    return [step for step in pipeline if step["type"] in ("Normalize", "SeqNormalize")] + nested


def fit_normalisation(pipeline: list[Any], backbone: Backbone, path: Path) -> None:
    """Write the checkpoint's mean, std and channel order where ImageNet's stand. Raises ConfigError for any other."""
    settings = find_layout(LAYOUT).settings(backbone)
    wanted = {key: settings[f"img_norm_cfg.{key}"] for key in _PUBLISHED}
    for step in normalising(pipeline):
        for key, value in wanted.items():
            found = step.get(key, True) if key == "to_rgb" else list(step[key])
            published = _PUBLISHED[key]
            if found not in (value, list(published) if isinstance(published, tuple) else published):
                raise ConfigError(
                    f"{path}: {step['type']} has {key}={found}, but the checkpoint {backbone.provenance.source} was "
                    f"trained with {value}; mend img_norm_cfg"
                )
            step[key] = value


def build_network(config: Config, backbone: Backbone, device: torch.device) -> BaseReID:
    """Build the network with the checkpoint's backbone, its head as torch draws it; `check_reid` proves it."""
    network: BaseReID = build_reid(config.model)
    copy_backbone(network.backbone, backbone, LAYOUT)
    return network.to(device)


def check_reid(network: nn.Module, config: Config, backbone: Backbone) -> float:
    """Prove that the network computes with the checkpoint, on pixels as both pipelines feed them.

    Returns:
        The largest difference of a stage's activations, relative to their norm.

    Raises:
        RunError: a tensor is missing or different, a pipeline normalises otherwise, or a stage differs; names which.
    """
    resnet: Any = network.backbone
    expected = find_layout(LAYOUT).to_engine(backbone)
    check_tensors(resnet.state_dict(), expected, backbone.provenance.source, _WHO)
    x = normalise(seeded_image()[None], backbone.preprocessing)
    for name in ("train", "test"):
        check_pixels(config.data[name].pipeline, f"data.{name}", backbone)
    causes = "style, strides or dilations of the config's backbone are wrong"
    return check_features(engine_stages(network, x), checkpoint_features(backbone, x), _WHO, causes)


def check_pixels(pipeline: list[Any], name: str, backbone: Backbone) -> None:
    """Run a pipeline's own step on an image as OpenCV would have decoded it, and compare with the checkpoint's input.

    Raises:
        RunError: it normalises otherwise, not at all or twice; `name` says which pipeline it is.
    """
    steps = normalising(pipeline)
    if len(steps) != 1:
        raise RunError(f"{name}.pipeline: normalises {len(steps)} times, not once; nothing was trained")
    (step,) = steps
    image = seeded_image()
    settings = {key: value for key, value in step.items() if key != "type"}
    bgr = image.flip(0).permute(1, 2, 0).contiguous().numpy()
    found = Normalize(**settings)({"img": bgr.astype("float32"), "img_fields": ["img"]})["img"]
    expected = normalise(image[None], backbone.preprocessing)[0]
    difference = float((torch.from_numpy(found).permute(2, 0, 1) - expected).abs().max())
    if not difference <= _PIXEL_TOLERANCE:
        raise RunError(
            f"{name}.pipeline: {step['type']} gives other pixels than the checkpoint was trained on (up to "
            f"{difference:.2g} apart): mean, std or to_rgb of its img_norm_cfg is wrong; nothing was trained"
        )
