from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision

from mec_transfer.backbone.backbone import Backbone, Preprocessing
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import UserError
from mec_transfer.tracking.appearance import Appearance, map_size
from mec_transfer.tracking.config import Stage

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["resnet18", "resnet50"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return resolve_backbone(f"random:{request.param}:3")


def plain_features(backbone: Backbone, frame: np.ndarray, stage: str) -> torch.Tensor:
    """By torchvision's own forward, each block written out with the strides of layer3 and layer4 taken as 1."""
    network = getattr(torchvision.models, backbone.arch)()
    network.load_state_dict(dict(backbone.state_dict), strict=False)
    network.eval()
    scale = backbone.preprocessing
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (scale.mean, scale.std))
    x = ((torch.from_numpy(frame).permute(2, 0, 1).float() / 255 - mean) / std)[None]
    with torch.no_grad():
        x = network.layer2(network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(x))))))
        for block in [*network.layer3, *(network.layer4 if stage == "layer4" else [])]:
            short = x if block.downsample is None else block.downsample[1](_unit(block.downsample[0], x))
            convolutions = [name for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]
            for name in convolutions:
                x = getattr(block, name.replace("conv", "bn"))(_unit(getattr(block, name), x))
                x = x if name == convolutions[-1] else torch.relu(x)
            x = torch.relu(x + short)
    return x


def _unit(conv: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return F.conv2d(x, conv.weight, stride=1, padding=conv.padding)


@pytest.mark.parametrize("stage", ["layer3", "layer4"])
def test_features_are_those_of_a_plain_forward_at_stride_8(backbone: Backbone, stage: Stage) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (50, 91, 3), dtype=np.uint8)
    model = Appearance(backbone, stage=stage, device=CPU)
    features = model(model.prepare(frame))
    assert features.shape == (1, model.channels, 7, 12)
    assert map_size(91, 50) == (12, 7)
    expected = plain_features(backbone, frame, stage)
    assert (features - expected).norm() / expected.norm() < 1e-5


def test_channel_order_follows_the_checkpoint() -> None:
    backbone = resolve_backbone("random:resnet18:3")
    bgr = dataclasses.replace(backbone, preprocessing=Preprocessing(channel_order="BGR"))
    frame = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    rgb_model, bgr_model = Appearance(backbone, device=CPU), Appearance(bgr, device=CPU)
    mean = torch.tensor(backbone.preprocessing.mean).view(3, 1, 1)
    std = torch.tensor(backbone.preprocessing.std).view(3, 1, 1)
    raw = (rgb_model.prepare(frame)[0] * std + mean) * 255
    swapped = (bgr_model.prepare(frame)[0] * std + mean) * 255
    torch.testing.assert_close(raw.flip(0), swapped)


def test_several_frames_at_once_give_the_same_features_in_bf16_nearly() -> None:
    backbone = resolve_backbone("random:resnet18:3")
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    exact, half = Appearance(backbone, device=CPU), Appearance(backbone, device=CPU, precision="bf16")
    together = exact(exact.prepare(frames))
    torch.testing.assert_close(together[1:2], exact(exact.prepare(frames[1])), rtol=1e-4, atol=1e-4)
    approximate = half(half.prepare(frames))
    assert approximate.dtype == torch.float32
    assert (together - approximate).norm() / together.norm() < 0.02


@pytest.mark.parametrize(("arch", "stage", "reach"), [("resnet18", "layer3", 81), ("resnet50", "layer4", 117)])
def test_a_cell_depends_on_the_pixels_within_reach_and_no_other(arch: str, stage: Stage, reach: int) -> None:
    model = Appearance(resolve_backbone(f"random:{arch}:3"), stage=stage, device=CPU)
    assert model.reach == reach
    torch.manual_seed(0)
    strip = torch.randn(1, 3, 8, 8 * 33)
    cell = model(strip)[0, :, 0, 16]
    for column, changes in ((128 + reach, True), (128 + reach + 1, False), (128 - reach - 1, False)):
        other = strip.clone()
        other[..., column] += 1e4
        assert torch.equal(model(other)[0, :, 0, 16], cell) is not changes


def test_small_image_stem_is_refused() -> None:
    backbone = dataclasses.replace(resolve_backbone("random:resnet18"), stem="cifar")
    with pytest.raises(UserError, match="output stride 8"):
        Appearance(backbone, device=CPU)
