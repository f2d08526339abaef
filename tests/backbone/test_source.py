"""Every way of naming a network, with and without a network connection."""

from __future__ import annotations

import http.client
import re
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision

from mec_transfer.backbone import source as source_module
from mec_transfer.backbone.backbone import IMAGENET_MEAN, IMAGENET_STD
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import CheckpointError, UserError


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test here may reach out, and none sees the caches of whoever runs it."""

    def unreachable(request: Any, timeout: float) -> None:
        assert timeout <= 5
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(source_module, "urlopen", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    yield


def test_random_is_torchvisions_initialisation_under_its_seed() -> None:
    torch.manual_seed(7)
    expected = torchvision.models.resnet18(weights=None).state_dict()
    found = resolve_backbone("random:resnet18:7")
    assert set(found.state_dict) == {name for name in expected if not name.startswith("fc.")}
    # torchvision draws conv1 first and its classifier last, so that dropping fc moves nothing before it
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict.items())
    assert (found.arch, found.stem, found.provenance.source) == ("resnet18", "imagenet", "random:resnet18:7")


def test_random_is_the_same_each_time_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = resolve_backbone("random:resnet18")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert first.sha256 == resolve_backbone("random:resnet18:0").sha256
    assert first.sha256 != resolve_backbone("random:resnet18:1").sha256


def test_random_with_the_stem_of_small_images() -> None:
    small = resolve_backbone("random:resnet18:2:cifar")
    assert small.stem == "cifar"
    assert small.state_dict["conv1.weight"].shape == (64, 3, 3, 3)
    assert small.sha256 == resolve_backbone("random:resnet18:2:cifar").sha256
    assert resolve_backbone("random:resnet18:cifar").provenance.source == "random:resnet18:0:cifar"


@pytest.mark.parametrize(
    ("ckpt", "message"),
    [
        ("rand:resnet18", "no such file, and 'rand:' is not a source. Did you mean 'random'?"),
        ("http://x/y.pth", "'http:' is not a source"),
        ("random:resnet19", "no ResNet 'resnet19'. Did you mean 'resnet18'?"),
        ("random:", "no ResNet ''"),
        ("random:resnet18:x", "must be random:ARCH[:SEED][:cifar]"),
        ("random:resnet18:-1", "must be random:ARCH[:SEED][:cifar]"),
        ("random:resnet18:1:2", "must be random:ARCH[:SEED][:cifar]"),
        ("torchvision:vit_b_16", "no ResNet 'vit_b_16'"),
        ("torchvision:resnet50:IMAGENET1K_V3", "no weights 'IMAGENET1K_V3'. Did you mean 'IMAGENET1K_V2'?"),
        ("timm:resnet50d", "not a plain ResNet"),
        ("timm:resnetzz", "timm has no model 'resnetzz'"),
        ("timm:resnet50.a1_in", "timm has no such weights. Did you mean 'resnet50.a1_in1k'?"),
        ("hf:owner/repo", "must be hf:OWNER/REPO/FILE"),
    ],
)
def test_wrong_names_are_one_clear_line(ckpt: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        resolve_backbone(ckpt)
    assert str(caught.value).startswith(f"{ckpt}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ckpt", ["torchvision:resnet50", "timm:resnet50.a1_in1k", "timm:resnet18", "hf:a/b/c/d.pth"])
def test_offline_is_said_at_once(ckpt: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be reached \(Name or service not known\); go online, or ") as caught:
        resolve_backbone(ckpt)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 10  # the hub's own client tries for 45 s


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="needs the package timm, which is not installed; pip install timm"):
        resolve_backbone("timm:resnet50")


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: Any, timeout: float) -> None:
        raise urllib.error.HTTPError("url", 405, "Method Not Allowed", None, None)  # type: ignore[arg-type]

    def fail(*_: Any) -> None:
        raise ValueError("404 Client Error.\nmore lines")

    monkeypatch.setattr(source_module, "urlopen", refuse)  # any answer means that the server is there
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(UserError, match=r"^hf:a/b/c: cannot be fetched \(404 Client Error\.\)$"):
        resolve_backbone("hf:a/b/c")


def test_a_proxy_that_talks_nonsense_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def garble(request: Any, timeout: float) -> None:
        raise http.client.BadStatusLine("hello")

    monkeypatch.setattr(source_module, "urlopen", garble)
    with pytest.raises(UserError, match=r"cannot be reached \(hello\); go online, or put the file at"):
        resolve_backbone("torchvision:resnet18")


def write_torchvision_cache(tmp_path: Path, arch: str) -> dict[str, torch.Tensor]:
    network = torchvision.models.resnet18(weights=None)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = torchvision.models.get_model_weights(arch).DEFAULT.url.rpartition("/")[2]
    torch.save(network.state_dict(), folder / name)
    return network.state_dict()


def test_cached_torchvision_weights_need_no_network(tmp_path: Path) -> None:
    weights = write_torchvision_cache(tmp_path, "resnet18")
    backbone = resolve_backbone("torchvision:resnet18")
    assert backbone.provenance.source == "torchvision:resnet18"
    assert backbone.provenance.file_sha256
    assert backbone.preprocessing.mean == IMAGENET_MEAN
    assert torch.equal(backbone.state_dict["layer4.1.conv2.weight"], weights["layer4.1.conv2.weight"])
    assert resolve_backbone("torchvision:resnet18:IMAGENET1K_V1").sha256 == backbone.sha256


def test_a_cached_file_of_another_network_is_refused(tmp_path: Path) -> None:
    write_torchvision_cache(tmp_path, "resnet34")
    with pytest.raises(CheckpointError, match="holds a resnet18, not a resnet34; delete it"):
        resolve_backbone("torchvision:resnet34")


def test_cached_timm_and_hub_weights_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torchvision.models.resnet18(weights=None).state_dict()
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors")
    asked = []

    def cached(repo: str, file: str) -> str:
        asked.append((repo, file))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    timm, hub = resolve_backbone("timm:resnet18.tv_in1k"), resolve_backbone("hf:owner/repo/folder/model.safetensors")
    assert asked == [("timm/resnet18.tv_in1k", "model.safetensors"), ("owner/repo", "folder/model.safetensors")]
    assert timm.preprocessing.std == IMAGENET_STD
    assert torch.equal(timm.state_dict["conv1.weight"], weights["conv1.weight"])
    assert timm.sha256 == hub.sha256
    assert hub.provenance.source == "hf:owner/repo/folder/model.safetensors"


def test_a_file_may_have_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "random:resnet50")
    monkeypatch.chdir(tmp_path)
    assert resolve_backbone("random:resnet50").arch == "resnet18"
    with pytest.raises(CheckpointError, match=re.escape("none/random:x.pth")):
        resolve_backbone("none/random:x.pth")


@pytest.mark.parametrize("ckpt", ["random:resnet18"])
def test_a_random_network_has_no_teacher(ckpt: str) -> None:
    with pytest.raises(UserError, match="has one encoder; leave --encoder teacher out"):
        resolve_backbone(ckpt, "teacher")
