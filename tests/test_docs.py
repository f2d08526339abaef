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
from mec_transfer.suite.config import BenchmarkEntry, ModelConfig, SuiteConfig, load_suite
from mec_transfer.suite.registry import benchmark_config, find_benchmark

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


@pytest.mark.parametrize(("page", "count"), [("checkpoints.md", 4), ("suites.md", 1)])
def test_commands_print_what_the_page_says(
    page: str, count: int, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checker, ran = doctest.OutputChecker(), 0
    for command, wanted in commands(page):
        program, *words = shlex.split(command)
        assert program == "mec-transfer"
        main(words)
        printed = "".join(capsys.readouterr())
        assert checker.check_output(wanted, printed, doctest.ELLIPSIS), f"{command}\n{printed}"
        ran += 1
    assert ran == count


def test_the_page_on_suites_names_every_key_and_its_example_is_one(tmp_path: Path) -> None:
    page = (DOCS / "suites.md").read_text(encoding="utf-8")
    for model, prefix in ((SuiteConfig, ""), (ModelConfig, "models.NAME."), (BenchmarkEntry, "benchmarks[].")):
        for key in model.model_fields:
            assert f"| `{prefix}{key}` |" in page, key
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.yaml").write_text(example)
    suite = load_suite(tmp_path / "mine.yaml", [])
    assert list(suite.models) == ["moco", "dino-student", "random", "mec"]
    for entry in suite.benchmarks:
        benchmark_config(find_benchmark(entry.config, tmp_path), entry.set)


def test_the_page_of_protocols_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--cards"]) == 0
    page = (DOCS / "protocols.md").read_text(encoding="utf-8")
    assert page == capsys.readouterr().out, "the page is old: mec-transfer show --cards > docs/protocols.md"
