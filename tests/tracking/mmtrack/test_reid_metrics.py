"""mAP and rank-1 of embeddings: by hand, slowly, and by MMTracking itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.tracking.mmtrack import reid_metrics as module
from mec_transfer.tracking.mmtrack.reid_metrics import EMBEDDINGS, measure_saved, reid_metrics, save_embeddings


def cloud(seed: int, crops: int, persons: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, persons, crops)
    points = random.standard_normal((persons, 8))[labels] + 1.5 * random.standard_normal((crops, 8))
    return points.astype(np.float32), labels


def test_five_crops_by_hand() -> None:
    # On a line: a at 0, b at 1, a at 3, b at 3.5, c at 9. From a at 0 the order is b, a, b, c: precision 1/2. From b at
    # 1: a 0, a 3, b 3.5: 1/3. From a at 3: b 3.5, b 1, a 0: 1/3. From b at 3.5: a 3, b 1: 1/2. c has no other crop.
    points = np.array([[0.0], [1.0], [3.0], [3.5], [9.0]], np.float32)
    found = reid_metrics(points, np.array([0, 1, 0, 1, 2]))
    assert found == {"mAP": pytest.approx(100 * (1 / 2 + 1 / 3 + 1 / 3 + 1 / 2) / 4, abs=1e-12), "rank1": 0.0}


def test_every_query_is_ranked_among_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = cloud(1, 61, 7)
    precisions, first = [], []
    for query in range(len(points)):
        others = [index for index in range(len(points)) if index != query]
        others.sort(key=lambda index: float(((points[index].astype(float) - points[query]) ** 2).sum()))
        hits = [place for place, index in enumerate(others, start=1) if labels[index] == labels[query]]
        if not hits:  # nobody to find
            continue
        precisions.append(np.mean([(number + 1) / place for number, place in enumerate(hits)]))
        first.append(hits[0] == 1)
    expected = {"mAP": pytest.approx(100 * np.mean(precisions)), "rank1": pytest.approx(100 * np.mean(first))}
    assert reid_metrics(points, labels) == expected
    monkeypatch.setattr(module, "_QUERIES", 8)  # the last block is smaller
    assert reid_metrics(points, labels) == expected


def test_equal_crops_do_not_hide_a_query() -> None:
    points = np.ones((4, 3), np.float32)
    assert reid_metrics(points, np.array([0, 0, 1, 1]))["rank1"] == 50.0  # equal distances keep the files' order


def test_the_saved_embeddings_give_the_same_numbers_and_damage_is_told(tmp_path: Path) -> None:
    points, labels = cloud(2, 40, 5)
    save_embeddings(tmp_path, points, labels, [f"{index}.jpg" for index in range(40)])
    assert measure_saved(tmp_path) == reid_metrics(points, labels)
    whole = (tmp_path / EMBEDDINGS).read_bytes()
    for damaged in (whole[:-30], b"", b"no archive"):
        (tmp_path / EMBEDDINGS).write_bytes(damaged)
        with pytest.raises(UserError, match=r"embeddings.npz: cannot be read \(.*\); delete the folder"):
            measure_saved(tmp_path)
    (tmp_path / EMBEDDINGS).unlink()
    with pytest.raises(UserError, match="no such file; the job left none"):
        measure_saved(tmp_path)


def test_what_cannot_be_measured_is_an_error() -> None:
    with pytest.raises(RunError, match="an embedding is not finite: the training has diverged"):
        reid_metrics(np.array([[np.nan], [1.0]]), np.array([0, 0]))
    with pytest.raises(RunError, match="no person has two crops"):
        reid_metrics(np.array([[0.0], [1.0]]), np.array([0, 1]))


def test_mmtracking_gives_the_same_but_for_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mmtrack")
    from mec_transfer.tracking.mmtrack import engine

    engine.load()
    from mmtrack.datasets import ReIDDataset

    points, labels = cloud(3, 300, 12)
    results = [SimpleNamespace(data=torch.from_numpy(point)) for point in points]
    truth = SimpleNamespace(get_gt_labels=lambda: labels)
    rounded = ReIDDataset.evaluate(truth, results, metric=["mAP", "CMC"])
    found = reid_metrics(points, labels)
    assert (rounded["mAP"], rounded["R1"]) == (
        pytest.approx(round(found["mAP"] / 100, 3)),
        pytest.approx(round(found["rank1"] / 100, 3)),
    )
    monkeypatch.setattr(np, "around", lambda value, decimals: value)
    exact = ReIDDataset.evaluate(truth, results, metric=["mAP", "CMC"])
    assert found == {"mAP": pytest.approx(100 * exact["mAP"]), "rank1": pytest.approx(100 * exact["R1"])}
