"""Names there and back, and the values of SOTResNet, against formulas written here."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mec_transfer.backbone.backbone import ARCHS, Backbone, Preprocessing, build_resnet
from mec_transfer.backbone.layouts import LAYOUTS, detectron2_name, find_layout, torchvision_name
from mec_transfer.common.errors import CheckpointError, UserError

# What MoCo's script and Detectron2's resnet.py say, written by hand.
DETECTRON2_NAMES = {
    "conv1.weight": "stem.conv1.weight",
    "bn1.weight": "stem.conv1.norm.weight",
    "bn1.running_var": "stem.conv1.norm.running_var",
    "bn1.num_batches_tracked": "stem.conv1.norm.num_batches_tracked",
    "layer1.0.conv1.weight": "res2.0.conv1.weight",
    "layer1.0.bn1.bias": "res2.0.conv1.norm.bias",
    "layer1.0.downsample.0.weight": "res2.0.shortcut.weight",
    "layer1.0.downsample.1.weight": "res2.0.shortcut.norm.weight",
    "layer1.0.downsample.1.running_mean": "res2.0.shortcut.norm.running_mean",
    "layer2.3.conv2.weight": "res3.3.conv2.weight",
    "layer3.5.bn3.running_mean": "res4.5.conv3.norm.running_mean",
    "layer3.22.conv1.weight": "res4.22.conv1.weight",
    "layer4.2.conv3.weight": "res5.2.conv3.weight",
}


def make_backbone(arch: str, seed: int, counters: bool = True, preprocessing: Preprocessing | None = None) -> Backbone:
    """A network whose BN statistics are not all zeros and ones, as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = build_resnet(arch).state_dict()
    state_dict = {}
    for name, meta in shapes.items():
        if name.endswith("num_batches_tracked"):
            tensor = torch.tensor(1000 + seed)
        elif meta.ndim == 4:
            tensor = torch.randn(meta.shape, generator=generator) * (2 / meta[0].numel()) ** 0.5
        elif name.endswith(("running_var", "weight")):
            tensor = 0.5 + torch.rand(meta.shape, generator=generator)
        else:
            tensor = torch.randn(meta.shape, generator=generator) / 4
        if counters or not name.endswith("num_batches_tracked"):
            state_dict[name] = tensor
    return Backbone(arch=arch, state_dict=state_dict, preprocessing=preprocessing or Preprocessing())


def test_detectron2_names_are_those_of_the_published_converter() -> None:
    assert {name: detectron2_name(name) for name in DETECTRON2_NAMES} == DETECTRON2_NAMES


@pytest.mark.parametrize("arch", ARCHS)
def test_detectron2_names_are_a_bijection(arch: str) -> None:
    with torch.device("meta"):
        names = list(build_resnet(arch).state_dict())
    renamed = [detectron2_name(name) for name in names]
    assert len(set(renamed)) == len(names)
    assert [torchvision_name(name) for name in renamed] == names
    assert all(name.startswith(("stem.conv1.", "res2.", "res3.", "res4.", "res5.")) for name in renamed)
    assert not any("bn" in name or "downsample" in name or "layer" in name for name in renamed)


def assert_same_bytes(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].numpy().tobytes() == tensor.numpy().tobytes(), name


@settings(max_examples=8, deadline=None)
@given(
    arch=st.sampled_from(["resnet18", "resnet34"]),
    layout=st.sampled_from([name for name, layout in LAYOUTS.items() if layout.renames]),
    seed=st.integers(0, 2**31),
    counters=st.booleans(),
)
def test_renaming_layouts_give_the_same_bytes_back(arch: str, layout: str, seed: int, counters: bool) -> None:
    backbone = make_backbone(arch, seed, counters)
    target = LAYOUTS[layout]
    back = target.from_engine(target.to_engine(backbone), backbone.preprocessing)
    assert_same_bytes(back, dict(backbone.state_dict))
    assert dataclasses.replace(backbone, state_dict=back).sha256 == backbone.sha256


def test_the_round_trip_of_a_resnet50_and_of_odd_bits() -> None:
    backbone = make_backbone("resnet50", 3)
    odd = backbone.state_dict["layer4.2.bn3.bias"]
    odd[:3] = torch.tensor([-0.0, 1e-45, torch.finfo(torch.float32).max])
    target = LAYOUTS["detectron2"]
    assert_same_bytes(target.from_engine(target.to_engine(backbone), Preprocessing()), dict(backbone.state_dict))


def test_tensors_in_another_memory_layout_are_written_in_order() -> None:
    backbone = make_backbone("resnet18", 0)
    strided = {
        name: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in backbone.state_dict.items()
    }
    written = LAYOUTS["torchvision"].to_engine(dataclasses.replace(backbone, state_dict=strided))
    assert all(tensor.is_contiguous() for tensor in written.values())
    assert_same_bytes(written, dict(backbone.state_dict))


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_sot_folds_normalisation_and_channel_order_into_the_stem(order: str) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    backbone = make_backbone("resnet50", 1, preprocessing=Preprocessing(mean=mean, std=std, channel_order=order))
    sot = LAYOUTS["openmmlab-sot"].to_engine(backbone)
    # On one 7x7 window of raw BGR pixels, (conv1(x) - running_mean) must be the same from both sides.
    raw_bgr = torch.randint(0, 256, (3, 7, 7), generator=torch.Generator().manual_seed(0)).double()
    x = raw_bgr.flip(0) if order == "RGB" else raw_bgr
    x = torch.stack([(x[channel] / 255 - mean[channel]) / std[channel] for channel in range(3)])
    expected = (backbone.state_dict["conv1.weight"].double() * x).sum((1, 2, 3))
    expected -= backbone.state_dict["bn1.running_mean"].double()
    found = (sot["conv1.weight"].double() * raw_bgr).sum((1, 2, 3)) - sot["bn1.running_mean"].double()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_sot_puts_the_1x1_shortcuts_of_layers_2_to_4_into_the_centre_of_a_3x3() -> None:
    backbone = make_backbone("resnet50", 2)
    sot = LAYOUTS["openmmlab-sot"].to_engine(backbone)
    changed = {name for name in sot if sot[name].shape != backbone.state_dict[name].shape}
    assert changed == {f"layer{number}.0.downsample.0.weight" for number in (2, 3, 4)}
    for name in changed:
        kernel = sot[name].clone()
        assert torch.equal(kernel[:, :, 1, 1], backbone.state_dict[name][:, :, 0, 0])
        kernel[:, :, 1, 1] = 0
        assert not kernel.any()


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_sot_comes_back_exactly_but_for_the_rounding_of_the_stem(order: str) -> None:
    backbone = make_backbone("resnet50", 4, preprocessing=Preprocessing(channel_order=order))
    target = LAYOUTS["openmmlab-sot"]
    back = target.from_engine(target.to_engine(backbone), backbone.preprocessing)
    folded = ("conv1.weight", "bn1.running_mean")
    for name in folded:
        torch.testing.assert_close(back[name], backbone.state_dict[name], rtol=1e-6, atol=2e-6)
    assert_same_bytes(
        {name: tensor for name, tensor in back.items() if name not in folded},
        {name: tensor for name, tensor in backbone.state_dict.items() if name not in folded},
    )


def test_an_unknown_layout_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="'detectron' is not a layout. Did you mean 'detectron2'"):
        find_layout("detectron")


@pytest.mark.parametrize("arch", ["resnet18", "resnet101"])
def test_sot_takes_a_resnet50_only(arch: str) -> None:
    with pytest.raises(CheckpointError, match=f"no network with arch '{arch}'; it takes resnet50"):
        LAYOUTS["openmmlab-sot"].check(Backbone(arch=arch, state_dict={}))


@pytest.mark.parametrize("layout", ["detectron2", "openmmlab", "openmmlab-sot", "timm"])
def test_engines_without_a_small_image_stem_refuse_it(layout: str) -> None:
    with pytest.raises(CheckpointError, match="no network with stem 'cifar'"):
        LAYOUTS[layout].check(Backbone(arch="resnet50", state_dict={}, stem="cifar"))
    LAYOUTS["torchvision"].check(Backbone(arch="resnet50", state_dict={}, stem="cifar"))
