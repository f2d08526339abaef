"""Reproduced or not: what is expected, which records count, the verdicts, the page, and the command from end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mec_transfer.backbone.backbone import build_resnet
from mec_transfer.cli.main import main
from mec_transfer.common.errors import ConfigError, UserError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.demo_world.world import WorldSize, write_demo_world
from mec_transfer.models import zoo
from mec_transfer.models.zoo import Expect, load_zoo
from mec_transfer.results.record import BenchmarkInfo, DatasetInfo, ModelInfo, Record, read_record, write_record
from mec_transfer.suite import reproduce
from mec_transfer.suite.config import load_suite
from mec_transfer.suite.reproduce import Expectation, Reproduction, expectations, judge, measured

ROOT = Path(__file__).parents[2]
MOCO = load_zoo()["moco:v2-800ep"]
VOC = reproduce.shipped_configs()["voc0712-c4-moco"]
MACHINE: dict[str, str | int] = {"cpu": "AMD EPYC", "cores": 64, "gpu": "NVIDIA H100", "gpus": 8}


def record(seed: int = 0, **changes: Any) -> Record:
    """Return a record of MoCo v2's VOC07+12, its AP50 82.1 and up by the seed."""
    values: dict[str, Any] = {
        "status": "ok",
        "model": ModelInfo(name="moco-v2-800ep", sha256="w", arch="resnet50", source=MOCO.name),
        "benchmark": VOC.info(),
        "trial": seed,
        "seed": seed,
        "metrics": {"AP50": 82.1 + seed, "AP": 57.0, "AP75": 64.5, "AP/cat": 1.0},
        "primary": "AP50",
        "dataset": DatasetInfo(name="voc0712", fingerprint="f", num_images=1),
        "finished": f"2026-12-0{seed + 1}T00:00:00+00:00",
        "hardware": MACHINE,
    }
    return Record(**(values | changes))


def result_of(*records: Record) -> Reproduction:
    return measured(MOCO, records)


def test_everything_that_is_expected_has_one_number_and_a_benchmark_that_ships() -> None:
    found = [one for entry in load_zoo().values() for one in expectations(entry)]
    assert {one.protocol for one in found} <= set(reproduce.shipped_configs())
    for entry in load_zoo().values():
        protocols = [expect.protocol for expect in entry.expect]
        assert list(dict.fromkeys(one.protocol for one in expectations(entry))) == protocols
    for one in found:
        config = reproduce.shipped_configs()[one.protocol]
        assert one.source and one.reason and one.tolerance > 0
        assert config.metrics.primary in [other.metric for other in found if other.protocol == one.protocol]
    assert len(found) > 30


def test_expected_numbers_are_the_published_ones() -> None:
    told = {(one.metric, one.value, one.tolerance) for one in expectations(MOCO) if one.protocol == VOC.protocol}
    assert told == {("AP50", 82.5, 0.4), ("AP", 57.4, 0.4), ("AP75", 64.0, 0.8)}
    sela = [one for one in expectations(load_zoo()["selav2:400ep"]) if one.protocol == "few-shot-chestx"]
    assert [(one.metric, one.value, one.tolerance) for one in sela] == [
        ("top1_5shot", 25.6, 0.99), ("top1_20shot", 30.43, 0.82), ("top1_50shot", 32.81, 0.83),
    ]  # fmt: skip
    (dino,) = expectations(load_zoo()["dino:800ep"])
    assert (dino.protocol, dino.metric, dino.value, dino.source) == (
        "imagenet-knn-dino", "top1", 67.5, "facebookresearch/dino README.md",
    )  # fmt: skip
    assert expectations(load_zoo()["simsiam:100ep"]) == []


def test_an_expectation_without_its_number_is_refused() -> None:
    lost = MOCO.model_copy(update={"expect": [Expect(protocol="imagenet-knn-dino", tolerance="unstated")]})
    with pytest.raises(ConfigError, match="0 published rows are of imagenet-knn-dino, MoCo v2, 800 epochs, resnet50"):
        expectations(lost)


def test_the_suite_has_every_protocol_that_something_is_expected_of() -> None:
    path = CONFIGS / "suites" / "reproduce.yaml"
    suite = load_suite(path, ["a=random:resnet18"])
    wanted = {expect.protocol for entry in load_zoo().values() for expect in entry.expect}
    assert reproduce.protocols_of(suite, path) == wanted


def test_a_suite_is_cut_down_to_what_is_expected_of_one_model() -> None:
    path = CONFIGS / "suites" / "paper.yaml"
    suite = reproduce.reproducing_suite(MOCO, load_suite(path, ["other=random:resnet18"]), path)
    assert [one.config for one in suite.benchmarks] == ["voc0712_c4"]
    assert {name: model.checkpoint for name, model in suite.models.items()} == {"moco-v2-800ep": MOCO.name}
    lightly = load_zoo()["lightly:simclr-100ep"]
    with pytest.raises(UserError, match="no benchmark by which .* published: imagenet-knn-instdisc; the suite `repro"):
        reproduce.reproducing_suite(lightly, suite, path)
    with pytest.raises(UserError, match="nothing to reproduce"):
        reproduce.reproducing_suite(load_zoo()["simsiam:100ep"], suite, path)


def test_trials_are_averaged() -> None:
    (one,) = result_of(record(1), record(0), record(2)).measured
    assert one.metrics == {"AP50": pytest.approx((82.1 + 83.1 + 84.1) / 3), "AP": 57.0, "AP75": 64.5}
    assert (one.trials, one.finished, one.hardware) == (3, "2026-12-03T00:00:00+00:00", MACHINE)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed"},
        {"model": ModelInfo(name="moco-v2-800ep", sha256="w", arch="resnet50", source="mine.pth")},
        {"benchmark": VOC.info().model_copy(update={"protocol": "voc0712-c4-moco+custom-12345678"})},
        {"benchmark": VOC.info().model_copy(update={"config_sha256": "0" * 64})},
        {"benchmark": reproduce.shipped_configs()["imagenet-knn-dino"].info()},
        {"dataset": DatasetInfo(name="voc0712", fingerprint="f", num_images=1, note="other labels")},
        {"dataset": None},
    ],
)
def test_what_is_not_by_the_protocol_does_not_count(changes: dict[str, Any]) -> None:
    assert result_of(record(**changes)).measured == []
    assert [one.trials for one in result_of(record(0), record(1, **changes)).measured] == [1]


def test_weights_and_data_are_not_mixed_and_the_last_ones_count() -> None:
    new = ModelInfo(name="moco-v2-800ep", sha256="new", arch="resnet50", source=MOCO.name)
    (one,) = result_of(record(0), record(1), record(2, model=new)).measured
    assert (one.trials, one.weights_sha256, one.metrics["AP50"]) == (1, "new", 84.1)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(82.5, "within"), (82.9, "within"), (82.1, "within"), (82.91, "outside"), (82.09, "outside"), (None, "not run")],
)
def test_the_tolerance_is_the_border(value: float | None, verdict: str) -> None:
    (ap50,) = [one for one in expectations(MOCO) if one.metric == "AP50"]
    metrics = {"AP": 57.0} if value is None else {"AP50": value}
    (found,) = result_of(record(metrics=metrics)).measured
    assert judge(ap50, found) == verdict
    assert judge(ap50, None) == "not run"


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--page", str(ROOT / "benchmarks" / "reproduced")]) == 0
    page = (ROOT / "docs" / "reproduced.md").read_text(encoding="utf-8")
    command = "mec-transfer reproduce --page benchmarks/reproduced > docs/reproduced.md"
    assert page == capsys.readouterr().out, f"the page is old: {command}"
    assert command in page


def rows_of(page: str, model: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith(f"| `{model}`")
    ]


def test_a_result_comes_onto_the_page_and_an_old_one_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = result_of(record(0), record(1))
    old = good.model_copy(update={"measured": [good.measured[0].model_copy(update={"config_sha256": "0" * 64})]})
    for name, one in (("lab.json", good), ("old.json", old)):
        (tmp_path / name).write_text(json.dumps(one.model_dump(mode="json", by_alias=True)))
    assert main(["reproduce", "--page", str(tmp_path)]) == 0
    page = capsys.readouterr().out
    where = "8 x NVIDIA H100, 2026-12-02, mean of 2"
    assert [row[2:] for row in rows_of(page, MOCO.name)][:3] == [
        ["AP50", "82.5", "0.4 (2)", "82.60", "+0.10", "within", where],
        ["AP", "57.4", "0.4 (2)", "57.00", "-0.40", "within", where],
        ["AP75", "64.0", "0.8 (2)", "64.50", "+0.50", "within", where],
    ]
    others = rows_of(page, MOCO.name)[3:] + rows_of(page, "moco:v2-200ep")
    assert len(others) == 37 + 3 and all(row[5:] == ["", "", "not run", ""] for row in others)
    assert "rows: 3 within, 0 outside, " in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "'model': Field required"),
        ('{"schema": 2, "model": "moco:v2-800ep", "measured": []}', "of schema 2"),
        ('{"schema": 1, "model": "moco:v9", "measured": []}', "the model moco:v9, which is not known here"),
        ("x", "not readable as JSON"),
    ],
)
def test_a_malformed_result_is_named(tmp_path: Path, text: str, message: str, capsys: Any) -> None:
    (tmp_path / "bad.json").write_text(text)
    assert main(["reproduce", "--page", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and "bad.json" in error and error.count("\n") == 1
    assert main(["reproduce", "--page", str(tmp_path / "none")]) == 2 and "no such folder" in capsys.readouterr().err


class Lab:
    """A machine with a ResNet-18 under the name of a public one, and with images."""

    name = "supervised:resnet18-unitrack"

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, patch
        size = WorldSize(train_per_class=21, val_per_class=2)
        write_demo_world(root / "data", 0, ("classification",), size)
        (root / "suite.yaml").write_text("id: s\nbenchmarks: [demo_knn, demo_linear_fast]\n")
        patch.setenv(zoo.FOLDER_VARIABLE, str(root / "models"))

    def bring(self) -> None:
        """Put the file where it would have been fetched to."""
        path = load_zoo()[self.name].path(self.root / "models")
        path.parent.mkdir(parents=True)
        torch.save(build_resnet("resnet18").state_dict(), path)

    def expect(self, protocol: str, value: float, tolerance: float) -> None:
        """Expect a number of the model."""
        one = Expectation(
            model=self.name, protocol=protocol, metric="top1", value=value, tolerance=tolerance, reason="r", source="s"
        )
        before = reproduce.expectations(load_zoo()[self.name]) if self.patched else []
        self.patch.setattr(reproduce, "expectations", lambda entry: [*before, one] if entry.name == self.name else [])
        self.patched = True

    patched = False

    def run(self, *words: str) -> int:
        command = ["reproduce", self.name, "--suite", str(self.root / "suite.yaml")]
        return main(
            [
                *command,
                "--data-root",
                str(self.root / "data"),
                "--out",
                str(self.root / "out"),
                "--workers",
                "0",
                *words,
            ]
        )


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    yield Lab(tmp_path, monkeypatch)


@pytest.mark.integration
def test_a_machine_finds_out_in_one_command(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.expect("demo-knn-dino", 50.0, 50.0)
    assert lab.run() == 2
    assert f"mec-transfer models fetch {lab.name}" in capsys.readouterr().err and not (lab.root / "out").exists()
    lab.bring()
    assert lab.run("--dry-run") == 0 and not (lab.root / "out" / "reproduced.json").exists()
    capsys.readouterr()
    assert lab.run() == 0
    printed = capsys.readouterr().out
    (done,) = (lab.root / "out" / "jobs").glob("*/*/record.json")  # the other benchmark of the suite was not asked for
    record = read_record(done)
    assert record.model.source == lab.name and record.model.name == "supervised-resnet18-unitrack"
    top1 = record.metrics["top1"]
    assert f"demo-knn-dino  top1           50  {top1:>8.2f}  {top1 - 50:>+10.2f}         50  within" in printed
    result = Reproduction.model_validate_json((lab.root / "out" / "reproduced.json").read_text())
    assert result.by_protocol("demo-knn-dino").metrics["top1"] == top1  # type: ignore[union-attr]

    lab.patched = False
    lab.expect("demo-knn-dino", top1 + 0.6, 0.5)  # found outside without computing anything again
    before = done.stat().st_mtime_ns
    assert lab.run() == 1 and "outside" in capsys.readouterr().out and done.stat().st_mtime_ns == before

    write_record(done.parent, record.model_copy(update={"benchmark": _custom(record.benchmark)}))
    assert lab.run() == 1
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("demo-knn-dino ")] == [
        "run"
    ]


def _custom(benchmark: BenchmarkInfo) -> BenchmarkInfo:
    return benchmark.model_copy(update={"protocol": f"{benchmark.protocol}+custom-12345678"})


@pytest.mark.integration
def test_a_number_that_was_not_measured_is_none(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.expect("demo-knn-dino", 50.0, 50.0)
    lab.expect("demo-linear-fast", 50.0, 50.0)
    lab.bring()
    assert lab.run("--only", "*/demo_knn") == 0
    assert "not asked for: demo-linear-fast" in capsys.readouterr().out
    (lab.root / "suite.yaml").write_text(
        "id: s\nbenchmarks: [demo_knn, {config: demo_linear_fast, data: nowhere}]\n"
    )  # its data is not there
    assert lab.run() == 1
    printed = capsys.readouterr().out
    assert "demo-linear-fast  top1           50" in printed and "not run" in printed and "within" in printed


def test_words_that_are_missing_are_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["reproduce"]) == 2 and "say what and where" in capsys.readouterr().err
    assert main(["reproduce", "moco:v2-800e", "--out", str(tmp_path)]) == 2
    assert "Did you mean 'moco:v2-800ep'?" in capsys.readouterr().err
