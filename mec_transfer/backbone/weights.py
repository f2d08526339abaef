"""A group of tensors to a Backbone's state dict: copied, float32, and every value checked."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from mec_transfer.backbone.architectures import COUNTER
from mec_transfer.backbone.groups import Group
from mec_transfer.common.errors import CheckpointError


def take_weights(tensors: Mapping[str, torch.Tensor], group: Group) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the group's tensors by torchvision's names, and notes on what was changed or is odd.

    Weights become float32 (the same bits where they are float32 already), BN counters int64.

    Raises:
        CheckpointError: NaN or infinity, a negative variance, an all-equal convolution, or no numbers of a float type.
    """
    state_dict: dict[str, torch.Tensor] = {}
    kinds: set[torch.dtype] = set()
    fresh = True
    for name, source in sorted(group.names.items()):
        tensor = tensors[source].detach()
        if name.endswith(COUNTER):
            if tensor.numel() == 1:
                state_dict[name] = tensor.reshape(()).to(torch.int64, copy=True)
            continue
        if not tensor.is_floating_point():
            raise CheckpointError(f"{source} is {_kind(tensor.dtype)}, not floating point; save the float weights")
        kinds.add(tensor.dtype)
        taken = tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        low, high = (value.item() for value in taken.aminmax())
        _check_values(name, source, low, high)
        if name.endswith(("running_mean", "running_var")):
            fresh = fresh and low == high == float(name.endswith("running_var"))
        state_dict[name] = taken
    notes = [f"converted from {_kind(kind)} to float32" for kind in sorted(kinds - {torch.float32}, key=str)]
    if fresh:
        notes.append("every BN statistic is that of an untrained network (mean 0, variance 1)")
    return state_dict, notes


def _check_values(name: str, source: str, low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CheckpointError(
            f"{source} holds NaN or infinity (or overflows float32): the training diverged; take an earlier one"
        )
    if name.endswith("running_var") and low < 0:
        raise CheckpointError(f"{source} is a BN variance and holds {low:.3g}: the file is damaged; take another one")
    if ("conv" in name or name.endswith("downsample.0.weight")) and low == high:
        raise CheckpointError(f"{source} is {low:g} everywhere: these weights were never trained or are damaged")


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
