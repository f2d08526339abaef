from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mec_transfer.benchmark import MetricsConfig
from mec_transfer.classification.predictions import (
    best_classes,
    check_primary,
    recompute_metrics,
    save_predictions,
)
from mec_transfer.common.arrays import PREDICTIONS_NAME
from mec_transfer.common.errors import UserError

TARGETS = np.array([3, 0, 7, 7])
GOOD = np.array([[3, 1, 2, 4, 5], [1, 0, 2, 3, 4], [7, 1, 2, 3, 4], [0, 1, 2, 3, 4]])  # 2 first, 3 of 4 in five
POOR = np.array([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]])  # 0 first, 1 of 4 in five


def test_metrics_are_the_counted_fractions_and_survive_the_round_trip(tmp_path: Path) -> None:
    metrics = save_predictions(tmp_path, TARGETS, {"lr0.3": GOOD, "lr1": POOR}, primary="lr0.3")
    assert metrics == {
        "top1": 50.0,
        "top5": 75.0,
        "top1_lr0.3": 50.0,
        "top5_lr0.3": 75.0,
        "top1_lr1": 0.0,
        "top5_lr1": 25.0,
    }
    assert recompute_metrics(tmp_path) == metrics


def test_few_classes_have_no_top5(tmp_path: Path) -> None:
    metrics = save_predictions(tmp_path, np.array([0, 1, 1]), {"k20": np.array([[0], [1], [0]])}, "k20")
    assert metrics == {"top1": 100 * 2 / 3, "top1_k20": 100 * 2 / 3}
    assert recompute_metrics(tmp_path) == metrics


def test_many_classes_do_not_wrap_around(tmp_path: Path) -> None:
    classes = np.array([[40_000], [70_000]])
    assert save_predictions(tmp_path, classes[:, 0], {"a": classes}, "a")["top1"] == 100.0
    assert recompute_metrics(tmp_path)["top1"] == 100.0


def test_the_same_predictions_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_predictions(tmp_path / name, TARGETS, {"last": GOOD}, "last")
    assert (tmp_path / "a" / PREDICTIONS_NAME).read_bytes() == (tmp_path / "b" / PREDICTIONS_NAME).read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "absent"])
def test_damage_is_said_in_one_line(tmp_path: Path, damage: str) -> None:
    save_predictions(tmp_path, np.tile(TARGETS, 50), {"last": np.tile(GOOD, (50, 1))}, "last")
    path = tmp_path / PREDICTIONS_NAME
    data = bytearray(path.read_bytes())
    if damage == "absent":
        path.unlink()
    else:
        position = data.find(b"targets.npy") + 60
        data[position] ^= 0xFF
        path.write_bytes({"cut": bytes(data[:100]), "flipped": bytes(data), "text": b"<html>"}[damage])
    with pytest.raises(UserError, match=r"predictions\.npz") as caught:
        recompute_metrics(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["targets", "primary"])
def test_a_file_that_lacks_a_part_says_which(tmp_path: Path, name: str) -> None:
    parts = {"targets": TARGETS, "primary": np.array("last"), "top_last": GOOD}
    np.savez(tmp_path / PREDICTIONS_NAME, **{key: value for key, value in parts.items() if key != name})
    with pytest.raises(UserError, match=rf"predictions\.npz: not readable as predictions \(it has no '{name}'\)"):
        recompute_metrics(tmp_path)


@pytest.mark.parametrize("top", [GOOD[:3], GOOD[:, 0]])
def test_predictions_that_do_not_fit_the_targets_are_refused(tmp_path: Path, top: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        save_predictions(tmp_path, TARGETS, {"a": top}, "a")
    assert not (tmp_path / PREDICTIONS_NAME).exists()


def test_of_equal_scores_the_lower_class_comes_first() -> None:
    scores = np.array([[0.0, 2.0, 1.0, 2.0, 0.0, 1.0], [0.0] * 6])
    assert best_classes(scores).tolist() == [[1, 3, 2, 5, 0], [0, 1, 2, 3, 4]]
    assert best_classes(scores[:, :5]).tolist() == [[1], [0]]


def test_junk_is_not_called_a_pickle_to_be_trusted(tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS_NAME).write_text("junk")
    with pytest.raises(UserError, match=r"not readable as predictions \(not a \.npz file\)"):
        recompute_metrics(tmp_path)


def test_a_primary_metric_that_cannot_come_out_is_a_problem() -> None:
    for name in ("top1", "top5", "top1_k20", "top5_k1"):
        assert check_primary(MetricsConfig(primary=name), ["k1", "k20"]) == []
    (problem,) = check_primary(MetricsConfig(primary="top1_k2"), ["k1", "k20"])
    assert problem.message.startswith(
        "metrics.primary: no metric 'top1_k2'. Did you mean 'top1_k20'? There are: top1, "
    )
