"""Curves: from a pretraining's log, the epochs of a record, and the lines that a meter prints."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from mec_transfer.common.progress import Meter
from mec_transfer.report.curves import pretraining_curves, training_curves
from tests.example_board import example_records


def write_log(folder: Path, steps: int) -> None:
    folder.mkdir(parents=True)
    lines = [{"step": step, "epoch": 0, "loss": -step / 10, "lr": 0.1, "knn_top1": 3.0} for step in range(1, steps + 1)]
    lines[1]["loss"] = float("nan")
    del lines[0]["knn_top1"]
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 9, "lo')


def test_pretraining_is_found_in_the_first_run_that_has_it(tmp_path: Path) -> None:
    write_log(tmp_path / "b/models/mec", 5)
    found = pretraining_curves([tmp_path / "a", tmp_path / "b"], "mec")
    assert list(found) == ["loss", "knn_top1"]
    assert found["loss"] == [(1, -0.1), (3, -0.3), (4, -0.4), (5, -0.5)]
    assert pretraining_curves([tmp_path / "b"], "other") == {}


@pytest.mark.parametrize("name", ["../models/mec", "a/b", "", "..", "nul\0"])
def test_a_name_that_is_no_folder_s_finds_nothing(name: str, tmp_path: Path) -> None:
    write_log(tmp_path / "models/mec", 5)
    assert pretraining_curves([tmp_path], name) == {}


def test_a_long_curve_keeps_its_ends_and_some_points_between(tmp_path: Path) -> None:
    write_log(tmp_path / "models/mec", 5000)
    points = pretraining_curves([tmp_path], "mec")["loss"]
    assert points[0] == (1, -0.1) and points[-1] == (5000, -500.0) and 100 < len(points) < 200
    gaps = {round(b[0] - a[0]) for a, b in itertools.pairwise(points)}
    assert max(gaps) - min(gaps) <= 2


def test_the_epochs_of_a_record(tmp_path: Path) -> None:
    epochs = [{"epoch": at, "loss": 1 / at, "top1": 10.0 * at, "lr": [1, 2]} for at in (2, 1, 3)]
    record = example_records()[0].model_copy(update={"details": {"epochs": [*epochs, {"epoch": 4}, "odd"]}})
    assert list(training_curves(record, tmp_path)) == [
        ("loss", "epoch", [(1, 1.0), (2, 0.5), (3, 1 / 3)]),
        ("top1", "epoch", [(1, 10.0), (2, 20.0), (3, 30.0)]),
    ]


def test_the_losses_of_a_log_as_a_meter_prints_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mec_transfer.common.progress._LOG_INTERVAL_SECONDS", 0.0)
    for start, losses in ((0, (0.9, 0.8, float("nan"), 0.6)), (1, (0.7, 0.5))):  # killed, and gone on from step 1
        meter = Meter("training", 6, "iterations", start=start)
        for loss in losses:
            meter.advance(loss=loss, lr=0.1)
        meter.close()
    printed = capsys.readouterr().err
    (tmp_path / "log.txt").write_text(f"a warning\n{printed}error: loss 3 [1/2 x]\n")
    ((name, unit, points),) = training_curves(example_records()[0], tmp_path)
    assert (name, unit) == ("loss", "iteration")
    assert points == [(1, 0.9), (2, 0.7), (3, 0.5), (4, 0.6)]


def test_no_training_no_curve(tmp_path: Path) -> None:
    assert list(training_curves(example_records()[0], tmp_path)) == []
    (tmp_path / "log.txt").write_text("train features [10/20 images]  3.2/s  0m03s left\n")
    assert list(training_curves(example_records()[0], tmp_path)) == []
