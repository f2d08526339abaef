"""The commands on the pages, run: what they print is what the pages say."""

from __future__ import annotations

import argparse
import ast
import doctest
import fnmatch
import functools
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from mec_transfer.backbone.backbone import build_resnet
from mec_transfer.benchmark import BenchmarkConfig, MetricsConfig
from mec_transfer.classification.config import FewShotConfig
from mec_transfer.cli.main import COMMANDS, main
from mec_transfer.common.config import load_config
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.config import (
    Contents,
    DatasetConfig,
    LabelsDatasetConfig,
    ObjectsDatasetConfig,
    SegmentsDatasetConfig,
    VideosDatasetConfig,
)
from mec_transfer.datasets.registry import kind_of, layout_names
from mec_transfer.datasets.tracker_config import TrackerDatasetConfig, TrainingSetConfig
from mec_transfer.demo_world.world import WorldSize, write_demo_world
from mec_transfer.models.zoo import FOLDER_VARIABLE
from mec_transfer.results.formats import CSV_FIELDS, EXPORTS, format_leaderboard
from mec_transfer.results.leaderboard import build_leaderboard
from mec_transfer.results.record import BenchmarkInfo, DatasetInfo, ModelInfo, Record, Selection
from mec_transfer.results.references import load_references
from mec_transfer.suite.config import BenchmarkEntry, ModelConfig, SuiteConfig, load_suite
from mec_transfer.suite.registry import BENCHMARKS, COMMAND_OF, benchmark_config, find_benchmark
from pretrain.__main__ import main as pretrain
from pretrain.config import OnlineKnnConfig, PretrainConfig, ViewsConfig
from tests.datasets.images import test_inat2018, test_places205
from tests.datasets.images.test_cdfsl import CDFSL_WORLDS
from tests.datasets.images.test_cifar import write_batches
from tests.datasets.images.test_listed import WORLDS
from tests.datasets.images.test_voc_labels import write_parts
from tests.datasets.objects import test_cityscapes
from tests.datasets.segments.drawn import write_cityscapes
from tests.example_board import example_records
from tools.packages import GIGABYTES
from tools.schemas import schemas

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COCO_WITH_OBJECTS = 117266
"""The images that trackers learn from."""
PROGRAMS = {"mec-transfer": main, "mec-pretrain": pretrain}
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
    monkeypatch.setenv(FOLDER_VARIABLE, "none")  # which a page's --models-dir replaces
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
    Path("photos").mkdir()
    for number in range(16):
        Image.effect_noise((40, 36), 64).convert("RGB").save(f"photos/{number}.jpg")
    return tmp_path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo world, with smaller images and fewer to pretrain on, and beside it a Cityscapes folder."""
    folder = tmp_path_factory.mktemp("world")
    write_demo_world(folder, size=WorldSize(unlabelled=8, side=16))
    for split in ("train", "val"):
        name = "ulm_000000_000019"
        test_cityscapes.write(folder / "cityscapes", split, name, [test_cityscapes.square("car", 3, 4)])
        write_cityscapes(folder / "cityscapes", split, [name])
    return folder


@pytest.mark.parametrize(
    ("page", "count"),
    [
        ("checkpoints.md", 4),
        ("models.md", 3),
        ("pretraining.md", 4),
        ("suites.md", 1),
        ("data.md", 28),
        ("robustness.md", 1),
        ("benchmarks.md", 3),
        ("leaderboard.md", 1),
        ("compare.md", 3),
    ],
)
def test_commands_print_what_the_page_says(
    page: str, count: int, files: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in filter(Path.is_dir, world.iterdir()):
        (files / folder.name).symlink_to(folder)
    checker, ran = doctest.OutputChecker(), 0
    if page == "leaderboard.md":  # what benchmarks.md leaves is verified there
        *_, (command, _) = commands("benchmarks.md")
        main(shlex.split(command)[1:])
        capsys.readouterr()
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
    (tmp_path / "mine.yaml").write_text(yaml_of("suites.md"))
    suite = load_suite(tmp_path / "mine.yaml", [])
    assert list(suite.models) == ["moco", "dino-student", "random", "mec"]
    for entry in suite.benchmarks:
        benchmark_config(find_benchmark(entry.config, tmp_path), entry.set)


def sections(page: str, level: str) -> dict[str, str]:
    """Return the page's parts below each heading of a level, by the heading."""
    parts = re.split(rf"^{level} (.*)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_layout_has_a_section_whose_tree_is_how_its_data_lies(world: Path) -> None:
    found = sections("data.md", "###")
    there_too = *sections("transfer.md", "###"), *sections("robustness.md", "###")
    assert sorted(name for heading in (*found, *there_too) for name in re.findall(r"`(\w+)`", heading)) == sorted(
        layout_names()
    )
    for heading, text in found.items():
        name = heading.strip("`")
        assert "mec-transfer data check " in text, heading
        if name.endswith("_tracks"):
            continue  # the folders of other layouts
        (tree,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        folder = world / re.findall(r"^\$ mec-transfer data check (\w+)", text, re.MULTILINE)[0]
        for line in tree.splitlines():
            path, _, remark = line.partition("  ")
            assert remark.strip() in ("", "optional")
            there = any(folder.glob(re.sub("<.*?>", "*", path)))
            assert there or remark, f"{heading}: {path}"


def test_the_page_on_robustness_has_a_row_for_every_config_of_its_suite_and_how_the_data_lies(world: Path) -> None:
    page = (DOCS / "robustness.md").read_text(encoding="utf-8")
    suite = load_suite(CONFIGS / "suites" / "robustness.yaml", ["a=random:resnet18"])
    robust = {entry.config for entry in suite.benchmarks if entry.config.startswith("robust_")}
    rows = [row.split("|") for row in re.findall(r"^\| `robust_.*$", page, re.M)]
    assert {name for cells in rows for name in re.findall(r"`(\w+)`", cells[1])} == robust
    for cells in rows:
        for name in re.findall(r"`(\w+)`", cells[1]):
            dataset = benchmark_config(find_benchmark(name, CONFIGS)).dataset
            promised = dataset.promised
            assert promised is not None
            wanted = [
                f"`{dataset.folder}`",
                f"`{dataset.layout}`",
                str(promised.classes),
                f"{promised.images['val']:,}",
            ]
            assert [cell.strip() for cell in cells[2:6]] == wanted
    tree = re.findall(r"^```text\n(.*?)\n```$", sections("robustness.md", "###")["`imagenet_classes`"], re.M | re.S)
    assert any((world / "imagenet_grey").glob(re.sub("<.*?>", "*", tree[0])))


TRANSFER_WORLDS = {
    **WORLDS,
    **CDFSL_WORLDS,
    "cifar": write_batches,
    "voc2007_classes": write_parts,
    "places205": test_places205.make,
    "inat2018": test_inat2018.make,
}


@pytest.mark.parametrize("layout", TRANSFER_WORLDS)
def test_the_tree_of_a_transfer_set_is_how_its_data_lies(layout: str, tmp_path: Path) -> None:
    TRANSFER_WORLDS[layout](tmp_path)
    section = sections("transfer.md", "###")[f"`{layout}`"]
    (tree,) = re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    for path in tree.splitlines():
        assert any(tmp_path.glob(re.sub("<.*?>", "*", path))), path


def rows_on_transfer(heading: str, suite: str) -> dict[str, list[str]]:
    """Return the cells of each config's row in the table below a heading: those of a suite, in its order."""
    table = re.findall(r"^\| `.*$", sections("transfer.md", "##")[heading], re.M)
    rows = {cells[0]: cells for cells in ([cell.strip(" `") for cell in row.split("|")[1:-1]] for row in table)}
    entries = load_suite(CONFIGS / "suites" / f"{suite}.yaml", ["a=random:resnet18"]).benchmarks
    assert [entry.config for entry in entries] == list(rows)
    return rows


def test_the_page_on_transfer_has_a_row_for_every_config_of_its_suites() -> None:
    metrics = {"top1": "top-1", "mean_class_top1": "mean over the classes", "mAP11": "11-point mAP"}
    for name, cells in rows_on_transfer("The data sets", "linear_transfer").items():
        config = benchmark_config(find_benchmark(name, CONFIGS))
        promised = config.dataset.promised
        assert promised is not None
        wanted = [config.dataset.folder, str(promised.classes)]
        wanted.append(" and ".join(f"{promised.images[split]:,}" for split in ("train", "val")))
        assert cells[1:4] == wanted
        assert cells[5] == metrics[config.metrics.primary]
    for name, cells in rows_on_transfer("Few-shot classification", "few_shot").items():
        config = benchmark_config(find_benchmark(name, CONFIGS))
        promised = config.dataset.promised
        assert isinstance(config, FewShotConfig) and promised is not None
        images = f"{sum(promised.images.values()):,}" if promised.images else "any number"
        shots = ", ".join(map(str, config.recipe.shots))
        assert cells[1:] == [config.dataset.folder, str(promised.classes), images, shots]


def test_the_page_on_data_names_every_folder_of_the_paper_suite() -> None:
    (table,) = re.findall(r"^\| folder in DATA_ROOT .*?\n\n", (DOCS / "data.md").read_text(), re.MULTILINE | re.DOTALL)
    rows = {cells[1].strip(" `"): cells for cells in (line.split("|") for line in table.strip().splitlines()[2:])}
    wanted: dict[str, set[str]] = {}
    for entry in load_suite(CONFIGS / "suites" / "paper.yaml", ["a=random:resnet18"]).benchmarks:
        dataset = benchmark_config(find_benchmark(entry.config, CONFIGS)).dataset
        for part in (dataset, *getattr(dataset, "training", ())):
            about = {part.layout} if kind_of(part.layout) != "tracks" or part.folder == "ILSVRC" else set()
            wanted.setdefault(part.folder, set()).update(about)
            named = re.findall(r"`([\w*]+)`", rows[part.folder][4])
            assert any(fnmatch.fnmatch(entry.config, name) for name in named), (part.folder, entry.config)
        counts = (count for promised in dataset.expect.values() for count in promised.images.values())
        for count in (f"{count:,}" for count in counts if count != COCO_WITH_OBJECTS):
            assert count in rows[dataset.folder][3], (dataset.folder, count)
    assert {name: set(re.findall(r"`(\w+)`", cells[2])) for name, cells in rows.items()} == wanted


def test_commands_that_the_page_on_data_only_shows_are_ones_that_the_program_takes() -> None:
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    shown = re.findall(r"(?:^    |`)(mec-transfer [^`\n]+?)`?$", text.replace("` |", "`\n"), re.MULTILINE)
    full = [words for words in map(shlex.split, shown) if "..." not in words and len(words) > 3]
    assert len(full) >= 6
    for _, command, *words in full:
        assert command in COMMANDS
        module = importlib.import_module(f"mec_transfer.cli.{command}")
        parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
        module.add_arguments(parser)
        args = parser.parse_args(words)
        if getattr(args, "config", None):
            find_benchmark(args.config, CONFIGS)


@functools.cache
def source_texts() -> list[str]:
    """Return every text in the program's source, a hole in it where it is made up of values, and the shell scripts."""
    texts = [(ROOT / "tools" / "setup_env.sh").read_text(encoding="utf-8")]
    for path in (path for folder in ("mec_transfer", "pretrain") for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_every_message_on_the_page_is_one_that_the_program_prints() -> None:
    rows = re.findall(
        r"^\| it says .*?\n\n", (DOCS / "troubleshooting.md").read_text() + "\n", re.MULTILINE | re.DOTALL
    )
    quoted = [row.split("|")[1].strip(" `") for table in rows for row in table.strip().splitlines()[2:]]
    assert 40 <= len(quoted) == len(set(quoted))
    for message in quoted:
        parts = [part for part in (part.strip(" :;,.") for part in message.split("...")) if len(part) >= 12]
        assert parts, message
        for part in parts:
            assert any(part in text for text in source_texts()), (message, part)


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]*?(?:#[^)\s]*)?)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            if "://" in name:
                continue
            path = page.parent / name if name else page
            assert path.exists(), (page.name, target)
            if anchor:
                heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_the_page_on_benchmarks_names_every_key_and_every_kind() -> None:
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    sections = {
        "dataset.": (
            DatasetConfig,
            LabelsDatasetConfig,
            ObjectsDatasetConfig,
            SegmentsDatasetConfig,
            VideosDatasetConfig,
            TrackerDatasetConfig,
        )
    }
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
    others = {ref.protocol for ref in build_leaderboard(example_records(), load_references()).others}
    references = [ref for ref in load_references() if ref.dataset == "voc0712" or ref.protocol not in others]
    board = build_leaderboard(example_records(), references)
    detection = format_leaderboard(board, "paper").partition("## Detection")[2]
    for part in [*format_leaderboard(board, "md").strip().split("\n\n"), *detection.strip().split("\n\n")]:
        assert part.startswith("#") or part in page, f"the page has another part than this:\n{part}"


def test_the_file_of_numbers_on_the_page_is_one_that_the_command_takes(tmp_path: Path) -> None:
    (tmp_path / "quotes.yaml").write_text(yaml_of("leaderboard.md"))
    board = build_leaderboard(example_records(), load_references(tmp_path / "quotes.yaml"))
    assert [ref.method for ref in (*board.published, *board.others)] == ["A method", "Another method"]


def test_the_page_on_leaderboards_names_every_field_of_a_csv_and_every_format() -> None:
    page = (DOCS / "leaderboard.md").read_text(encoding="utf-8")
    (fields,) = re.findall(r"^\| field \| holds \|\n\| --- \| --- \|\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in fields.splitlines()))) == set(CSV_FIELDS)
    shown = re.findall(r"^    mec-transfer leaderboard (.*?)(?:  #.*| > .*)?$", page, re.MULTILINE)
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module("mec_transfer.cli.leaderboard").add_arguments(parser)
    for words in shown:
        parser.parse_args(shlex.split(words))
    assert len(shown) >= 8 and all(f"--format {form}" in page or form in ("md", "json") for form in EXPORTS)


def test_the_page_on_records_names_every_key_and_no_other() -> None:
    parts = sections("record.md", "##")
    wanted = {"The record": Record, "`model`": ModelInfo, "`benchmark`": BenchmarkInfo}
    wanted |= {"`dataset`": DatasetInfo, "`selection`": Selection}
    assert parts.keys() == wanted.keys()
    for heading, model in wanted.items():
        keys = re.findall(r"^\| `(\w+)` \|", parts[heading], re.MULTILINE)
        assert keys == [field.alias or key for key, field in model.model_fields.items()], heading


def test_the_schemas_beside_the_pages_are_those_of_the_models() -> None:
    for path, text in schemas().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old: python -m tools.schemas"


def test_the_page_of_protocols_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--cards"]) == 0
    page = (DOCS / "protocols.md").read_text(encoding="utf-8")
    assert page == capsys.readouterr().out, "the page is old: mec-transfer show --cards > docs/protocols.md"


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
