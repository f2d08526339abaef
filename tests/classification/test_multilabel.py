from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mec_transfer.classification.multilabel import (
    average_precision,
    mean_average_precision,
    measure_scores,
    save_scores,
)
from mec_transfer.common.arrays import measure_saved
from mec_transfer.datasets.images.image_list import ImageList


def by_the_formula(labels: np.ndarray, scores: np.ndarray) -> float:
    """Walk down the ranking; at each recall take the highest precision of that recall or any later one."""
    ranked = [label for _, label in sorted(zip(scores, labels), reverse=True) if label != -1]
    positives, area = ranked.count(1), 0.0
    points = [(ranked[: n + 1].count(1) / positives, ranked[: n + 1].count(1) / (n + 1)) for n in range(len(ranked))]
    last = 0.0
    for recall, _ in points:
        if recall > last:
            area += (recall - last) * max(precision for r, precision in points if r >= recall)
            last = recall
    return area


def test_average_precision_by_hand() -> None:
    labels, scores = np.array([0, 1, 0, 1, -1]), np.array([9.0, 8.0, 2.0, 3.0, 10.0])
    # Ranked, without the one that does not count: 0 1 1 0. Precision at the hits: 1/2, 2/3; the higher counts for both.
    assert average_precision(labels, scores) == pytest.approx(2 / 3)
    assert average_precision(np.array([1, 0]), np.array([1.0, 0.0])) == 1.0
    assert np.isnan(average_precision(np.array([0, -1]), np.array([1.0, 0.0])))


def test_average_precision_is_the_slow_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = rng.choice([-1, 0, 0, 1], size=30)
        labels[0] = 1
        scores = rng.normal(size=30)
        assert average_precision(labels, scores) == pytest.approx(by_the_formula(labels, scores), abs=1e-12)


def images(labels: list[list[int]]) -> ImageList:
    paths = tuple(f"{number}.jpg" for number in range(len(labels)))
    return ImageList(Path("x"), paths, np.array(labels, dtype=np.int64), ("cat", "dog"))


def test_saved_scores_give_the_same_metrics(tmp_path: Path) -> None:
    split, scores = images([[1, 0], [0, 1], [-1, 1]]), np.array([[0.1, 3.0], [0.2, 2.0], [5.0, 1.0]])
    metrics = save_scores(tmp_path, split, scores)
    assert metrics == {"mAP": pytest.approx((50 + 200 / 3) / 2), "AP/cat": 50.0, "AP/dog": pytest.approx(200 / 3)}
    assert (
        measure_saved(tmp_path, measure_scores)
        == metrics
        == mean_average_precision(split.labels, scores, split.classes)
    )


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_scores(tmp_path, images([[1, 1]]), np.zeros((1, 2)))
    with np.load(tmp_path / "predictions.npz") as saved:
        arrays = dict(saved)
    with pytest.raises(ValueError, match="do not fit 2 classes"):
        measure_scores({**arrays, "scores": np.zeros((2, 2))})
