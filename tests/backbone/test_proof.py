"""The proof passes what is right and catches what is wrong, each fault planted one at a time."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mec_transfer.backbone.engine_forward as engine_forward
from mec_transfer.backbone.backbone import Backbone, Preprocessing
from mec_transfer.backbone.engine_forward import EngineForward, engine_input
from mec_transfer.backbone.layouts import LAYOUTS
from mec_transfer.backbone.proof import FOLD_TOLERANCE, Proof, prove
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import CheckpointError, RunError

Tensors = dict[str, torch.Tensor]


def make_backbone(arch: str, seed: int = 0, preprocessing: Preprocessing | None = None) -> Backbone:
    """A random network whose BN statistics are not all zeros and ones, as after training."""
    generator = torch.Generator().manual_seed(seed)
    state_dict = dict(resolve_backbone(f"random:{arch}:{seed}").state_dict)
    for name, tensor in state_dict.items():
        if tensor.ndim == 1:
            noise = torch.rand(tensor.shape, generator=generator)
            state_dict[name] = 0.5 + noise if name.endswith(("var", "weight")) else noise - 0.5
    return Backbone(arch=arch, state_dict=state_dict, preprocessing=preprocessing or Preprocessing())


RESNET18, RESNET50 = make_backbone("resnet18"), make_backbone("resnet50")


def run_proof(
    layout: str, backbone: Backbone, fault: Callable[[Tensors], Any] = lambda tensors: None, **changed: Any
) -> Proof:
    target = LAYOUTS[layout]
    tensors = target.to_engine(backbone)
    fault(tensors)
    config = target.settings(backbone)
    return prove(backbone, target, tensors, config | {key.replace("__", "."): value for key, value in changed.items()})


@pytest.mark.parametrize("layout", [name for name, layout in LAYOUTS.items() if layout.renames])
@pytest.mark.parametrize("backbone", [RESNET18, RESNET50], ids=["resnet18", "resnet50"])
def test_renamings_are_proven_bit_for_bit(layout: str, backbone: Backbone) -> None:
    proof = run_proof(layout, backbone)
    assert proof.tolerance == proof.max_relative_difference == 0
    assert list(proof.max_abs_difference) == ["input", "stem", "res2", "res3", "res4", "res5"]
    assert proof.max_abs_difference.pop("input") <= 1e-6
    assert set(proof.max_abs_difference.values()) == {0.0}
    convolutions = {"resnet18": 20, "resnet50": 53}[backbone.arch]
    assert proof.steps == 2 * convolutions + 5


def test_a_small_image_stem_is_proven_too() -> None:
    assert run_proof("torchvision", resolve_backbone("random:resnet18:0:cifar")).max_relative_difference == 0


@settings(max_examples=3, deadline=None)
@given(
    seed=st.integers(0, 1000),
    order=st.sampled_from(["RGB", "BGR"]),
    mean=st.tuples(*[st.floats(0.2, 0.8)] * 3),
    std=st.tuples(*[st.floats(0.1, 0.5)] * 3),
)
def test_sot_is_proven_within_its_tolerance(seed: int, order: Any, mean: Any, std: Any) -> None:
    preprocessing = Preprocessing(mean=mean, std=std, channel_order=order)
    proof = run_proof("openmmlab-sot", make_backbone("resnet50", seed, preprocessing))
    assert 0 < proof.max_relative_difference < FOLD_TOLERANCE / 3


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_two_tensors_exchanged_are_caught(data: st.DataObject) -> None:
    tensors = LAYOUTS["detectron2"].to_engine(RESNET18)
    names = [name for name in tensors if not name.endswith("num_batches_tracked")]
    first = data.draw(st.sampled_from(names))
    alike = [name for name in names if tensors[name].shape == tensors[first].shape and name != first]
    if not alike:
        return
    second = data.draw(st.sampled_from(alike))

    def exchange(tensors: Tensors) -> None:
        tensors[first], tensors[second] = tensors[second], tensors[first]

    with pytest.raises(RunError, match="differs from the source"):
        run_proof("detectron2", RESNET18, exchange)


def test_an_exchange_behind_a_zero_gamma_is_caught() -> None:
    state_dict = dict(RESNET18.state_dict)
    for block in ("layer2.1", "layer3.1"):
        state_dict[f"{block}.bn2.weight"] = torch.zeros_like(state_dict[f"{block}.bn2.weight"])
    backbone = Backbone(arch="resnet18", state_dict=state_dict)

    def exchange(tensors: Tensors) -> None:
        first, second = "res3.1.conv1.weight", "res3.1.conv2.weight"
        tensors[first], tensors[second] = tensors[second], tensors[first]

    with pytest.raises(RunError, match="res3 differs"):
        run_proof("detectron2", backbone, exchange)


def keep_prefix(tensors: Tensors) -> None:
    for name in list(tensors):
        tensors[f"backbone.{name}"] = tensors.pop(name)


def set_to(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], None]:
    def fault(tensors: Tensors) -> None:
        tensors[name] = change(tensors[name])

    return fault


FAULTS: dict[str, tuple[str, Callable[[Tensors], Any], str]] = {
    "shortcut dropped": ("detectron2", lambda t: t.pop("res3.0.shortcut.weight"), "lacks 'res3.0.shortcut.weight'"),
    "statistics dropped": (
        "openmmlab",
        lambda t: t.pop("layer1.0.bn2.running_var"),
        "lacks 'layer1.0.bn2.running_var'",
    ),
    "prefix kept": ("openmmlab", keep_prefix, "lacks 'conv1.weight'"),
    "classifier kept": ("detectron2", lambda t: t.update({"stem.fc.weight": torch.ones(9, 512)}), "'stem.fc.weight'"),
    "BGR flip": ("detectron2", set_to("stem.conv1.weight", lambda w: w.flip(1)), "stem differs"),
    "one bit": ("timm", set_to("bn1.weight", lambda w: torch.nextafter(w, w + 1)), "stem differs"),
    "not a number": ("timm", set_to("layer4.1.bn2.bias", lambda w: w * float("nan")), "res5 differs .* by nan"),
    "half precision": ("detectron2", set_to("res2.0.conv1.weight", torch.Tensor.half), "float16"),
    "kernel transposed": ("openmmlab", set_to("layer2.0.conv1.weight", lambda w: w.transpose(0, 1)), "has shape"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_caught(name: str) -> None:
    layout, fault, message = FAULTS[name]
    with pytest.raises(RunError, match=message):
        run_proof(layout, RESNET18, fault)


SOT_FAULTS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "plain 1x1 shortcut": (set_to("layer3.0.downsample.0.weight", lambda w: w[:, :, 1:2, 1:2]), "has shape"),
    "kernel off the centre": (set_to("layer4.0.downsample.0.weight", lambda w: w.roll(1, 2)), "res5 differs"),
    "RGB stem": (set_to("conv1.weight", lambda w: w.flip(1)), "stem differs"),
    "normalised input": (set_to("conv1.weight", lambda w: w * 255), "stem differs"),
    "mean forgotten": (set_to("bn1.running_mean", lambda _: RESNET50.state_dict["bn1.running_mean"]), "stem differs"),
}


@pytest.mark.parametrize("name", SOT_FAULTS)
def test_planted_faults_of_the_sot_layout_are_caught(name: str) -> None:
    fault, message = SOT_FAULTS[name]
    with pytest.raises(RunError, match=message):
        run_proof("openmmlab-sot", RESNET50, fault)


@pytest.mark.parametrize(
    ("layout", "changed", "message"),
    [
        ("detectron2", {"MODEL__RESNETS__STRIDE_IN_1X1": True}, "res3 "),
        ("detectron2", {"INPUT__FORMAT": "BGR"}, "input differs"),
        ("detectron2", {"MODEL__RESNETS__DEPTH": 101}, "lacks 'res4.6.conv1.weight'"),
        ("openmmlab", {"backbone__depth": 18}, "'layer1.0.conv1.weight' has shape"),
        ("detectron2", {"MODEL__PIXEL_STD": [1.0, 1.0, 1.0]}, "input differs"),
        ("detectron2", {"MODEL__PIXEL_MEAN": [103.53, 116.28, 123.675]}, "input differs"),
        ("openmmlab", {"backbone__style": "caffe"}, "res3 "),
        ("openmmlab", {"img_norm_cfg__to_rgb": False}, "input differs"),
        ("timm", {"mean": [0.5, 0.5, 0.5]}, "input differs"),
        ("openmmlab-sot", {"backbone__dilations": [1, 1, 1, 1]}, "'layer3.0.downsample.0.weight' has shape"),
        ("openmmlab-sot", {"backbone__strides": [1, 2, 2, 2]}, "res4 "),
    ],
)
def test_wrong_settings_are_caught(layout: str, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        run_proof(layout, RESNET50, **changed)


def test_a_network_that_overflows_by_itself_is_refused() -> None:
    huge = {name: tensor * 1e6 if tensor.ndim == 1 else tensor for name, tensor in RESNET18.state_dict.items()}
    with pytest.raises(CheckpointError, match="^memory: the network's own activations overflow"):
        run_proof("detectron2", Backbone(arch="resnet18", state_dict=huge))


def test_the_engines_forward_pass_knows_nothing_of_the_renaming() -> None:
    tree = ast.parse(Path(engine_forward.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "collections.abc", "typing", "mec_transfer.common.errors"}


class SotBlock(nn.Module):
    """mmtrack's bottleneck as its configuration describes it: padding 2 - stride, or the dilation; a first block
    of a dilated layer has half the dilation; shortcuts are 3x3 wherever stride or dilation are not 1."""

    def __init__(self, inplanes: int, planes: int, stride: int, dilation: int, first: bool) -> None:
        super().__init__()
        half = max(dilation // 2, 1) if first else dilation
        padding = half if dilation > 1 else 2 - stride
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding, half, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if first:
            plain = stride == dilation == 1
            geometry = (1, stride, 0) if plain else (3, stride, half if dilation > 1 else 0, half)
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, 4 * planes, *geometry, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = self.bn3(self.conv3(out))
        return (out + (self.downsample(x) if self.downsample else x)).relu()


class SotResNet50(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 0, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inplanes = 64
        for number, (planes, blocks, stride, dilation) in enumerate(
            [(64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 1, 2), (512, 3, 1, 4)], start=1
        ):
            layer = [SotBlock(inplanes, planes, stride, dilation, first=True)]
            inplanes = 4 * planes
            layer += [SotBlock(inplanes, planes, 1, dilation, first=False) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*layer))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        stages = [self.maxpool(self.bn1(self.conv1(x)).relu())]
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            stages.append(layer(stages[-1]))
        return stages


def test_the_sot_weights_load_strictly_into_modules_and_give_the_proofs_activations() -> None:
    tensors = LAYOUTS["openmmlab-sot"].to_engine(RESNET50)
    config = LAYOUTS["openmmlab-sot"].settings(RESNET50)
    network = SotResNet50().eval()
    network.load_state_dict(tensors)
    pixels = torch.randint(0, 256, (1, 3, 95, 127), generator=torch.Generator().manual_seed(1)).float()
    with torch.inference_mode():
        raw_bgr = engine_input("openmmlab-sot", config, pixels)
        assert torch.equal(raw_bgr, pixels[:, [2, 1, 0]])
        steps = EngineForward("openmmlab-sot", 50, tensors, config).run(raw_bgr)
        for stage, expected in zip(engine_forward.STAGES, network(raw_bgr), strict=True):
            assert torch.equal([step for name, step in steps if name == stage][-1], expected), stage
