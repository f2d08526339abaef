"""The proof, before step 0, that a single-object tracker in memory computes with the checkpoint."""

from __future__ import annotations

from typing import Any

from torch import nn

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.backbone.layouts import find_layout
from mec_transfer.backbone.proof import source_stages
from mec_transfer.datasets.pixels import normalise
from mec_transfer.engines.guard import check_features, check_tensors, seeded_image
from mec_transfer.tracking.mmtrack.config import SOT_LAYOUT
from mec_transfer.tracking.mmtrack.network import engine_stages

_CAUSES = "style, strides or dilations of the backbone, or what its pipelines do to the pixels, are not right for it"


def check_tracker(network: nn.Module, backbone: Backbone) -> float:
    """Prove that a tracker's backbone is the checkpoint; return the largest relative difference of activations.

    Every tensor is compared bit for bit with the conversion to mmtrack's SOTResNet, and the four stages with those of
    torchvision's own network in that geometry: raw BGR pixels on the tracker's side, normalised ones on the other.

    Raises:
        RunError: a tensor or a stage differs; names the first.
    """
    _check_tensors(network.backbone, backbone, "tracker")
    pixels = seeded_image()[None]
    found = engine_stages(network, pixels.flip(1).float())
    expected = source_stages(backbone, normalise(pixels, backbone.preprocessing), sot=True)
    return check_features(found, expected, "tracker", _CAUSES)


def check_frozen(network: nn.Module, backbone: Backbone) -> None:
    """Prove that a training left the backbone as it was. Raises RunError where a tensor of it has changed."""
    _check_tensors(network.backbone, backbone, "tracker, after a training that leaves the backbone alone,")


def _check_tensors(resnet: Any, backbone: Backbone, who: str) -> None:
    expected = find_layout(SOT_LAYOUT).to_engine(backbone)
    check_tensors(resnet.state_dict(), expected, backbone.provenance.source, who)
