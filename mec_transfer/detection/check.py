"""Proofs that the installed Detectron2 computes what the protocols need; `mec-transfer engines check` runs them.

Each returns a line that says what it saw, or raises.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from mec_transfer.backbone.convert import convert
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import RunError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.pixels import normalise
from mec_transfer.detection import engine

_SMALL = {"INPUT.MIN_SIZE_TEST": 96, "MODEL.RPN.POST_NMS_TOPK_TEST": 8, "TEST.DETECTIONS_PER_IMAGE": 5}


def prove_backbone() -> str:
    """A converted random ResNet-50, loaded by Detectron2 itself, gives bitwise torchvision's res2 to res5."""
    engine.load()
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import build_resnet_backbone

    from mec_transfer.detection.guard import checkpoint_features
    from mec_transfer.detection.network import STAGES, fit_backbone, read_config

    backbone = resolve_backbone("random:resnet50:0")
    config = read_config(CONFIGS / "detection" / "coco_c4_1x_d2.yaml", {"MODEL.RESNETS.NORM": "BN"})
    fit_backbone(config, backbone)
    config.MODEL.RESNETS.OUT_FEATURES = list(STAGES)
    network = build_resnet_backbone(config, ShapeSpec(channels=3)).eval()
    with tempfile.TemporaryDirectory() as folder:
        convert(backbone, "detectron2", Path(folder, "random.pkl"))
        DetectionCheckpointer(network).load(str(Path(folder, "random.pkl")))
    pixels = torch.randint(0, 256, (1, 3, 96, 128), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    x = normalise(pixels, backbone.preprocessing)
    with torch.no_grad():
        found, expected = network(x), checkpoint_features(backbone, x)
    for stage in STAGES:
        if not torch.equal(found[stage], expected[stage]):
            raise RunError(f"{stage} differs from torchvision's by {(found[stage] - expected[stage]).abs().max():.3g}")
    return "res2 to res5 of a converted random ResNet-50 equal torchvision's bitwise"


def prove_forward(name: str) -> str:
    """A Mask R-CNN of a random ResNet-50 by configs/detection/`name` passes an image, and the guard."""
    engine.load()
    from mec_transfer.detection.guard import check_network
    from mec_transfer.detection.network import build_network, fit_backbone, read_config

    backbone = resolve_backbone("random:resnet50:0")
    config = read_config(CONFIGS / "detection" / name, _SMALL)
    fit_backbone(config, backbone)
    network = build_network(config, backbone, torch.device("cpu"))
    worst = check_network(network, backbone, config.INPUT.FORMAT)
    network.eval()
    with torch.no_grad():
        (result,) = network([{"image": torch.zeros(3, 96, 128, dtype=torch.uint8), "height": 48, "width": 64}])
    if result["instances"].image_size != (48, 64):
        raise RunError(f"the result is of size {result['instances'].image_size}, not (48, 64)")
    return f"an image passes; the network is the checkpoint's to {worst:.1g}"


PROOFS: dict[str, Callable[[], str]] = {
    "backbone": prove_backbone,
    "Mask R-CNN C4": lambda: prove_forward("coco_c4_1x_d2.yaml"),
    "Mask R-CNN FPN": lambda: prove_forward("coco_fpn_1x_d2.yaml"),
}
"""Name -> proof."""
