"""The commands on the pages, run: what they print is what the pages say."""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mec_transfer.backbone.backbone import build_resnet
from mec_transfer.cli.main import main

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: str) -> Iterator[tuple[str, str]]:
    """Yield each command of the page's console blocks, and what it is to print."""
    for block in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages' commands are given, in the working folder."""
    monkeypatch.chdir(tmp_path)
    online, other = (build_resnet("resnet18").state_dict() for _ in range(2))
    named = {f"module.encoder.{name}": tensor for name, tensor in online.items()}
    named |= {f"module.teacher.{name}": tensor for name, tensor in other.items()}
    torch.save(
        {"epoch": 100, "state_dict": named | {"module.predictor.0.weight": torch.ones(2, 2)}}, "checkpoint_0099.pth.tar"
    )
    torch.save({"model": online, "ema": other}, "ema.pth")
    return tmp_path


def test_checkpoints(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checker, ran = doctest.OutputChecker(), 0
    for command, wanted in commands("checkpoints.md"):
        program, *words = shlex.split(command)
        assert program == "mec-transfer"
        main(words)
        printed = "".join(capsys.readouterr())
        assert checker.check_output(wanted, printed, doctest.ELLIPSIS), f"{command}\n{printed}"
        ran += 1
    assert ran == 4
