"""`mec-transfer inspect`: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mec_transfer.backbone.backbone import build_resnet
from mec_transfer.cli.main import main


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    online, teacher = (build_resnet("resnet18").state_dict() for _ in range(2))
    content = {f"module.encoder.{name}": tensor for name, tensor in online.items()}
    content |= {f"module.teacher.{name}": tensor for name, tensor in teacher.items()}
    content |= {"module.predictor.0.weight": torch.ones(2, 2), "module.encoder.fc.weight": torch.ones(2, 2)}
    torch.save({"epoch": 100, "state_dict": content}, tmp_path / "mec.pth.tar")
    return tmp_path / "mec.pth.tar"


def test_table(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(checkpoint)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["->", "module.encoder.", "120", "online", "resnet18,", "imagenet", "stem"] in lines
    assert ["module.teacher.", "120", "teacher", "resnet18,", "imagenet", "stem"] in lines
    assert ["epoch", "100"] in lines
    assert ["taken", "resnet18,", "120", "tensors", "under", "module.encoder."] in lines
    assert ["left", "out", "module.teacher.", "120,", "module.predictor.", "1,", "module.encoder.fc.", "1"] in lines


def test_json(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(checkpoint), "--encoder", "teacher", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [network["prefix"] for network in found["networks"] if network["taken"]] == ["module.teacher."]
    assert found["preprocessing"]["channel_order"] == "RGB"
    assert found["problem"] is None


def test_refusal_comes_after_what_was_found(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(checkpoint), "--encoder", "nothing"]) == 2
    out, error = capsys.readouterr()
    assert "in the file    module.encoder. 120" in out
    assert "taken" not in out
    assert error.startswith(f"mec-transfer: error: {checkpoint}: no ResNet under the prefix 'nothing'.")
    assert len(error.splitlines()) == 1


def test_unreadable_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pth").write_bytes(b"")
    assert main(["inspect", str(tmp_path / "x.pth")]) == 2
    assert capsys.readouterr() == (
        "",
        f"mec-transfer: error: {tmp_path}/x.pth: empty (0 bytes); copy or download it again\n",
    )


def test_sources_are_shown_like_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "random:resnet18:3"]) == 0
    out = capsys.readouterr().out
    assert "source         random:resnet18:3" in out and "size" not in out
    assert "taken          resnet18, 120 tensors under ." in out
    assert main(["inspect", "random:resnet18:3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["arch"], found["size"], found["problem"]) == ("resnet18", None, None)


def test_a_source_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "randm:resnet18"]) == 2
    assert "Did you mean 'random'?" in capsys.readouterr().err
    assert main(["inspect", "random:resnet18", "--encoder", "teacher"]) == 2
