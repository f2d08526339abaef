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
from mec_transfer.benchmark import BenchmarkConfig, MetricsConfig
from mec_transfer.cli.evaluate import COMMAND_OF
from mec_transfer.cli.main import main
from mec_transfer.datasets.config import Contents, DatasetConfig, ObjectsDatasetConfig, VideosDatasetConfig
from mec_transfer.datasets.tracker_config import TrackerDatasetConfig, TrainingSetConfig
from mec_transfer.demo_world.world import WorldSize, write_demo_world
from mec_transfer.results.formats import CSV_FIELDS, format_leaderboard
from mec_transfer.results.leaderboard import build_leaderboard
from mec_transfer.results.record import BenchmarkInfo, DatasetInfo, ModelInfo, Record, Selection
from mec_transfer.results.references import load_references
from mec_transfer.suite.config import BenchmarkEntry, ModelConfig, SuiteConfig, load_suite
from mec_transfer.suite.registry import BENCHMARKS, benchmark_config, find_benchmark
from tests.example_board import example_records

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: str) -> Iterator[tuple[str, str]]:
    """Yield each command of the page's console blocks, and what it is to print."""
    for block in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def yaml_of(page: str) -> str:
    """Return the page's one example in YAML."""
    (example,) = re.findall(
        r"^```yaml\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return str(example)


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
    size = WorldSize(train_per_class=6, val_per_class=2)
    (write_demo_world(tmp_path / "world", 0, ("classification",), size) / "imagenet").rename("signs")
    Path("signs_knn.yaml").write_text(yaml_of("benchmarks.md"))
    return tmp_path


@pytest.mark.parametrize(
    ("page", "count"), [("checkpoints.md", 4), ("suites.md", 1), ("benchmarks.md", 3), ("leaderboard.md", 1)]
)
def test_commands_print_what_the_page_says(
    page: str, count: int, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checker, ran = doctest.OutputChecker(), 0
    if page == "leaderboard.md":  # what benchmarks.md leaves is verified there
        *_, (command, _) = commands("benchmarks.md")
        main(shlex.split(command)[1:])
        capsys.readouterr()
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
    (tmp_path / "mine.yaml").write_text(yaml_of("suites.md"))
    suite = load_suite(tmp_path / "mine.yaml", [])
    assert list(suite.models) == ["moco", "dino-student", "random", "mec"]
    for entry in suite.benchmarks:
        benchmark_config(find_benchmark(entry.config, tmp_path), entry.set)


def test_the_page_on_benchmarks_names_every_key_and_every_kind() -> None:
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    sections = {"dataset.": (DatasetConfig, ObjectsDatasetConfig, VideosDatasetConfig, TrackerDatasetConfig)}
    sections |= {"": (BenchmarkConfig,), "metrics.": (MetricsConfig,), "dataset.expect.NAME.": (Contents,)}
    for prefix, models in sections.items():
        for key in {key for model in models for key in model.model_fields} - {"metrics", "expect"}:
            assert f"| `{prefix}{key}` |" in page, key
    assert all(f"`{key}`" in page for key in TrainingSetConfig.model_fields)
    for name in BENCHMARKS:
        kind = name.partition("/")[2]
        (shown,) = re.findall(rf"^\| `{name}` \| `{COMMAND_OF[kind]}` \| `mec-transfer show (\w+)`", page, re.MULTILINE)
        assert benchmark_config(find_benchmark(shown, Path())).kind == kind


def test_what_the_page_on_benchmarks_leaves_out_of_the_hash_is_not_in_it() -> None:
    config, own = find_benchmark("coco_c4_1x", Path()), benchmark_config(find_benchmark("coco_c4_1x", Path()))
    for word in ("title=x", "published=x", "deviations=[X.]", "trials=2", "metrics.also=null", "dataset.folder=x"):
        assert benchmark_config(config, [word]).protocol == own.protocol, word
    assert benchmark_config(config, ["dataset.expect={}"]).protocol == own.protocol
    for setting in ("version=9", "dataset.name=x", "recipe.metric=voc", "metrics.primary=AP50"):
        changed = benchmark_config(config, [setting])
        assert changed.protocol.startswith(f"{own.protocol}+custom-") and changed == benchmark_config(config, [setting])


def test_the_page_on_leaderboards_shows_one_as_it_is_made() -> None:
    page = (DOCS / "leaderboard.md").read_text(encoding="utf-8")
    made = format_leaderboard(build_leaderboard(example_records(), load_references()), "md")
    for part in made.strip().split("\n\n"):
        assert part.startswith("#") or part in page, f"the page has another part than this:\n{part}"


def test_the_page_on_leaderboards_names_every_key_of_a_record_and_every_field_of_a_csv() -> None:
    page = (DOCS / "leaderboard.md").read_text(encoding="utf-8")
    meant = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    for key, field in Record.model_fields.items():
        assert (field.alias or key) in meant, key
    sections = {"model": ModelInfo, "benchmark": BenchmarkInfo, "dataset": DatasetInfo, "selection": Selection}
    for key, section in sections.items():
        assert all(f"`{name}`" in meant[key] for name in section.model_fields), key
    (fields,) = re.findall(r"^\| field \| holds \|\n\| --- \| --- \|\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in fields.splitlines()))) == set(CSV_FIELDS)


def test_the_page_of_protocols_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--cards"]) == 0
    page = (DOCS / "protocols.md").read_text(encoding="utf-8")
    assert page == capsys.readouterr().out, "the page is old: mec-transfer show --cards > docs/protocols.md"
