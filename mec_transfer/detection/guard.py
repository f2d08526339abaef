"""The guard: before step 0 the network in memory is compared with the checkpoint, and a mismatch stops the run.

Two proofs that need each other. Tensor by tensor, bit for bit: what was loaded is the checkpoint, all of it. On an
input, by activations: the network makes of it what the checkpoint's own network makes, so that the stride's place, the
channel order, mean and std are right as well, which no tensor shows.
"""

from __future__ import annotations

import torch
from torch import nn

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.common.errors import RunError
from mec_transfer.datasets.pixels import normalise
from mec_transfer.detection.network import STAGES, places, stage_features

TOLERANCE = 1e-4
"""Largest difference of activations, relative to their norm: both sides round their normalisation differently."""


def check_network(network: nn.Module, backbone: Backbone, channel_order: str) -> float:
    """Prove that `network` computes with `backbone`'s weights; return the largest relative difference of activations.

    Args:
        network: the detector, on any device; its mode and state are left as they were.
        backbone: the checkpoint.
        channel_order: in which the network is fed, Detectron2's INPUT.FORMAT.

    Raises:
        RunError: a tensor is missing or different, or a stage's activations are; names the first of them.
    """
    _check_tensors(network, backbone)
    return _check_activations(network, backbone, channel_order)


def _check_tensors(network: nn.Module, backbone: Backbone) -> None:
    state, wrong = network.state_dict(), []
    for name, tensor in backbone.state_dict.items():
        for place in places(network, name):
            if place not in state:
                wrong.append(f"{place} is missing")
            elif not torch.equal(state[place].cpu().reshape(-1), tensor.reshape(-1).to(state[place].dtype)):
                wrong.append(f"{place} differs")
    if wrong:
        raise RunError(
            f"the detector does not hold the checkpoint {backbone.provenance.source}: {wrong[0]}"
            f"{f' and {len(wrong) - 1} more tensors' if len(wrong) > 1 else ''}; nothing was trained"
        )


@torch.no_grad()
def _check_activations(network: nn.Module, backbone: Backbone, channel_order: str) -> float:
    generator = torch.Generator().manual_seed(20220)
    image = torch.randint(0, 256, (3, 96, 128), generator=generator, dtype=torch.uint8)
    device = next(network.parameters()).device
    mode = network.training
    network.eval()
    try:
        # TF32, a GPU's own choice for convolutions, keeps 10 bits: more than TOLERANCE would be lost to it.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            found = stage_features(network, (image if channel_order == "RGB" else image.flip(0)).to(device))
    finally:
        network.train(mode)
    expected = checkpoint_features(backbone, normalise(image[None], backbone.preprocessing))
    worst = 0.0
    for stage in STAGES:
        theirs = found[stage].cpu()
        if theirs.shape != expected[stage].shape:
            difference = float("inf")
        else:
            difference = float((theirs - expected[stage]).norm() / expected[stage].norm().clamp(min=1e-12))
        if not difference <= TOLERANCE:
            raise RunError(
                f"the detector's {stage} is not the checkpoint's on the same image (relative difference "
                f"{difference:.2g}, allowed {TOLERANCE:g}), although the tensors agree: STRIDE_IN_1X1, "
                "INPUT.FORMAT, PIXEL_MEAN or PIXEL_STD of the config is wrong; nothing was trained"
            )
        worst = max(worst, difference)
    return worst


def checkpoint_features(backbone: Backbone, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return res2 to res5 of the checkpoint's own network, torchvision's, for a normalised (N, 3, H, W)."""
    network = backbone.module().eval()
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))  # type: ignore[operator]
    features = {}
    for number, stage in enumerate(STAGES, start=1):
        features[stage] = x = getattr(network, f"layer{number}")(x)
    return features
