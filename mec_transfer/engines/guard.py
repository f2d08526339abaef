"""The guard: before step 0 the network in memory is compared with the checkpoint, and a mismatch stops the run.

Two proofs that need each other. Tensor by tensor, bit for bit: what was loaded is the checkpoint, all of it. On an
input, by activations: the network makes of it what the checkpoint's own network makes, so that the stride's place, the
channel order, mean and std are right as well, which no tensor shows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.backbone.proof import source_stages
from mec_transfer.common.errors import RunError

TOLERANCE = 1e-4
"""Largest difference of activations, relative to their norm: both sides round their normalisation differently."""

LAYERS = ("layer1", "layer2", "layer3", "layer4")
"""The stages of a ResNet, as torchvision calls them."""


def check_tensors(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str, who: str) -> None:
    """Prove that a network holds a checkpoint's tensors, bit for bit in its own precision.

    Args:
        state: the network's state_dict, on any device.
        expected: by the network's own names, what each of its tensors is to hold; others of `state` are not looked at.
        source: the checkpoint's name in messages.
        who: the network's, "detector".

    Raises:
        RunError: a tensor is missing or different; names the first of them.
    """
    wrong = []
    for place, tensor in expected.items():
        if place not in state:
            wrong.append(f"{place} is missing")
        elif not torch.equal(state[place].cpu().reshape(-1), tensor.reshape(-1).to(state[place].dtype)):
            wrong.append(f"{place} differs")
    if wrong:
        raise RunError(
            f"the {who} does not hold the checkpoint {source}: {wrong[0]}"
            f"{f' and {len(wrong) - 1} more tensors' if len(wrong) > 1 else ''}; nothing was trained"
        )


def check_features(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], who: str, causes: str) -> float:
    """Prove that a network makes of an image what the checkpoint's own network makes of it.

    Args:
        found: the network's activations by stage, on any device.
        expected: the checkpoint's, by the same names, first stage first.
        who: the network's name in messages, "detector".
        causes: what is wrong where the tensors are right, "INPUT.FORMAT of the config is wrong".

    Returns:
        The largest difference of a stage, relative to the norm of what is expected there.

    Raises:
        RunError: a stage differs by more than TOLERANCE; names the first of them.
    """
    worst = 0.0
    for stage, wanted in expected.items():
        theirs = found[stage].cpu()
        if theirs.shape != wanted.shape:
            difference = float("inf")
        else:
            difference = float((theirs - wanted).norm() / wanted.norm().clamp(min=1e-12))
        if not difference <= TOLERANCE:
            raise RunError(
                f"the {who}'s {stage} is not the checkpoint's on the same image (relative difference "
                f"{difference:.2g}, allowed {TOLERANCE:g}), although the tensors agree: {causes}; nothing was trained"
            )
        worst = max(worst, difference)
    return worst


def seeded_image() -> Tensor:
    """Return the image (3, 96, 128), uint8 and RGB, on which networks are compared."""
    generator = torch.Generator().manual_seed(20220)
    return torch.randint(0, 256, (3, 96, 128), generator=generator, dtype=torch.uint8)


@contextlib.contextmanager
def looking(network: nn.Module) -> Iterator[None]:
    """Have `network` in evaluation mode, exact and without gradients; then modules and parameters are as they were.

    The parameters too: MMTracking's backbones freeze them whenever their mode changes. An optimizer or a distributed
    wrapper that is made of a frozen network gives these no learning rate of their own, and no common gradient.
    """
    modes = {module: module.training for module in network.modules()}
    trained = {parameter: parameter.requires_grad for parameter in network.parameters()}
    network.eval()
    try:
        # TF32, a GPU's own choice for convolutions, keeps 10 bits: more than TOLERANCE would be lost to it.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, requires_grad in trained.items():
            parameter.requires_grad = requires_grad


def checkpoint_features(backbone: Backbone, x: Tensor, names: Sequence[str] = LAYERS) -> dict[str, Tensor]:
    """Return what the checkpoint's own network, torchvision's, makes of a normalised (N, 3, H, W) after each stage.

    Args:
        backbone: the checkpoint.
        x: its input, on the CPU.
        names: what the four stages are to be called.
    """
    return dict(zip(names, source_stages(backbone, x).values(), strict=True))
