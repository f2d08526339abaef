"""A backbone at work on a device, and the val images that judge it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import torch

from mec_transfer.backbone.backbone import Backbone, weights_sha256
from mec_transfer.classification.loading import load_batches
from mec_transfer.classification.transforms import ByteTransform
from mec_transfer.common import device as devices
from mec_transfer.common import distributed
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.pixels import normalise

_CHUNK = 256


class Encoder:
    """A backbone's network on its device: uint8 images (N, 3, H, W) to float32 features (N, width)."""

    def __init__(
        self, backbone: Backbone, device: torch.device, mixed_precision: bool, channels_last: bool = False
    ) -> None:
        """On a GPU tensors lie channels-last in memory, which is the faster way there; on a CPU where asked for."""
        self.backbone, self.device = backbone, device
        self.network = backbone.module().to(device)
        self.channels_last = channels_last or devices.prefers_channels_last(device)
        if self.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = "bfloat16" if mixed_precision and devices.computes_bfloat16(device) else "float32"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the features, with gradients where the network's weights take them."""
        x = normalise(images.to(self.device, non_blocking=True), self.backbone.preprocessing)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        with self._arithmetic(), autocast:
            features: torch.Tensor = self.network(x)
        return features.float()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of `loss`, computed as precisely as the features."""
        with self._arithmetic():
            loss.backward()

    def _arithmetic(self) -> contextlib.AbstractContextManager[None]:
        """Within, float32 keeps all its bits: torch itself lets a GPU drop 13 of 23 in convolutions (TF32)."""
        flags: contextlib.AbstractContextManager[None] = torch.backends.cudnn.flags(
            enabled=True, allow_tf32=self.precision != "float32"
        )
        return flags

    def sha256(self) -> str:
        """Hash the network's parameters and BN statistics as they are now."""
        backbone = self.backbone
        return weights_sha256(self.network.state_dict(), backbone.arch, backbone.stem, backbone.preprocessing)


class ValImages:
    """The val images, each judged once: process r of W takes every W-th one from the r-th on."""

    def __init__(
        self, images: ImageList, transform: ByteTransform, workers: int, device: torch.device, chunk: int | None = None
    ) -> None:
        self.images, self.transform, self.workers, self.device = images, transform, workers, device
        share = range(distributed.rank(), len(images), distributed.world_size())
        size = chunk or _CHUNK
        self._chunks = [share[start : start + size] for start in range(0, len(share), size)]

    @property
    def topk(self) -> int:
        """How many guesses are kept: 5, or 1 where five would be all there is."""
        return 5 if len(self.images.classes) > 5 else 1

    @torch.no_grad()
    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Return `function`'s rows for this process's images, chunk by chunk."""
        loaded = load_batches(self.images, self.transform, self._chunks, self.workers, self.device)
        return torch.cat([function(images) for images in loaded])

    def gather_top(self, logits: torch.Tensor) -> np.ndarray:
        """Return the best classes of all val images, (N, topk), given the logits of this process's own."""
        shares = distributed.gather_objects(logits.topk(self.topk, dim=1).indices.cpu().numpy())
        top = np.empty((len(self.images), self.topk), dtype=np.int64)
        for rank, share in enumerate(shares):
            top[rank :: len(shares)] = share
        return top


def broadcast_state(module: torch.nn.Module) -> None:
    """Give every process rank 0's parameters and buffers."""
    if distributed.world_size() > 1:
        for tensor in module.state_dict().values():
            torch.distributed.broadcast(tensor, src=0)
