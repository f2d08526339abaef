"""Bytes of images to a network's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from mec_transfer.backbone.backbone import Preprocessing


def normalise(batch: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Return (x / 255 - mean) / std of a batch (N, 3, H, W), uint8 or float32 in 0..255 (used up), on its device.

    The three steps are taken one by one, in ToTensor's and Normalize's order, since folding them into one
    would move the last bits. A network trained on BGR gets its channels in that order.
    """
    if preprocessing.channel_order == "BGR":
        batch = batch.flip(1)
    mean = torch.tensor(preprocessing.mean, device=batch.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=batch.device).view(1, 3, 1, 1)
    return batch.to(torch.float32).div_(255).sub_(mean).div_(std)
