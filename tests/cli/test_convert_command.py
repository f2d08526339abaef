"""`mec-transfer convert` and tools/convert_to_d2.py as a user calls them."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from mec_transfer.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file like MoCo's: the encoder under a prefix, with a projector, beside a momentum encoder."""
    state_dict = {}
    for prefix in ("module.encoder_q.", "module.encoder_k."):
        weights = torchvision.models.resnet18(weights=None).state_dict()
        state_dict |= {f"{prefix}{name}": tensor for name, tensor in weights.items()}
    torch.save({"epoch": 200, "arch": "resnet18", "state_dict": state_dict}, tmp_path / "moco.pth.tar")
    return tmp_path / "moco.pth.tar"


def test_it_prints_what_was_taken_the_proof_and_the_settings(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.pkl"
    assert main(["convert", str(checkpoint), "--to", "detectron2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    manifest = json.loads((tmp_path / "out.pkl.manifest.json").read_text())
    assert "prefix 'module.encoder_q.'" in printed
    assert "bit for bit" in printed
    assert "MODEL.RESNETS.STRIDE_IN_1X1 = False" in printed
    assert manifest["file_sha256"][:12] in printed
    assert manifest["source"]["prefix"] == "module.encoder_q."
    assert "module.encoder_k." in "".join(manifest["source"]["left_out"])
    assert len(pickle.loads(out.read_bytes())["model"]) == 120


def test_the_other_encoder_can_be_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    for encoder in ("online", "teacher"):
        out = tmp_path / f"{encoder}.pth"
        arguments = ["convert", str(checkpoint), "--encoder", encoder, "--to", "torchvision", "--out", str(out)]
        assert main(arguments) == 0
    state_dict = torch.load(checkpoint)["state_dict"]
    for encoder, prefix in (("online", "module.encoder_q."), ("teacher", "module.encoder_k.")):
        written = torch.load(tmp_path / f"{encoder}.pth")
        assert torch.equal(written["conv1.weight"], state_dict[f"{prefix}conv1.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["random:resnet18", "--to", "detectron", "--out", "x.pkl"], "'detectron' is not a layout. Did you mean"),
        (
            ["missing.pth", "--to", "detectron2", "--out", "x.pth"],
            "x.pth: layout detectron2 goes into a file ending in",
        ),
        (["missing.pth", "--to", "detectron2", "--out", "x.pkl"], "missing.pth"),
        (["random:resnet18", "--to", "openmmlab-sot", "--out", "x.pth"], "it takes resnet50"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert list(tmp_path.iterdir()) == []


def test_the_drop_in_for_mocos_script_overwrites_and_runs_from_anywhere(checkpoint: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out.pkl", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.write_bytes(b"what was there")
    command = [sys.executable, str(ROOT / "tools" / "convert_to_d2.py"), "../moco.pth.tar", "../out.pkl"]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "bit for bit" in done.stdout
    content = pickle.loads(out.read_bytes())
    expected = torch.load(checkpoint)["state_dict"]["module.encoder_q.layer1.0.bn2.weight"]
    assert torch.equal(torch.from_numpy(content["model"]["res2.0.conv2.norm.weight"]), expected)
