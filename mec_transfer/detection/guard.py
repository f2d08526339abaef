"""The guard of a detector: before step 0 it holds the checkpoint and computes as it does, or nothing is trained."""

from __future__ import annotations

import torch
from torch import nn

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.datasets.pixels import normalise
from mec_transfer.detection.network import STAGES, places, stage_features
from mec_transfer.engines import guard

_CAUSES = "STRIDE_IN_1X1, INPUT.FORMAT, PIXEL_MEAN or PIXEL_STD of the config is wrong"


def check_network(network: nn.Module, backbone: Backbone, channel_order: str) -> float:
    """Prove that `network` computes with `backbone`'s weights; return the largest relative difference of activations.

    Args:
        network: the detector, on any device; its mode and state are left as they were.
        backbone: the checkpoint.
        channel_order: in which the network is fed, Detectron2's INPUT.FORMAT.

    Raises:
        RunError: a tensor is missing or different, or a stage's activations are; names the first of them.
    """
    tensors = backbone.state_dict.items()
    expected = {place: tensor for name, tensor in tensors for place in places(network, name)}
    guard.check_tensors(network.state_dict(), expected, backbone.provenance.source, "detector")
    image = guard.seeded_image()
    device = next(network.parameters()).device
    with guard.looking(network):
        found = stage_features(network, (image if channel_order == "RGB" else image.flip(0)).to(device))
    features = checkpoint_features(backbone, normalise(image[None], backbone.preprocessing))
    return guard.check_features(found, features, "detector", _CAUSES)


def checkpoint_features(backbone: Backbone, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return res2 to res5 of the checkpoint's own network, torchvision's, for a normalised (N, 3, H, W)."""
    return guard.checkpoint_features(backbone, x, STAGES)
