"""Converted files: what is in them, who can read them, and that nothing unproven or half-written is left."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from mec_transfer.backbone import convert as convert_module
from mec_transfer.backbone.backbone import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    Preprocessing,
    Provenance,
    build_resnet,
)
from mec_transfer.backbone.convert import convert, manifest_path
from mec_transfer.backbone.layouts import LAYOUTS
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import sha256_file

RESNET18 = resolve_backbone("random:resnet18:5")
SUFFIXES = [(name, suffix) for name, layout in LAYOUTS.items() if layout.renames for suffix in layout.suffixes]


def read_tensors(layout: str, path: Path) -> dict[str, torch.Tensor]:
    """A reader of the test's own for each kind of file."""
    if path.suffix == ".pkl":
        arrays = pickle.loads(path.read_bytes())["model"]
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    content = torch.load(path, weights_only=True)
    return content["state_dict"] if layout == "openmmlab" else content


@pytest.mark.parametrize(("layout", "suffix"), SUFFIXES)
def test_written_files_hold_the_weights_and_the_manifest_says_so(layout: str, suffix: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / f"out{suffix}"
    manifest = convert(RESNET18, layout, out)
    tensors = read_tensors(layout, out)
    assert manifest.tensors == len(tensors) == len(RESNET18.state_dict)
    back = LAYOUTS[layout].from_engine(tensors, RESNET18.preprocessing)
    assert set(back) == set(RESNET18.state_dict)
    assert dataclasses.replace(RESNET18, state_dict=back).sha256 == RESNET18.sha256
    assert manifest.file_sha256 == sha256_file(out)
    assert manifest.backbone_sha256 == RESNET18.sha256
    assert manifest.proof.max_relative_difference == 0
    assert json.loads(manifest_path(out).read_text()) == json.loads(json.dumps(dataclasses.asdict(manifest)))
    assert {path.name for path in out.parent.iterdir()} == {out.name, f"{out.name}.manifest.json"}


def test_a_detectron2_file_is_what_the_published_converter_writes(tmp_path: Path) -> None:
    backbone = resolve_backbone("random:resnet50:1")
    manifest = convert(backbone, "detectron2", tmp_path / "out.pkl")
    content = pickle.loads((tmp_path / "out.pkl").read_bytes())
    assert set(content) == {"model", "__author__", "matching_heuristics"}
    assert content["matching_heuristics"] is True
    assert len(content["model"]) == 318
    pairs = {
        "stem.conv1.weight": "conv1.weight",
        "stem.conv1.norm.running_mean": "bn1.running_mean",
        "res2.0.conv1.weight": "layer1.0.conv1.weight",
        "res2.0.conv2.norm.weight": "layer1.0.bn2.weight",
        "res2.0.shortcut.weight": "layer1.0.downsample.0.weight",
        "res2.0.shortcut.norm.bias": "layer1.0.downsample.1.bias",
        "res3.0.shortcut.weight": "layer2.0.downsample.0.weight",
        "res3.3.conv3.weight": "layer2.3.conv3.weight",
        "res4.5.conv2.norm.running_var": "layer3.5.bn2.running_var",
        "res5.0.shortcut.norm.running_var": "layer4.0.downsample.1.running_var",
        "res5.2.conv3.weight": "layer4.2.conv3.weight",
        "res5.2.conv3.norm.num_batches_tracked": "layer4.2.bn3.num_batches_tracked",
    }
    for engine_name, name in pairs.items():
        array = content["model"][engine_name]
        assert type(array) is np.ndarray
        assert array.dtype == ("int64" if name.endswith("tracked") else "float32")
        np.testing.assert_array_equal(array, backbone.state_dict[name].numpy(), strict=True)
    assert manifest.settings == {
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
        "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
        "INPUT.FORMAT": "RGB",
    }


def test_a_detectron2_file_is_read_by_numpy_1_and_2_and_runs_no_code(tmp_path: Path) -> None:
    convert(RESNET18, "detectron2", tmp_path / "out.pkl")
    data = (tmp_path / "out.pkl").read_bytes()
    named = {argument for opcode, argument, _ in pickletools.genops(data) if "GLOBAL" in opcode.name}
    assert named == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


def test_timm_computes_the_same_from_the_written_file(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    convert(RESNET18, "timm", tmp_path / "out.safetensors")
    network = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    network.load_state_dict(safetensors.torch.load_file(tmp_path / "out.safetensors"), strict=True)
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network(images), RESNET18.module().eval()(images))


def test_an_openmmlab_file_loads_strictly_under_bare_names(tmp_path: Path) -> None:
    convert(RESNET18, "openmmlab", tmp_path / "out.pth")
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    assert set(content) == {"state_dict", "meta"}
    build_resnet("resnet18").load_state_dict(content["state_dict"], strict=True)


def test_a_sot_file_is_written_with_its_tolerance(tmp_path: Path) -> None:
    preprocessing = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), channel_order="BGR")
    backbone = dataclasses.replace(resolve_backbone("random:resnet50:2"), preprocessing=preprocessing)
    proof = convert(backbone, "openmmlab-sot", tmp_path / "out.pth").proof
    assert 0 < proof.max_relative_difference <= proof.tolerance == 1e-4
    assert torch.load(tmp_path / "out.pth")["state_dict"]["layer2.0.downsample.0.weight"].shape == (512, 256, 3, 3)


def test_the_manifest_names_the_source(tmp_path: Path) -> None:
    provenance = Provenance(
        source="mec.pth",
        file_sha256="ab",
        format="mec",
        prefix="module.encoder.",
        encoder="online",
        epoch=99,
        left_out={"module.teacher.": 334},
        notes=("took the online network",),
    )
    manifest = convert(dataclasses.replace(RESNET18, provenance=provenance), "timm", tmp_path / "out.pth")
    assert manifest.source == {
        "source": "mec.pth",
        "file_sha256": "ab",
        "format": "mec",
        "prefix": "module.encoder.",
        "encoder": "online",
        "epoch": 99,
        "left_out": {"module.teacher.": 334},
        "notes": ["took the online network"],
    }
    assert manifest.settings == {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "channel_order": "RGB"}


def test_old_checkpoints_without_counters_and_half_precision_ones_convert(tmp_path: Path) -> None:
    halves = {name: t.half() for name, t in RESNET18.state_dict.items() if not name.endswith("num_batches_tracked")}
    manifest = convert(dataclasses.replace(RESNET18, state_dict=halves), "detectron2", tmp_path / "out.pkl")
    arrays = pickle.loads((tmp_path / "out.pkl").read_bytes())["model"]
    assert manifest.tensors == len(arrays) == 100
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}


def folder_content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_proof_leaves_what_was_there(existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.pkl"
    if existing:
        convert(resolve_backbone("random:resnet18:6"), "detectron2", out)
    before = folder_content(tmp_path)

    def faulty(layout: str, suffix: str, tensors: dict[str, torch.Tensor]) -> bytes:
        return encode(layout, suffix, tensors | {"stem.conv1.weight": tensors["stem.conv1.weight"].flip(1)})

    encode = convert_module.encode
    monkeypatch.setattr(convert_module, "encode", faulty)
    with pytest.raises(
        RunError, match=r"out.pkl: not written, since it failed its proof: stem differs from the source"
    ):
        convert(RESNET18, "detectron2", out, overwrite=True)
    assert folder_content(tmp_path) == before


@pytest.mark.parametrize("full_at", [1, 2, 3])
def test_a_full_disk_leaves_nothing(full_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when the file is flushed, when its manifest is, and when the manifest gets its name."""
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\)"):
        convert(RESNET18, "detectron2", tmp_path / "out.pkl")
    assert folder_content(tmp_path) == {}


def test_a_file_that_cannot_be_read_back_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = convert_module.encode
    monkeypatch.setattr(convert_module, "encode", lambda *arguments: encode(*arguments)[:-1000])
    for layout, suffix in SUFFIXES:
        with pytest.raises(RunError, match="cannot be read back"):
            convert(RESNET18, layout, tmp_path / f"out{suffix}")
    assert folder_content(tmp_path) == {}


def test_the_same_conversion_again_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.pkl"
    first = convert(RESNET18, "detectron2", out)
    before = folder_content(tmp_path)
    monkeypatch.setattr(convert_module, "prove", None)  # it is not even asked
    assert dataclasses.asdict(convert(RESNET18, "detectron2", out)) == dataclasses.asdict(first)
    assert folder_content(tmp_path) == before


@pytest.mark.parametrize("damage", ["file", "manifest", "no manifest", "other weights"])
def test_an_existing_file_is_replaced_only_when_told(damage: str, tmp_path: Path) -> None:
    out, backbone = tmp_path / "out.pkl", RESNET18
    convert(backbone, "detectron2", out)
    if damage == "file":
        out.write_bytes(out.read_bytes()[:-1])
    elif damage == "manifest":
        manifest_path(out).write_text("{}")
    elif damage == "no manifest":
        manifest_path(out).unlink()
    else:
        backbone = resolve_backbone("random:resnet18:6")
    before = folder_content(tmp_path)
    with pytest.raises(UserError, match="out.pkl: exists and is not this conversion; .* --overwrite"):
        convert(backbone, "detectron2", out)
    assert folder_content(tmp_path) == before
    manifest = convert(backbone, "detectron2", out, overwrite=True)
    assert manifest.file_sha256 == sha256_file(out)
    assert json.loads(manifest_path(out).read_text())["backbone_sha256"] == backbone.sha256


def test_the_checkpoint_itself_is_never_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "source.pth"
    torch.save({"state_dict": dict(RESNET18.state_dict)}, source)
    backbone = dataclasses.replace(RESNET18, provenance=Provenance(source=str(source)))
    before = folder_content(tmp_path)
    with pytest.raises(UserError, match="is the checkpoint itself"):
        convert(backbone, "openmmlab", source, overwrite=True)
    assert folder_content(tmp_path) == before


@pytest.mark.parametrize(
    ("layout", "name", "message"),
    [
        ("detectron2", "out.pth", "layout detectron2 goes into a file ending in .pkl"),
        ("timm", "out", "goes into a file ending in .safetensors or .pth or .pt"),
        ("openmmlab", "folder.pth", "is a folder"),
        ("mmdet", "out.pth", "'mmdet' is not a layout"),
    ],
)
def test_wrong_outputs_are_refused_first(layout: str, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UserError, match=message):
        convert(RESNET18, layout, tmp_path / name)


def test_an_unwritable_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"out.pkl: cannot be written \("):
        convert(RESNET18, "detectron2", tmp_path / "file" / "out.pkl")


def test_reading_back_admits_nothing_but_arrays(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.getenv, ("HOME",)

    path = tmp_path / "out.pkl"
    path.write_bytes(pickle.dumps({"model": {"stem.conv1.weight": Evil()}}, protocol=3))
    with pytest.raises(RunError, match="os.getenv is not part of an array"):
        convert_module.decode("detectron2", path, ".pkl")


def test_any_backbone_of_the_contract_will_do(tmp_path: Path) -> None:
    bare = Backbone(arch="resnet18", state_dict=dict(RESNET18.state_dict))
    assert convert(bare, "torchvision", tmp_path / "out.pt").source["source"] == "memory"
