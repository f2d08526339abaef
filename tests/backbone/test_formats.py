"""Every format: written as its own code writes it, read back bit by bit, and the right network taken."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mec_transfer.backbone.architectures import COUNTER
from mec_transfer.backbone.reader import inspect_checkpoint, read_backbone
from mec_transfer.common.errors import CheckpointError

Weights = dict[str, torch.Tensor]
LIGHTNING = {"pytorch-lightning_version": "1.9.5", "global_step": 125000, "loops": {}, "epoch": 99}
PICKLED = {"__author__": "MOCO", "matching_heuristics": True}


def under(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: tensor for name, tensor in weights.items()}


def head(prefix: str, size: int = 5) -> Weights:
    return {f"{prefix}.0.weight": torch.randn(size, size), f"{prefix}.1.running_mean": torch.zeros(size)}


def sequential(weights: Weights, maxpool: bool = True) -> Weights:
    """nn.Sequential(*resnet.children()), where the stages are children 4 to 7 (3 to 6 without max pooling)."""
    parts = {"conv1": "0", "bn1": "1", **{f"layer{i}": str(i + 2 + maxpool) for i in range(1, 5)}}
    return {".".join([parts[name.split(".")[0]], *name.split(".")[1:]]): tensor for name, tensor in weights.items()}


def detectron2(weights: Weights) -> dict[str, Any]:
    """As tools/convert-torchvision-to-d2.py names them, with NumPy arrays."""
    named = {}
    for name, tensor in weights.items():
        new = name if "layer" in name else f"stem.{name}"
        for i in (1, 2, 3, 4):
            new = new.replace(f"layer{i}", f"res{i + 1}").replace(f"bn{i}", f"conv{i}.norm")
        named[new.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = tensor.numpy()
    return named


def transformers(weights: Weights) -> Weights:
    """As transformers' ResNetForImageClassification names them."""
    named = {}
    for name, tensor in weights.items():
        *block, module, leaf = name.split(".")
        if module in ("0", "1"):  # downsample's
            block, module = block[:-1], ("shortcut.convolution", "shortcut.normalization")[int(module)]
        elif block:
            kind = {"conv": "convolution", "bn": "normalization"}[module[:-1]]
            module = f"layer.{int(module[-1]) - 1}.{kind}"
        else:
            module = {"conv1": "embedder.embedder.convolution", "bn1": "embedder.embedder.normalization"}[module]
        at = f"encoder.stages.{int(block[0][-1]) - 1}.layers.{block[1]}." if block else ""
        named[f"resnet.{at}{module}.{leaf}"] = tensor
    return named


@dataclasses.dataclass
class Case:
    """How a file is made from an online and a teacher network, and what is to be read from it."""

    make: Callable[[Weights, Weights], Any]
    format: str
    prefix: str
    encoder: str = "only"
    file: str = "checkpoint.pth"


CASES = {
    "mec": Case(
        lambda w, t: {
            "epoch": 100,
            "arch": "resnet50",
            "state_dict": under("module.encoder.", w)
            | head("module.encoder.fc")
            | under("module.teacher.", t)
            | head("module.teacher.fc")
            | head("module.predictor"),
            "optimizer": {"state": {0: {"momentum_buffer": w["conv1.weight"]}}, "param_groups": [{"lr": 0.5}]},
        },
        "MEC",
        "module.encoder.",
        "online",
        "checkpoint_0099.pth.tar",
    ),
    "own": Case(
        lambda w, t: {
            "format": "mec-transfer/1",
            "epoch": 3,
            "step": 12,
            "arch": "resnet18",
            "stem": "imagenet",
            "preprocessing": {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.2, 0.3), "channel_order": "RGB"},
            "config": {"lr": 1.0},
            "state_dict": under("encoder.", w) | head("encoder.fc") | under("teacher.", t) | head("predictor"),
            "rng": {"torch": torch.get_rng_state()},
        },
        "mec-transfer/1",
        "encoder.",
        "online",
        "checkpoint_last.pth",
    ),
    "moco": Case(
        lambda w, t: {
            "epoch": 200,
            "arch": "resnet50",
            "state_dict": under("module.encoder_q.", w)
            | head("module.encoder_q.fc")
            | under("module.encoder_k.", t)
            | {"module.queue": torch.randn(8, 16), "module.queue_ptr": torch.zeros(1, dtype=torch.long)},
        },
        "MoCo v1/v2",
        "module.encoder_q.",
        "online",
    ),
    "moco v3": Case(
        lambda w, t: {
            "state_dict": under("module.base_encoder.", w)
            | under("module.momentum_encoder.", t)
            | head("module.predictor")
        },
        "MoCo v3",
        "module.base_encoder.",
        "online",
    ),
    "simsiam": Case(
        lambda w, t: {"state_dict": under("module.encoder.", w) | head("module.encoder.fc") | head("module.predictor")},
        "SimSiam",
        "module.encoder.",
    ),
    "simclr sthalles": Case(
        lambda w, t: {"epoch": 100, "arch": "resnet18", "state_dict": under("backbone.", w) | head("backbone.fc")},
        "SimCLR",
        "backbone.",
    ),
    "simclr encoder": Case(lambda w, t: under("encoder.", w) | head("projector"), "SimCLR", "encoder."),
    "simclr encoder twice": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("encoder.", w) | under("model.encoder.", w) | head("model.projector"),
        },
        "SimCLR",
        "encoder.",
        "online",
    ),
    "supcontrast": Case(
        lambda w, t: {
            "opt": None,
            "epoch": 100,
            "model": under("encoder.module.", {k.replace("downsample", "shortcut"): v for k, v in w.items()})
            | head("head"),
        },
        "SimCLR",
        "encoder.module.",
    ),
    "simclr convnet": Case(
        lambda w, t: {"state_dict": under("convnet.", w) | head("projection")}, "SimCLR", "convnet."
    ),
    "byol sthalles": Case(
        lambda w, t: {
            "online_network_state_dict": under("encoder.", sequential(w)) | head("projetion.net"),
            "target_network_state_dict": under("encoder.", sequential(t)) | head("projetion.net"),
            "optimizer_state_dict": {"state": {}},
        },
        "BYOL (PyTorch-BYOL)",
        "online_network_state_dict.encoder.",
        "online",
    ),
    "byol lucidrains": Case(
        lambda w, t: (
            under("net.", w)
            | under("online_encoder.net.", w)
            | under("target_encoder.net.", t)
            | head("online_predictor")
        ),
        "BYOL (byol-pytorch)",
        "net.",
        "online",
    ),
    "byol lucidrains lightning": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("learner.net.", w)
            | under("learner.online_encoder.net.", w)
            | head("learner.online_encoder.projector")
            | under("learner.target_encoder.net.", t)
            | head("learner.online_predictor"),
        },
        "BYOL (byol-pytorch)",
        "learner.net.",
        "online",
    ),
    "byol": Case(
        lambda w, t: {"model": under("online_network.", w) | under("target_network.", t) | head("predictor")},
        "BYOL",
        "online_network.",
        "online",
    ),
    "byol yaox12": Case(
        lambda w, t: {
            "epoch": 300,
            "steps": 1,
            "model": under("module.online_network.encoder.", sequential(w))
            | head("module.online_network.projetion")
            | under("module.target_network.encoder.", sequential(t))
            | head("module.predictor.predictor"),
        },
        "BYOL",
        "module.online_network.encoder.",
        "online",
    ),
    "swav": Case(
        lambda w, t: (
            under("module.", w) | head("module.projection_head") | {"module.prototypes.weight": torch.ones(3, 4)}
        ),
        "SwAV",
        "module.",
        file="swav_800ep_pretrain.pth.tar",
    ),
    "barlow hub": Case(lambda w, t: w, "torchvision names", "", file="resnet50.pth"),
    "barlow": Case(
        lambda w, t: {
            "epoch": 300,
            "model": under("module.backbone.", w)
            | head("module.projector")
            | {"module.bn.running_mean": torch.zeros(4), "module.bn.running_var": torch.ones(4)},
            "optimizer": {"state": {i: {"mu": tensor} for i, tensor in enumerate(w.values())}},
        },
        "Barlow Twins",
        "module.backbone.",
    ),
    "vicreg": Case(
        lambda w, t: {"epoch": 300, "model": under("module.backbone.", w) | head("module.projector")},
        "VICReg",
        "module.backbone.",
        file="model.pth",
    ),
    "dino": Case(
        lambda w, t: {
            "student": under("module.backbone.", t) | head("module.head.mlp"),
            "teacher": under("module.backbone.", w) | head("module.head.mlp"),
            "epoch": 800,
            "dino_loss": {"center": torch.zeros(1, 9)},
        },
        "DINO",
        "teacher.module.backbone.",
        "teacher",
        "dino_resnet50_pretrain_full_checkpoint.pth",
    ),
    "vissl": Case(
        lambda w, t: {
            "phase_idx": 100,
            "iteration": 5,
            "classy_state_dict": {
                "train": {},
                "base_model": {
                    "model": {"trunk": under("_feature_blocks.", w), "heads": {"0.clf.0.weight": torch.ones(2, 2)}},
                    "meters": {},
                },
            },
        },
        "VISSL",
        "classy_state_dict.base_model.model.trunk._feature_blocks.",
        file="model_final_checkpoint_phase199.torch",
    ),
    "vissl moco": Case(
        lambda w, t: {
            "iteration": 5,
            "loss": under("moco_encoder.trunk._feature_blocks.", t) | {"queue": torch.ones(4, 4)},
            "classy_state_dict": {
                "train": True,
                "base_model": {"model": {"trunk": under("_feature_blocks.", w), "heads": {}}, "meta": {}},
            },
        },
        "VISSL",
        "classy_state_dict.base_model.model.trunk._feature_blocks.",
        "online",
        "model_phase100.torch",
    ),
    "vissl linear": Case(
        lambda w, t: {
            "classy_state_dict": {
                "base_model": {"model": {"trunk": under("base_model._feature_blocks.", w), "heads": {}}},
                "ema_model": {"model": {"trunk": under("base_model._feature_blocks.", t), "heads": {}}},
            },
        },
        "VISSL",
        "classy_state_dict.base_model.model.trunk.base_model._feature_blocks.",
        "online",
        "model_phase27.torch",
    ),
    "lightly sequential": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("backbone.", sequential(w))
            | under("backbone_momentum.", sequential(t))
            | head("projection_head.layers")
            | head("prediction_head.layers"),
        },
        "lightly",
        "backbone.",
        "online",
        "epoch=99-step=125000.ckpt",
    ),
    "lightly byol": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("backbone.", w) | under("teacher_backbone.", t) | head("projection_head.layers"),
        },
        "lightly",
        "backbone.",
        "online",
    ),
    "lightly dino": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("student_backbone.", t) | under("backbone.", w) | head("projection_head.layers"),
        },
        "lightly, DINO",
        "backbone.",
        "teacher",
    ),
    "lightly moco": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("backbone.", w) | under("key_backbone.", t) | head("projection_head.layers"),
        },
        "lightly",
        "backbone.",
        "online",
    ),
    "lightly moco before 1.5.1": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("backbone.", t) | under("query_backbone.", w) | head("projection_head.layers"),
        },
        "lightly before 1.5.1",
        "query_backbone.",
        "online",
    ),
    "lightly byol before 1.5.1": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("backbone.", t)
            | under("student_backbone.", w)
            | head("projection_head.layers")
            | head("student_projection_head.layers")
            | head("student_prediction_head.layers"),
        },
        "lightly before 1.5.1",
        "student_backbone.",
        "online",
    ),
    "solo-learn": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("backbone.", w)
            | under("momentum_backbone.", t)
            | {"classifier.weight": torch.ones(3, 4), "queue": torch.ones(2)},
        },
        "solo-learn",
        "backbone.",
        "online",
    ),
    "solo-learn old": Case(
        lambda w, t: {
            **LIGHTNING,
            "state_dict": under("encoder.", w) | under("momentum_encoder.", t) | {"classifier.bias": torch.ones(3)},
        },
        "solo-learn",
        "encoder.",
        "online",
    ),
    "lightning": Case(
        lambda w, t: {**LIGHTNING, "state_dict": under("net.", w) | head("criterion")}, "Lightning", "net."
    ),
    "mmselfsup": Case(
        lambda w, t: {
            "meta": {"epoch": 200, "mmselfsup_version": "1.0.0", "cfg": "model = dict(style='pytorch')"},
            "state_dict": under("encoder_q.0.", w)
            | head("encoder_q.1.fc")
            | under("encoder_k.0.", t)
            | under("backbone.", w)
            | head("neck"),
        },
        "OpenMMLab",
        "encoder_q.0.",
        "online",
    ),
    "mmpretrain": Case(
        lambda w, t: {
            "meta": {"epoch": 200},
            "message_hub": {},
            "state_dict": under("backbone.", w) | under("target_net.module.0.", t) | head("target_net.module.1"),
        },
        "OpenMMLab",
        "backbone.",
        "online",
    ),
    "mmselfsup moco v3": Case(
        lambda w, t: {
            "meta": {"epoch": 300},
            "state_dict": under("base_encoder.0.", w)
            | under("momentum_encoder.0.", t)
            | under("backbone.", w)
            | head("neck"),
        },
        "OpenMMLab",
        "base_encoder.0.",
        "online",
    ),
    "mmselfsup simsiam": Case(
        lambda w, t: {
            "meta": {"epoch": 200},
            "state_dict": under("encoder.0.", w) | under("backbone.", w) | head("neck") | head("head.predictor"),
        },
        "OpenMMLab",
        "encoder.0.",
        "online",
    ),
    "mm backbone": Case(lambda w, t: {"meta": {}, "state_dict": w}, "torchvision names", ""),
    "transformers": Case(
        lambda w, t: transformers(w) | {"classifier.1.weight": torch.ones(2, 2)}, "Hugging Face transformers", "resnet."
    ),
    "detectron2": Case(
        lambda w, t: {"model": detectron2(w) | {"stem.fc.0.weight": torch.ones(2, 2).numpy()}, **PICKLED},
        "Detectron2",
        "",
        file="moco.pkl",
    ),
    "torchvision": Case(
        lambda w, t: w | {"fc.weight": torch.ones(3, 512), "fc.bias": torch.zeros(3)},
        "torchvision names",
        "",
        file="resnet18-f37072fd.pth",
    ),
    "timm": Case(lambda w, t: w | {"fc.weight": torch.ones(3, 512)}, "torchvision names", "", file="m.safetensors"),
    "compiled": Case(
        lambda w, t: {"state_dict": under("_orig_mod.module.encoder_q.", w)},
        "MoCo v1/v2",
        "_orig_mod.module.encoder_q.",
    ),
    "any prefix": Case(lambda w, t: {"net": under("trunk.body.", w)}, "unknown", "net.trunk.body."),
    "no max pooling": Case(lambda w, t: under("f.", sequential(w, False)) | head("g"), "SimCLR", "f."),
}
CIFAR = {"no max pooling"}
TWICE = {"simclr encoder twice", "mmselfsup simsiam"}
"""Files that store their one network under two names."""


def write(case: Case, content: Any, folder: Path) -> Path:
    path = folder / case.file
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    elif path.suffix == ".safetensors":
        save_file(
            {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in content.items()},
            path,
            {"format": "pt"},
        )
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_format(
    name: str, weights: Weights, teacher: Weights, cifar: Weights, tmp_path: Path, vanished: Any, vanish: Any
) -> None:
    case = CASES[name]
    source = cifar if name in CIFAR else weights
    content = case.make(source, teacher)
    if "state_dict" in content or "model" in content:
        content = {**vanished(), **content}
    path = write(case, content, tmp_path)
    vanish()
    backbone = read_backbone(path)
    found = backbone.provenance
    assert (found.format, found.prefix, found.encoder) == (case.format, case.prefix, case.encoder)
    assert backbone.arch == "resnet18"
    assert backbone.stem == ("cifar" if name in CIFAR else "imagenet")
    assert backbone.state_dict.keys() == source.keys()
    assert all(torch.equal(source[key], tensor) for key, tensor in backbone.state_dict.items())
    backbone.module()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.encoder != "only" and name not in TWICE])
def test_the_other_network_is_there_for_the_asking(
    name: str, weights: Weights, teacher: Weights, tmp_path: Path
) -> None:
    case = CASES[name]
    path = write(case, case.make(weights, teacher), tmp_path)
    other = "teacher" if case.encoder == "online" else "online"
    backbone = read_backbone(path, other)
    assert backbone.provenance.encoder == other
    assert torch.equal(backbone.state_dict["layer4.1.conv2.weight"], teacher["layer4.1.conv2.weight"])
    again = read_backbone(path, backbone.provenance.prefix)
    assert torch.equal(again.state_dict["conv1.weight"], backbone.state_dict["conv1.weight"])


def test_own_preprocessing_is_read(weights: Weights, teacher: Weights, tmp_path: Path) -> None:
    case = CASES["own"]
    backbone = read_backbone(write(case, case.make(weights, teacher), tmp_path))
    assert backbone.preprocessing.mean == (0.4, 0.5, 0.6)
    assert backbone.provenance.epoch == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"preprocessing": {"mean": [0.5], "std": [1, 1, 1], "channel_order": "RGB"}}, "three means"),
        ({"preprocessing": None}, "'preprocessing' is None"),
        ({"arch": "resnet50"}, "says arch 'resnet50'"),
        ({"stem": "cifar"}, "says stem 'cifar'"),
    ],
)
def test_own_file_that_contradicts_itself(
    weights: Weights, teacher: Weights, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    case = CASES["own"]
    path = write(case, case.make(weights, teacher) | change, tmp_path)
    with pytest.raises(CheckpointError, match=says):
        read_backbone(path)


def test_what_is_left_out_is_counted(weights: Weights, teacher: Weights, tmp_path: Path) -> None:
    case = CASES["mec"]
    found = inspect_checkpoint(write(case, case.make(weights, teacher), tmp_path))
    assert found.left_out == {
        "module.encoder.fc.": 2,
        "module.teacher.": len(teacher),
        "module.teacher.fc.": 2,
        "module.predictor.": 2,
        "optimizer.": 1,
    }
    assert found.tensors == len(weights)
    assert found.epoch == 100
    assert [network.taken for network in found.networks] == [True, False]


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ({}, "does not say its channel order"),
        ({"__author__": "Caffe2"}, "BGR"),
        ({"__author__": "Detectron2 Model Zoo", "matching_heuristics": True}, "BGR"),
    ],
)
def test_detectron2_networks_of_unknown_convention(
    weights: Weights, tmp_path: Path, marks: dict[str, Any], says: str
) -> None:
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"model": detectron2(weights), **marks}))
    with pytest.raises(CheckpointError, match=says):
        read_backbone(path)
    if not marks:
        assert "assumed" in " ".join(read_backbone(path, ".").provenance.notes)


@pytest.mark.parametrize(
    ("config", "note"),
    [('{"downsample_in_bottleneck": false}', ""), (None, "no config.json beside it"), ("{", "no config")],
)
def test_transformers_say_in_their_config_where_they_stride(
    weights: Weights, tmp_path: Path, config: str | None, note: str
) -> None:
    save_file(
        {name: value.clone(memory_format=torch.contiguous_format) for name, value in transformers(weights).items()},
        tmp_path / "model.safetensors",
    )
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    notes = read_backbone(tmp_path / "model.safetensors").provenance.notes
    assert any(text.startswith(note) for text in notes) if note else not any("config.json" in text for text in notes)


def test_transformers_that_stride_in_the_1x1_are_refused(weights: Weights, tmp_path: Path) -> None:
    save_file(
        {name: value.clone(memory_format=torch.contiguous_format) for name, value in transformers(weights).items()},
        tmp_path / "model.safetensors",
    )
    (tmp_path / "config.json").write_text('{"downsample_in_bottleneck": true}')
    with pytest.raises(CheckpointError, match="stride in the 1x1"):
        read_backbone(tmp_path / "model.safetensors")


def test_what_else_lies_in_transformers_blocks_is_in_the_way(weights: Weights, tmp_path: Path) -> None:
    more = {"resnet.encoder.stages.0.layers.0.layer.2.attention.0.weight": torch.ones(2)}
    torch.save(transformers(weights) | more, tmp_path / "regnet.pth")
    with pytest.raises(CheckpointError, match="attention.0.weight besides"):
        read_backbone(tmp_path / "regnet.pth")


def test_files_of_old_torch_lack_counters(weights: Weights, tmp_path: Path) -> None:
    torch.save({name: tensor for name, tensor in weights.items() if COUNTER not in name}, tmp_path / "old.pth")
    assert len(read_backbone(tmp_path / "old.pth").state_dict) == 100


def test_lone_teacher_is_said_to_be_one(weights: Weights, tmp_path: Path) -> None:
    torch.save({"state_dict": under("module.encoder_k.", weights)}, tmp_path / "k.pth")
    found = read_backbone(tmp_path / "k.pth").provenance
    assert found.encoder == "teacher"
    assert "only the teacher" in found.notes[0]
    with pytest.raises(CheckpointError, match="no online network"):
        read_backbone(tmp_path / "k.pth", "online")


def test_solo_learn_small_stem_is_said_to_be_padded_otherwise(cifar: Weights, tmp_path: Path) -> None:
    content = under("backbone.", cifar) | {"classifier.bias": torch.ones(3)}
    torch.save({**LIGHTNING, "state_dict": content}, tmp_path / "s.ckpt")
    assert any("pads" in note for note in read_backbone(tmp_path / "s.ckpt").provenance.notes)
