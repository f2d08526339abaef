"""A full match or a refusal: whatever is wrong with a file, no wrong Backbone comes out of it."""

from __future__ import annotations

import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mec_transfer.backbone.architectures import COUNTER, expected_tensors
from mec_transfer.backbone.backbone import ARCHS, Stem, build_resnet
from mec_transfer.backbone.reader import inspect_checkpoint, read_backbone
from mec_transfer.common.errors import CheckpointError

Weights = dict[str, torch.Tensor]
FILES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def save(folder: Path, content: Any, name: str = "checkpoint.pth", **options: bool) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def refusal(path: Path, encoder: str = "auto") -> str:
    with pytest.raises(CheckpointError) as caught:
        read_backbone(path, encoder)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_expected_tensors_are_torchvisions(arch: str, stem: Stem) -> None:
    with torch.device("meta"):
        network = build_resnet(arch, stem)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if COUNTER not in name}
    assert expected_tensors(arch, stem) == shapes
    assert len(expected_tensors("resnet50")) == 265


def test_resnet50_of_a_training_run_in_time(tmp_path: Path) -> None:
    online = torchvision.models.resnet50().state_dict()
    buffers = {i: {"momentum_buffer": torch.randn_like(tensor.float())} for i, tensor in enumerate(online.values())}
    sd = {f"module.{side}.{name}": value.clone() for side in ("encoder", "teacher") for name, value in online.items()}
    path = save(
        tmp_path,
        {
            "epoch": 100,
            "state_dict": sd | {"module.predictor.0.weight": torch.ones(1)},
            "optimizer": {"state": buffers},
        },
    )
    started = time.process_time()
    backbone = read_backbone(path)
    seconds = time.process_time() - started
    assert len(backbone.state_dict) == 265 + 53
    assert all(torch.equal(online[name], tensor) for name, tensor in backbone.state_dict.items())
    assert path.stat().st_size > 300e6
    assert seconds < 3  # of computing: under 0.5 on an idle machine, twice that where others share its cores
    path.unlink()


# what is done to a state dict of full weights, and what the refusal says
DAMAGE: dict[str, tuple[Callable[[Weights], Any], str]] = {
    "missing": (lambda w: w.pop("layer3.0.conv1.weight"), "lacks layer3.0.conv1.weight"),
    "no conv1": (lambda w: w.pop("conv1.weight"), "lacks conv1.weight"),
    "renamed": (lambda w: w.update({"layer3.0.convA.weight": w.pop("layer3.0.conv1.weight")}), "lacks layer3.0.conv1"),
    "extra": (lambda w: w.update({"layer3.0.conv9.weight": torch.ones(1)}), "has layer3.0.conv9.weight besides"),
    "bias": (lambda w: w.update({"conv1.bias": torch.ones(64)}), "has conv1.bias besides"),
    "shape": (
        lambda w: w.update({"layer1.0.bn1.bias": torch.ones(65)}),
        "layer1.0.bn1.bias of shape 65 where 64 belongs",
    ),
    "no statistics": (
        lambda w: [w.pop(name) for name in list(w) if "running_" in name],
        "40 tensors .bn1.running_mean.*BN statistics",
    ),
    "no stage 4": (lambda w: [w.pop(name) for name in list(w) if "layer4" in name], "2-2-2 basic blocks"),
    "block more": (lambda w: w.update({"layer4.2.bn1.bias": torch.ones(1)}), "2-2-2-3 basic blocks"),
    "squeeze": (lambda w: w.update({"layer1.0.se.fc1.weight": torch.ones(1)}), "squeeze-excitation"),
    "deep stem": (lambda w: w.update({"conv1.3.weight": torch.ones(1)}), "deep stem"),
    "gray": (lambda w: w.update({"conv1.weight": torch.rand(64, 1, 7, 7)}), "1 input channels"),
    "nan": (lambda w: w.update({"bn1.bias": torch.full((64,), float("nan"))}), "bn1.bias holds NaN or infinity"),
    "infinity": (lambda w: w.update({"bn1.bias": torch.full((64,), float("-inf"))}), "bn1.bias holds NaN or infinity"),
    "float64 overflow": (
        lambda w: w.update({"bn1.bias": torch.full((64,), 1e300, dtype=torch.float64)}),
        "overflows float32",
    ),
    "negative variance": (lambda w: w.update({"bn1.running_var": -torch.rand(64) - 0.1}), "BN variance and holds -1"),
    "zeros": (lambda w: w.update({"conv1.weight": torch.zeros(64, 3, 7, 7)}), "conv1.weight is 0 everywhere"),
    "integers": (lambda w: w.update({"bn1.bias": torch.ones(64, dtype=torch.int8)}), "int8, not floating point"),
    "twice": (
        lambda w: w.update({"_orig_mod.bn1.bias": torch.ones(64)}),
        "bn1.bias is stored twice",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("prefix", ["", "module.encoder_q."])
def test_damage_is_refused(tmp_path: Path, weights: Weights, name: str, prefix: str) -> None:
    damaged = dict(weights)
    DAMAGE[name][0](damaged)
    path = save(tmp_path, {"state_dict": {prefix + name: tensor for name, tensor in damaged.items()}})
    message = refusal(path)
    assert re.search(DAMAGE[name][1], message), message
    assert inspect_checkpoint(path).problem == message


def test_a_broken_online_network_is_not_swapped_for_its_teacher(
    tmp_path: Path, weights: Weights, teacher: Weights
) -> None:
    sd = {f"module.encoder_q.{name}": tensor for name, tensor in weights.items() if name != "bn1.bias"}
    path = save(tmp_path, {"state_dict": sd | {f"module.encoder_k.{name}": t for name, t in teacher.items()}})
    assert "lacks bn1.bias; a full match: --encoder module.encoder_k" in refusal(path)
    assert read_backbone(path, "teacher").provenance.prefix == "module.encoder_k."


def others() -> dict[str, tuple[Callable[[], Weights], str]]:
    models = torchvision.models
    return {
        "vit": (lambda: models.vit_b_16().state_dict(), "holds a Vision Transformer"),
        "wide": (lambda: models.wide_resnet50_2().state_dict(), "a wide ResNet .inner width 128"),
        "resnext": (lambda: models.resnext50_32x4d().state_dict(), "a ResNeXt .32 groups"),
        "double width": (
            lambda: models.resnet18().state_dict() | {"conv1.weight": torch.ones(128, 3, 7, 7)},
            "2x width",
        ),
        "resnet10": (lambda: models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1]).state_dict(), "1-1-1-1 basic"),
        "densenet": (lambda: models.densenet121().state_dict(), "a VGG, DenseNet"),
        "head": (lambda: {"fc.weight": torch.ones(3, 4)}, "no ResNet among its 1 tensors"),
        "caffe2": (lambda: {"res2_0_branch2a_w": torch.ones(3)}, "Caffe2's ResNet"),
        "msra": (lambda: {"res_conv1_bn_s": torch.ones(3)}, "Caffe2's ResNet"),
    }


@pytest.mark.parametrize("name", others())
def test_other_networks_are_refused_by_name(tmp_path: Path, name: str) -> None:
    make, says = others()[name]
    with torch.device("meta"):
        shapes = make()
    path = save(tmp_path, {"model": {k: torch.rand(()).expand(tensor.shape) for k, tensor in shapes.items()}})
    assert re.search(says, message := refusal(path)), message


def test_a_file_without_a_resnet_is_of_no_format(tmp_path: Path) -> None:
    found = inspect_checkpoint(save(tmp_path, {"cls_token": torch.ones(1, 1, 4), "head.weight": torch.ones(5, 4)}))
    assert (found.format, found.networks) == ("unknown", ()) and "Vision Transformer" in found.problem


@pytest.mark.parametrize("variant", ["resnet50d", "seresnet50", "resnet26"])
def test_timm_variants_are_refused(tmp_path: Path, variant: str) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        shapes = timm.create_model(variant).state_dict()
    path = save(tmp_path, {name: torch.rand(()).expand(tensor.shape) for name, tensor in shapes.items()})
    assert "no full match under '.'" in refusal(path)


def test_caffe_style_of_openmmlab_is_refused(tmp_path: Path, weights: Weights) -> None:
    meta = {"config": "model = dict(backbone=dict(type='ResNet', style='caffe'))"}
    content = {"meta": meta, "state_dict": {f"backbone.{name}": tensor for name, tensor in weights.items()}}
    assert "style='caffe'" in refusal(save(tmp_path, content))


@pytest.mark.parametrize("epoch", [float("nan"), float("inf"), True, "three", None, 1.5])
def test_an_epoch_that_is_no_number_is_none(tmp_path: Path, weights: Weights, epoch: Any) -> None:
    assert inspect_checkpoint(save(tmp_path, {"epoch": epoch, "model": weights})).epoch is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"epoch": 3, "args": {}}, r"holds no tensors \(only epoch, args\)"),
        ([1, 2], r"holds no tensors \(only list\)"),
        ({}, r"holds no tensors \(only nothing\)"),
    ],
)
def test_no_weights_at_all(tmp_path: Path, content: Any, says: str) -> None:
    assert re.search(says, refusal(save(tmp_path, content)))


def test_pickled_model_objects_are_refused(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert "a pickled torch.nn.modules.container.Sequential object" in refusal(save(tmp_path, model))
    assert "'model' is a pickled torch.nn.modules.container.Sequential" in refusal(save(tmp_path, {"model": model}))


def test_tensors_in_a_plain_pickle_are_refused(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "r18.pkl"
    small = {name: torch.ones(1) for name in weights}
    path.write_bytes(pickle.dumps({"model": small}))
    assert "nested pickles (torch.storage._load_from_bytes)" in refusal(path)


def test_sequential_without_the_stems_relu_is_refused(tmp_path: Path, cifar: Weights) -> None:
    parts = {"conv1": "0", "bn1": "1", "layer1": "2", "layer2": "3", "layer3": "4", "layer4": "5"}
    sd = {".".join(["backbone", parts[(p := name.split("."))[0]], *p[1:]]): tensor for name, tensor in cifar.items()}
    assert "without the stem's ReLU" in refusal(save(tmp_path, sd))


def test_several_networks_in_an_unknown_format(tmp_path: Path, weights: Weights, teacher: Weights) -> None:
    path = save(tmp_path, {"state_dict": weights, "state_dict_ema": teacher})
    message = refusal(path)
    assert "'.' (120 tensors, resnet18, imagenet stem); 'state_dict_ema.' (120 tensors" in message
    assert message.endswith("name the one to take: --encoder . or --encoder state_dict_ema")
    first, second = read_backbone(path, "."), read_backbone(path, "state_dict_ema")
    assert first.sha256 != second.sha256
    assert torch.equal(first.state_dict["bn1.bias"], weights["bn1.bias"])
    assert torch.equal(second.state_dict["bn1.bias"], teacher["bn1.bias"])
    assert "format is not known" in first.provenance.notes[0]


def test_a_prefix_that_does_not_exist(tmp_path: Path, weights: Weights) -> None:
    path = save(tmp_path, {f"module.encoder_q.{name}": tensor for name, tensor in weights.items()})
    message = refusal(path, "module.encoder_k.")
    assert "no ResNet under the prefix 'module.encoder_k.'. Did you mean 'module.encoder_q'?" in message


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_are_said(tmp_path: Path, weights: Weights, kind: torch.dtype) -> None:
    cast = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    backbone = read_backbone(save(tmp_path, cast))
    assert f"converted from {str(kind)[6:]} to float32" in backbone.provenance.notes
    assert torch.equal(backbone.state_dict["conv1.weight"], cast["conv1.weight"].float())


def test_untrained_statistics_are_said(tmp_path: Path) -> None:
    path = save(tmp_path, build_resnet("resnet18").state_dict())
    assert "untrained network" in read_backbone(path).provenance.notes[0]


def test_the_backbone_outlives_its_file(tmp_path: Path, weights: Weights) -> None:
    path = save(tmp_path, weights)
    backbone = read_backbone(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert all(torch.equal(weights[name], tensor) for name, tensor in backbone.state_dict.items())


PART = st.sampled_from(["module", "_orig_mod", "net", "encoder", "a b", "trunk", "é", "0", "backbone", "fc"])


@FILES
@given(prefix=st.lists(PART, max_size=4), keys=st.lists(PART, max_size=3), junk=st.dictionaries(PART, st.integers()))
def test_any_nesting_is_found(
    tmp_path: Path, weights: Weights, prefix: list[str], keys: list[str], junk: dict[str, int]
) -> None:
    content: Any = {".".join([*prefix, name]): tensor for name, tensor in weights.items()}
    for key in keys:
        content = {**junk, key: content}
    backbone = read_backbone(save(tmp_path, content))
    assert backbone.state_dict.keys() == weights.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in backbone.state_dict.items())


@FILES
@given(data=st.data(), legacy=st.booleans())
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, weights: Weights, data: st.DataObject, legacy: bool) -> None:
    path = save(tmp_path, {"state_dict": weights}, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refusal(path)


@FILES
@given(data=st.data())
def test_a_changed_byte_is_refused_or_harmless(tmp_path: Path, weights: Weights, data: st.DataObject) -> None:
    path = save(tmp_path, {"state_dict": weights})
    changed = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        backbone = read_backbone(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert all(torch.equal(weights[name], tensor) for name, tensor in backbone.state_dict.items())


@FILES
@given(data=st.data())
def test_names_lost_or_changed_are_refused(tmp_path: Path, weights: Weights, data: st.DataObject) -> None:
    required = [name for name in weights if COUNTER not in name]
    name = data.draw(st.sampled_from(required))
    new = data.draw(st.sampled_from(["", f"{name}x", f"x.{name}", name.replace("1", "7"), name.upper()]))
    changed = {new if key == name else key: tensor for key, tensor in weights.items() if key != name or new}
    if changed.keys() != weights.keys():
        refusal(save(tmp_path, changed))
