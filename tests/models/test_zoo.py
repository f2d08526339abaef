"""The list of public checkpoints: whole, unambiguous, of formats that are read; and its names as CKPT."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest
import torch

from mec_transfer.backbone.backbone import ARCHS, build_resnet
from mec_transfer.backbone.formats import FORMATS
from mec_transfer.backbone.source import _SCHEMES, resolve_backbone, weights_file
from mec_transfer.cli.main import main
from mec_transfer.common.errors import CheckpointError, ConfigError, UserError
from mec_transfer.models import zoo
from mec_transfer.models.fetch import fetch_model
from mec_transfer.models.zoo import Entry, Expect, families, find_entry, load_tolerances, load_zoo, models_dir
from mec_transfer.results.references import load_references
from tests.models.conftest import Shop

ZOO = load_zoo()


def test_the_fields_checkpoints_are_there() -> None:
    wanted = "mec:100ep moco:v1-200ep moco:v2-200ep moco:v2-800ep moco:v3-1000ep simsiam:100ep swav:800ep"
    wanted += " barlowtwins:1000ep vicreg:1000ep dino:800ep lightly:byol-100ep byol:mmselfsup-200ep vissl:simclr-1000ep"
    assert set(wanted.split()) | {"supervised:resnet50-v1", "supervised:resnet50-v2"} <= set(ZOO)
    assert not set(families()) & set(_SCHEMES)  # a scheme has one meaning


@pytest.mark.parametrize("name", ZOO)
def test_an_entry_is_whole(name: str) -> None:
    entry = ZOO[name]
    assert entry.url.startswith("https://") and re.fullmatch(
        r"[\w.-]+/[\w.-]+:[\w./-]+( at [0-9a-f]{7})?", entry.source
    )
    assert entry.format in {one.name for one in FORMATS} and entry.arch in ARCHS
    assert entry.path(Path("models")).parent == Path("models", *name.split(":"))
    assert entry.by_hand == ("drive.google.com" in entry.url)
    # The digits after the last dash are those of torchvision's and OpenMMLab's own rule.
    if digits := re.search(r"-([0-9a-f]{8})\.pth$", entry.url):
        assert entry.sha256 == digits[1]
    assert entry.sha256 is None or digits


def test_addresses_and_places_are_each_ones_own() -> None:
    assert len({entry.url for entry in ZOO.values()}) == len(ZOO)
    assert len({entry.path(Path()) for entry in ZOO.values()}) == len(ZOO)


def test_torchvisions_addresses_are_those_of_the_installed_torchvision() -> None:
    from torchvision.models import get_model_weights

    ours = [entry for entry in ZOO.values() if entry.source.startswith("pytorch/vision:")]
    assert len(ours) == 8
    for entry in ours:
        arch, _, version = entry.name.partition(":")[2].partition("-")
        weights = get_model_weights(arch)[f"IMAGENET1K_{version.upper()}"]
        assert (entry.url, entry.size_mib, entry.arch) == (weights.url, weights.meta["_file_size"], arch)


def test_every_method_of_the_zoo_has_a_published_number_but_one() -> None:
    told = {(one.method, one.pretraining, one.arch) for one in load_references()}
    silent = [entry.name for entry in ZOO.values() if (entry.method, entry.pretraining, entry.arch) not in told]
    assert silent == ["dino:100ep"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: ../x, url: 'https://e.org/x.pth'", "name"),
        ("name: a, url: 'https://e.org/%2e%2e%2fx'", "no plain file name"),
        ("name: a, url: 'https://e.org/x.pth', sha256: 12", "sha256"),
        ("name: a, url: 'https://e.org/x.pth', md5: XYZ45678", "md5"),
        ("name: a, url: 'https://e.org/x.pth', expect: [{protocol: p, tolerance: lose}]", "Did you mean 'loose'"),
    ],
)
def test_a_malformed_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "zoo.yaml"
    path.write_text(
        "tolerances: {loose: {within: {top1: 1.0}, reason: r}}\n"
        f"groups: [{{family: f, source: s, format: MEC, files: [{{method: m, pretraining: '', {text}}}]}}]\n"
    )
    with pytest.raises((ConfigError, ValueError), match=message):
        load_zoo(path)


def test_one_expectation_may_be_of_several_protocols(tmp_path: Path) -> None:
    path = tmp_path / "zoo.yaml"
    file = (
        "{name: a, method: m, pretraining: '', url: 'https://e.org/x.pth', expect: [{protocol: [p, q], tolerance: t}]}"
    )
    path.write_text(
        "tolerances: {t: {within: {top1: 1.0}, reason: r}}\n"
        f"groups: [{{family: f, source: s, format: MEC, files: [{file}]}}]\n"
    )
    assert load_zoo(path)["f:a"].expect == [Expect(protocol=one, tolerance="t") for one in ("p", "q")]


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    one = "{name: a, method: m, pretraining: '', url: 'https://e.org/x.pth'}"
    group = f"{{family: f, source: s, format: MEC, files: [{one}]}}"
    (tmp_path / "zoo.yaml").write_text(f"tolerances: {{}}\ngroups: [{group}, {group}]\n")
    with pytest.raises(ConfigError, match="f:a stands twice"):
        load_zoo(tmp_path / "zoo.yaml")


def test_every_tolerance_is_used() -> None:
    used = {expect.tolerance for entry in ZOO.values() for expect in entry.expect}
    assert used == set(load_tolerances())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("moco:v2-800", "Did you mean 'moco:v2-800ep'.*Of moco there are moco:v1-200ep"),
        ("moco:../../etc/passwd", "no public checkpoint has this name.*Of moco there are"),
        ("nothing:at-all", "no public checkpoint has this name. mec-transfer models lists them"),
    ],
)
def test_an_unknown_name_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_entry(name)


def test_the_folder_is_the_variables_else_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(zoo.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(zoo.sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert models_dir() == tmp_path / ".cache/mec-transfer/models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert models_dir() == tmp_path / "c/mec-transfer/models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(zoo.sys, "platform", "darwin")
    assert models_dir() == tmp_path / "Library/Caches/mec-transfer/models"
    monkeypatch.setenv(zoo.FOLDER_VARIABLE, "/models")
    assert models_dir() == Path("/models")


def test_a_user_without_a_home_is_told_to_name_the_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "MEC_TRANSFER_MODELS"):
        monkeypatch.delenv(name, raising=False)

    def no_entry(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    assert main(["models"]) == 2
    assert "no home folder; give --models-dir DIR, or set MEC_TRANSFER_MODELS" in capsys.readouterr().err
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert models_dir() == Path("/cache/mec-transfer/models")


@pytest.fixture
def moco(shop: Shop, entry: Entry, tmp_path: Path) -> dict[str, torch.Tensor]:
    """A MoCo checkpoint of a ResNet-18 in the shop; the online encoder's weights."""
    online, key = (build_resnet("resnet18").state_dict() for _ in range(2))
    names = {f"module.encoder_q.{name}": tensor for name, tensor in online.items()}
    names |= {f"module.encoder_k.{name}": tensor for name, tensor in key.items()}
    torch.save({"epoch": 800, "arch": "resnet18", "state_dict": names}, tmp_path / "weights.pth")
    shop.body = (tmp_path / "weights.pth").read_bytes()
    return online


def test_a_fetched_name_is_a_checkpoint(
    moco: dict[str, torch.Tensor], entry: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "fetch", entry.name]) == 0
    backbone = resolve_backbone(entry.name)
    assert torch.equal(backbone.state_dict["conv1.weight"], moco["conv1.weight"])
    assert backbone.provenance.source == entry.name and backbone.provenance.format == "MoCo v1/v2"
    capsys.readouterr()
    assert main(["inspect", entry.name]) == 0
    printed = capsys.readouterr().out
    assert "->  module.encoder_q." in printed and "    module.encoder_k." in printed  # as of the file itself
    assert printed.startswith(f"file           {entry.name} (")
    assert main(["inspect", entry.name, "--encoder", "teacher", "--json"]) == 0
    taken = [one for one in json.loads(capsys.readouterr().out)["networks"] if one["taken"]]
    assert [one["role"] for one in taken] == ["teacher"]


def test_the_encoder_with_the_published_numbers_is_taken(
    moco: dict[str, torch.Tensor], entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetch_model(entry, tmp_path / "models")
    online = resolve_backbone(entry.name)
    other = entry.model_copy(update={"encoder": "teacher"})
    monkeypatch.setattr(zoo, "load_zoo", lambda: {other.name: other})
    assert resolve_backbone(entry.name).sha256 == resolve_backbone(entry.name, "teacher").sha256 != online.sha256
    assert resolve_backbone(entry.name, "online").sha256 == online.sha256


def test_another_network_than_the_names_is_refused(
    moco: dict[str, torch.Tensor], entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetch_model(entry, tmp_path / "models")
    other = entry.model_copy(update={"arch": "resnet50"})
    monkeypatch.setattr(zoo, "load_zoo", lambda: {other.name: other})
    with pytest.raises(CheckpointError, match="holds a resnet18, not a resnet50"):
        resolve_backbone(entry.name)


@pytest.mark.parametrize(
    "words",
    [
        ["inspect"],
        ["convert", "--to", "timm", "--out", "x.pth"],
        ["knn", "--data", ".", "--out", "out"],
        ["track", "--data", ".", "--out", "out", "--config", "vos_dino"],
    ],
)
def test_what_was_not_fetched_is_one_line_and_nobody_is_asked(
    words: list[str], shop: Shop, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("it asks the network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    command, *rest = words
    assert main([command, entry.name, *rest]) == 2
    error = capsys.readouterr().err
    assert f"{entry.name}: not on this machine; `mec-transfer models fetch {entry.name}`" in error
    assert error.count("\n") == 1 and str(entry.path(tmp_path / "models")) in error and not shop.asked


def test_a_file_of_the_same_name_goes_first(entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(build_resnet("resnet18").state_dict(), entry.name)
    assert resolve_backbone(entry.name).provenance.format == "torchvision names"
    assert weights_file(entry.name) == Path(entry.name)


def test_a_command_finds_it_in_the_folder_it_is_told(
    moco: dict[str, torch.Tensor], entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_model(entry, tmp_path / "copied")
    assert main(["inspect", entry.name]) == 2
    assert main(["inspect", entry.name, "--models-dir", str(tmp_path / "copied")]) == 0


def test_the_list_and_what_is_known_of_one(
    shop: Shop, entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : len(ZOO) + 1]] == list(ZOO)
    assert not any(line.endswith("yes") for line in lines)
    fetch_model(entry, tmp_path / "models")
    assert main(["models", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("yes")] == [entry.name]
    assert main(["models", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out) if one["here"]] == [entry.name]
    assert main(["models", "show", "vicreg:1000ep", "moco:v1-200ep"]) == 0
    printed = capsys.readouterr().out
    assert "address      https://dl.fbaipublicfiles.com/vicreg/resnet50.pth" in printed
    assert "imagenet-semisup-10pct-vicreg: top1 69.5 within 0.5 (no spread is published;" in printed
    assert "voc0712-c4-moco: AP50 81.5, AP 55.9, AP75 62.6 (facebookresearch/moco detection README)" in printed
    assert main(["models", "show"]) == 2 and main(["models", "list", "moco:v1-200ep"]) == 2
