"""The engine's proofs, and the command."""

from __future__ import annotations

import importlib.util

import pytest

from mec_transfer.cli.main import main
from mec_transfer.common.errors import UserError
from mec_transfer.detection import engine


def test_every_proof_passes(capsys):
    assert main(["engines", "check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok    ") for line in lines)
    assert "ok    backbone: res2 to res5 of a converted random ResNet-50 equal torchvision's bitwise" in lines
    assert any(line.startswith("ok    Mask R-CNN C4") for line in lines)


def test_what_is_installed_is_kept(capsys):
    assert main(["engines", "install", "detectron2"]) == 0
    assert "kept" in capsys.readouterr().out


def test_a_missing_engine_is_one_line(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "detectron2" else find_spec(name))
    engine.load.cache_clear()
    with pytest.raises(UserError, match="detection needs Detectron2: mec-transfer engines install detectron2"):
        engine.load()
    monkeypatch.undo()
    engine.load.cache_clear()
    engine.load()


def test_a_source_that_is_not_there_is_one_line(capsys):
    assert main(["engines", "install", "--from", "no-such.whl"]) == 2
    assert "no-such.whl: no such file or folder" in capsys.readouterr().err
