"""The Faster R-CNN of MMTracking's DeepSORT, from a file of the user's.

Imported after `engine.load()` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmcv import Config
from mmdet.models import build_detector

from mec_transfer.backbone.safe_load import load_checkpoint
from mec_transfer.common.errors import CheckpointError

_PREFIX = "detector."
"""Its names begin with this in the file of a whole tracker."""


class Detector:
    """What DeepSORT asks of its detector (mmtrack/models/mot/deep_sort.py), and nothing else."""

    def __init__(self, config: Config, path: Path, device: torch.device) -> None:
        """Build the detector of a tracker's config with the weights of a file, all of them.

        Raises:
            CheckpointError: the file cannot be read, or is not this network's.
        """
        settings = {key: value for key, value in config.model.detector.items() if key != "init_cfg"}
        settings["backbone"] = {**settings["backbone"], "init_cfg": None}
        self.network: Any = build_detector(settings)
        _load(self.network, path)
        self.network.to(device).eval()

    def __call__(self, image: torch.Tensor, meta: dict[str, Any], public: torch.Tensor | None) -> torch.Tensor:
        """Return (N, 5) boxes with scores, in pixels of the frame.

        Args:
            image: (1, 3, H, W), as the test pipeline makes it.
            meta: that pipeline's.
            public: boxes in pixels of `image`, (N, 4), that stand in for the network's own proposals.
        """
        network = self.network
        features = network.extract_feat(image)
        proposals = [public] if public is not None else network.rpn_head.simple_test_rpn(features, [meta])
        head = network.roi_head
        (boxes,), _ = head.simple_test_bboxes(features, [meta], proposals, head.test_cfg, rescale=True)
        found: torch.Tensor = boxes
        return found


def _load(network: torch.nn.Module, path: Path) -> None:
    loaded = load_checkpoint(path)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    tensors = {str(name): tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    if any(name.startswith(_PREFIX) for name in tensors):
        tensors = {name.removeprefix(_PREFIX): one for name, one in tensors.items() if name.startswith(_PREFIX)}
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            found = "is not there"
        elif tensors[name].shape != tensor.shape:
            found = f"is {tuple(tensors[name].shape)}"
        else:
            continue
        what = f"{name} {found}, and {tuple(tensor.shape)} is needed"
        raise CheckpointError(f"{path}: not the detector of the tracker's config: {what}; nothing was tracked")
    if more := sorted(tensors.keys() - wanted.keys()):
        raise CheckpointError(f"{path}: not the detector of the tracker's config: it has {more[0]}, too")
    network.load_state_dict(tensors)
