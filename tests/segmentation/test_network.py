"""The network: its stages are torchvision's dilated ones, its loss is written out, and its size is known before."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision

from mec_transfer.backbone.backbone import Backbone, Preprocessing, build_resnet
from mec_transfer.results.record import DatasetInfo
from mec_transfer.segmentation.config import HeadConfig
from mec_transfer.segmentation.network import FcnHead, Segmenter, dilate, to_input
from mec_transfer.suite.registry import benchmark_config, find_benchmark
from tests.segmentation.conftest import recipe


@pytest.mark.parametrize(("stride", "replaced"), [(16, (False, False, True)), (8, (False, True, True))])
def test_bottlenecks_are_dilated_as_torchvision_does_it(stride: int, replaced: tuple[bool, ...]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = build_resnet("resnet50").eval()
        theirs = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=replaced).eval()
        theirs.fc = torch.nn.Identity()
        theirs.load_state_dict(plain.state_dict())
        x = torch.randn(1, 3, 64, 64)
    dilate(plain, stride)  # type: ignore[arg-type]
    with torch.no_grad():
        assert torch.equal(plain(x), theirs(x))


@pytest.mark.parametrize("stride", [16, 8])
def test_basic_blocks_keep_the_size_and_dilate_their_first_convolution(stride: int) -> None:
    network = dilate(build_resnet("resnet18"), stride)  # type: ignore[arg-type]
    found = network.layer3(network.layer2(torch.zeros(1, 64, 16, 16)))  # type: ignore[operator]
    assert network.layer4(found).shape[-1] == 64 // stride  # type: ignore[operator]
    blocks = list(network.layer4)  # type: ignore[arg-type]
    assert [block.conv1.dilation[0] for block in blocks] == [1, 2] if stride == 16 else [2, 4]
    assert [block.conv2.dilation[0] for block in blocks] == [1, 1]


def test_the_loss_is_the_heads_mean_over_all_pixels_with_those_of_void(resnet18: Backbone) -> None:
    network = Segmenter(resnet18, recipe(), classes=3, seed=1).eval()  # no dropout
    chance = torch.Generator().manual_seed(0)
    x, labels = torch.randn(2, 3, 32, 32, generator=chance), torch.randint(3, (2, 32, 32), generator=chance)
    labels[:, :5] = 255
    expected = torch.zeros(())
    third, fourth = network._stages(x)
    for head, features, weight in ((network.head, fourth, 1.0), (network.auxiliary, third, 0.4)):
        assert head is not None
        scores = F.interpolate(head(features), (32, 32), mode="bilinear", align_corners=False)
        each = -scores.log_softmax(1).gather(1, labels.clamp(max=2)[:, None])[:, 0]
        expected = expected + weight * each[labels != 255].sum() / labels.numel()
    torch.testing.assert_close(network.loss(x, labels), expected)
    everywhere = network.loss(x, torch.full_like(labels, 255))
    assert float(everywhere.detach()) == 0


def test_a_head_is_what_its_config_says() -> None:
    config = HeadConfig(channels=6, convs=2, dilation=6, concat_input=True)
    head = FcnHead(config, 10, 4)
    assert [part[0].dilation[0] for part in head.convs] == [6, 6] and head.joint is not None
    assert head.joint[0].in_channels == 16 and head.joint[0].dilation == (1, 1)
    assert head(torch.zeros(2, 10, 9, 7)).shape == (2, 4, 9, 7)
    assert head.classifier.bias is not None and not head.classifier.bias.any()
    numbers = sum(tensor.numel() for name, tensor in head.state_dict().items() if "num_batches" not in name)
    assert numbers == config.numbers(10, 4)


def test_a_published_start_is_kaimings_and_small_for_the_classifier() -> None:
    head = FcnHead(HeadConfig(channels=256, convs=1), 64, 50)
    spread = [float(convolution.weight.detach().std()) for convolution in (head.convs[0][0], head.classifier)]
    assert spread == pytest.approx([math.sqrt(2 / (256 * 9)), 0.01], rel=0.05)


def test_the_same_seed_gives_the_same_heads_and_leaves_the_generator_alone(resnet18: Backbone) -> None:
    before = torch.get_rng_state()
    one, same, other = (Segmenter(resnet18, recipe(), 3, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.classifier.weight"], other["head.classifier.weight"])


def test_padding_is_zero_whatever_the_pixels_are_and_unscaled_ones_are_255_times_larger() -> None:
    pixels = torch.full((1, 3, 4, 5), 51, dtype=torch.uint8)
    plain = Preprocessing(mean=(0.1, 0.1, 0.1), std=(0.5, 0.5, 0.5))
    x = to_input(pixels, plain, False, torch.tensor([[3, 2]]))
    assert x[0, 0, :3, :2].unique().tolist() == pytest.approx([(0.2 - 0.1) / 0.5])
    assert not x[0, :, 3:].any() and not x[0, :, :, 2:].any()
    assert to_input(pixels, plain, True).unique().tolist() == pytest.approx([(51 - 0.1) / 0.5])


def test_the_state_that_a_job_needs_room_for_is_its_networks(resnet18: Backbone) -> None:
    config = benchmark_config(find_benchmark("voc12aug_fcn_mmseg", Path()))
    with torch.device("meta"):
        network = Segmenter.__new__(Segmenter)
        torch.nn.Module.__init__(network)
        network.backbone = build_resnet("resnet50")
        network.head = FcnHead(config.recipe.head, 2048, 21)  # type: ignore[attr-defined]
        network.auxiliary = FcnHead(config.recipe.auxiliary, 1024, 21)  # type: ignore[attr-defined]
    numbers = sum(tensor.numel() for name, tensor in network.state_dict().items() if "num_batches" not in name)
    data = DatasetInfo(name="x", fingerprint="", num_images=2, classes=21, splits={"val": 1449})
    assert config.resources("resnet50", data).own_bytes == 20 * numbers + 8 * 21 * (3 * 1449 + 21) + (1 << 20)
