from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mec_transfer.classification.episodes import (
    accuracies,
    draw_episode,
    episode_units,
    interval,
    measure,
    nearest_prototypes,
)
from mec_transfer.common.arrays import PREDICTIONS_NAME, save_arrays
from mec_transfer.common.errors import UserError

IMAGES = [np.arange(9), np.arange(20, 27), np.arange(40, 60), np.array([70, 73, 77, 79, 80, 81])]


def test_an_episode_has_no_class_and_no_image_twice() -> None:
    seen, firsts = set(), set()
    for seed in range(200):
        classes, rows = draw_episode(IMAGES, 3, 6, seed)
        assert len(set(classes.tolist())) == 3 and rows.shape == (3, 6) and len(np.unique(rows)) == 18
        for number, own in zip(classes, rows, strict=True):
            assert np.isin(own, IMAGES[number]).all()
        seen.update(rows.ravel().tolist())
        firsts.update((int(number), int(own[0])) for number, own in zip(classes, rows, strict=True))
    everything = np.concatenate(IMAGES).tolist()
    assert seen == set(everything) and len(firsts) == len(everything)  # any image may be learnt from


def test_a_seed_gives_one_episode() -> None:
    for first, again in zip(draw_episode(IMAGES, 3, 5, 7), draw_episode(IMAGES, 3, 5, 7), strict=True):
        assert np.array_equal(first, again)
    assert not np.array_equal(draw_episode(IMAGES, 3, 5, 7)[1], draw_episode(IMAGES, 3, 5, 8)[1])


def test_a_query_goes_to_the_nearest_mean() -> None:
    support = np.array([[[0.0, 0.0], [2.0, 0.0]], [[8.0, 1.0], [8.0, -1.0]]])  # means (1, 0) and (8, 0)
    queries = np.array([[[4.0, 9.0], [5.0, 0.0], [4.5, 3.0]], [[8.0, 0.0], [4.6, -50.0], [-7.0, 0.0]]])
    assert nearest_prototypes(support, queries).tolist() == [[0, 1, 0], [1, 1, 0]]  # 4.5 is as near to either


def test_small_differences_far_from_zero_are_told_apart() -> None:
    """Distances by way of products lose digits: float64 has enough of them for features of any size."""
    rng = np.random.default_rng(0)
    support, queries = (1e3 + 1e-3 * rng.normal(size=(5, count, 64)) for count in (4, 30))
    distances = np.square(queries[:, :, None] - support.mean(axis=1)).sum(axis=-1)
    assert np.array_equal(nearest_prototypes(support, queries), distances.argmin(axis=-1))


SAVED = {
    "shots": np.array([1, 5]),
    "nearest_1": np.array([[[0, 0], [1, 0]], [[1, 1], [1, 1]], [[0, 0], [1, 1]]]),  # 3/4, 2/4 and 4/4 are right
    "nearest_5": np.array([[[0, 0], [1, 1]], [[1, 0], [1, 1]], [[0, 0], [1, 1]]]),
    **{f"{name}_{shots}": np.zeros((3, 2), np.int32) for name in ("classes", "queries") for shots in (1, 5)},
}


def test_metrics_by_hand() -> None:
    assert accuracies(SAVED)["top1_1shot"].tolist() == [75.0, 50.0, 100.0]
    assert measure(SAVED) == {"top1_1shot": 75.0, "top1_5shot": pytest.approx(275 / 3)}
    # The mean of squares is 2 * 25^2 / 3, of three episodes.
    assert interval(accuracies(SAVED)["top1_1shot"]) == pytest.approx(1.96 * 25 * np.sqrt(2 / 3) / np.sqrt(3))
    with pytest.raises(ValueError, match="'nearest_5' is of shape"):
        measure(SAVED | {"nearest_5": np.zeros((3, 4))})


def test_units_are_the_episodes(tmp_path: Path) -> None:
    save_arrays(tmp_path / PREDICTIONS_NAME, **SAVED)
    units = episode_units(tmp_path)
    assert (units.kind, units.count) == ("episodes", 3)
    counts = np.array([[1, 3, 0], [1, 0, 1], [1, 0, 2]], dtype=np.int32)
    assert units.measure("top1_1shot", counts).tolist() == [75.0, 75.0, pytest.approx(250 / 3)]
    save_arrays(tmp_path / PREDICTIONS_NAME, **SAVED | {"nearest_1": 1 - SAVED["nearest_1"]})
    assert episode_units(tmp_path).truth == units.truth  # another model, the same episodes
    save_arrays(tmp_path / PREDICTIONS_NAME, **SAVED | {"queries_5": np.ones((3, 2), np.int32)})
    assert episode_units(tmp_path).truth != units.truth


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    save_arrays(tmp_path / PREDICTIONS_NAME, **SAVED | {"nearest_5": SAVED["nearest_5"][:2]})
    with pytest.raises(UserError, match="there are 2 and 3 episodes"):
        episode_units(tmp_path)
    save_arrays(tmp_path / PREDICTIONS_NAME, **{name: value for name, value in SAVED.items() if name != "nearest_5"})
    with pytest.raises(UserError, match="not readable as predictions"):
        episode_units(tmp_path)
    save_arrays(tmp_path / PREDICTIONS_NAME, nearest_1=SAVED["nearest_1"])
    with pytest.raises(UserError, match="it has no 'shots'"):
        episode_units(tmp_path)
