"""The commands on the pages, run: what they print is what the pages say."""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from mec_transfer.backbone.backbone import build_resnet
from mec_transfer.cli.main import main
from mec_transfer.common.config import load_config
from mec_transfer.suite.config import BenchmarkEntry, ModelConfig, SuiteConfig, load_suite
from mec_transfer.suite.registry import benchmark_config, find_benchmark
from pretrain.__main__ import main as pretrain
from pretrain.config import OnlineKnnConfig, PretrainConfig, ViewsConfig
from tools.packages import GIGABYTES

DOCS = Path(__file__).parents[1] / "docs"
PROGRAMS = {"mec-transfer": main, "mec-pretrain": pretrain}
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
    Path("photos").mkdir()
    for number in range(16):
        Image.effect_noise((40, 36), 64).convert("RGB").save(f"photos/{number}.jpg")
    return tmp_path


@pytest.mark.parametrize(("page", "count"), [("checkpoints.md", 4), ("pretraining.md", 4), ("suites.md", 1)])
def test_commands_print_what_the_page_says(
    page: str, count: int, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checker, ran = doctest.OutputChecker(), 0
    for command, wanted in commands(page):
        program, *words = shlex.split(command)
        PROGRAMS[program](words)
        printed = "".join(capsys.readouterr())
        if wanted.startswith("...\n"):  # which may stand for no line at all
            printed = f"\n{printed}"
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


def test_the_page_on_pretraining_names_every_key_with_its_default_and_its_example_is_a_recipe(tmp_path: Path) -> None:
    page = (DOCS / "pretraining.md").read_text(encoding="utf-8")
    wanted = PretrainConfig().model_dump(mode="json", exclude={"views", "online_knn"})
    for part, model in (("views", ViewsConfig()), ("online_knn", OnlineKnnConfig())):
        wanted |= {f"{part}.{key}": value for key, value in model.model_dump(mode="json").items()}
    told = {}
    table = page.partition("## Every key of a recipe")[2]
    for keys, defaults in re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE):
        names = re.findall(r"`([^`]+)`", keys)
        values = [yaml.safe_load(value) for value in re.findall(r"`([^`]+)`", defaults)]
        if defaults == "ImageNet's":
            values = [wanted[name] for name in names]
        told |= dict(zip(names, values or [None], strict=True))
    assert told == {key: pytest.approx(value) if isinstance(value, float) else value for key, value in wanted.items()}

    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.yaml").write_text(example.replace("/path/to/mec-transfer", str(DOCS.parent)))
    recipe = load_config(PretrainConfig, tmp_path / "mine.yaml")
    assert (recipe.epochs, recipe.chunk_size, recipe.views.size, recipe.views.pipeline) == (200, 256, 160, "fast")


def test_the_page_on_offline_machines_names_every_option_of_set_up_and_its_sizes() -> None:
    page = (DOCS / "offline.md").read_text(encoding="utf-8")
    script = (DOCS.parent / "tools/setup_env.sh").read_text(encoding="utf-8")
    options = set(re.findall(r"^    (--[a-z]+)\)", script, re.MULTILINE))
    assert len(options) == 6 and all(f"{option}`" in page or f"{option} " in page for option in options)
    assert all(f"{size:g} GB" in page for sizes in GIGABYTES.values() for size in sizes)
    assert "ARG SETUP" in (DOCS.parent / "tools/Dockerfile").read_text(encoding="utf-8") and "--build-arg SETUP" in page
