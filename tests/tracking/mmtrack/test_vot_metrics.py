"""Reset-based evaluation: by hand, and against MMTracking's own code where that is installed."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.tracking.mmtrack.vot_metrics import (
    FAILED,
    SKIP,
    SKIPPED,
    STARTED,
    expected_overlap,
    measure_runs,
    region_overlap,
)

SIZE = (60, 40)
SQUARE = np.array([10.0, 10, 20, 10, 20, 20, 10, 20])
"""Corners of a square whose outline's pixels are its own: 11 x 11 of them."""


def state(number: float) -> np.ndarray:
    return np.array([number])


def test_a_box_covers_its_pixels_and_a_polygon_its_outline_too() -> None:
    assert region_overlap(np.array([10, 10, 11, 11]), SQUARE, SIZE) == 1
    assert region_overlap(np.array([10, 10, 10, 10]), SQUARE, SIZE) == 100 / 121
    assert region_overlap(SQUARE, np.array([10.4, 9.6, 11.4, 10.6]), SIZE) == 1  # numbers are rounded
    assert region_overlap(np.array([0.5, 1.5, 8, 8]), np.array([0, 2, 8, 8]), SIZE) == 1  # halves to the even number


def test_what_lies_outside_the_image_does_not_count() -> None:
    assert region_overlap(np.array([-10, 0, 20, 10]), np.array([0, 0, 20, 10]), SIZE) == 100 / 200
    assert region_overlap(np.array([50, 30, 40, 40]), np.array([50, 30, 10, 10]), SIZE) == 1
    assert region_overlap(np.array([70, 0, 5, 5]), np.array([80, 0, 5, 5]), SIZE) == 0
    assert region_overlap(np.array([5, 5, 1, 1]), np.array([5, 5, 1, 1]), SIZE) == 1  # neither has an area


def test_a_diamond_row_by_row() -> None:
    diamond = np.array([5.0, 0, 10, 5, 5, 10, 0, 5])
    rows = [1, 3, 5, 7, 9, 11, 9, 7, 5, 3, 1]
    assert region_overlap(diamond, np.array([0, 0, 11, 11]), SIZE) == sum(rows) / 121
    bowtie = np.array([0.0, 0, 10, 10, 10, 0, 0, 10])  # crosses itself: two triangles, with gaps above and below
    assert region_overlap(bowtie, np.array([0, 0, 11, 11]), SIZE) == (121 - 2 * (7 + 5 + 3 + 1)) / 121


def test_one_failure_by_hand() -> None:
    hit, half = np.array([10.0, 10, 11, 11]), np.array([10.0, 10, 11, 5])  # overlaps 1 and 5 / 11
    run = [state(STARTED), *[half] * 10, *[hit] * 4, state(FAILED), *[state(SKIPPED)] * (SKIP - 1), state(STARTED)]
    run += [hit] * 9
    found = measure_runs([run], [np.tile(SQUARE, (len(run), 1))], [SIZE], (2, 4))
    assert found["failures"] == 1 and found["robustness"] == pytest.approx(100 / 30)
    assert found["accuracy"] == pytest.approx((5 / 11 + 4) / 5)  # frames 10 to 14: the first ten of each run burn in
    # Means over frames 1 to n: of the first run 5/11 for n = 2, 3, 4, of the second 1.
    assert found["eao"] == pytest.approx((5 / 11 + 1) / 2)


def test_a_failed_run_is_zero_for_ever_and_a_finished_one_says_nothing_beyond_its_end() -> None:
    failed, finished = (np.array([0.0, 1, 1]), True), (np.array([0.0, *[0.5] * 5]), False)
    assert expected_overlap([failed, finished], (2, 2)) == pytest.approx((1 + 0.5) / 2)
    assert expected_overlap([failed, finished], (5, 5)) == pytest.approx((2 / 5 + 0.5) / 2)
    longer = (np.array([0.0, *[1.0] * 9]), True)
    assert expected_overlap([failed, finished, longer], (8, 8)) == pytest.approx((2 / 8 + 1) / 2)
    # MMTracking has no number where all runs are shorter than the interval, as a weak tracker's are.
    assert expected_overlap([failed, failed], (5, 6)) == pytest.approx((2 / 5 + 2 / 6) / 2)


def test_videos_too_short_for_the_interval_and_runs_without_a_start_are_told() -> None:
    run, truth = [state(STARTED), np.array([10.0, 10, 11, 11])], np.tile(SQUARE, (2, 1))
    with pytest.raises(DataError, match=r"the longest sequence has 2 frames.*from 100 on"):
        measure_runs([run], [truth], [SIZE])
    with pytest.raises(DataError, match=r"sequence 1: its first frame is not a start"):
        measure_runs([run[1:]], [truth[1:]], [SIZE], (0, 1))


def draw(rng: np.random.Generator, frames: int) -> tuple[list[np.ndarray], np.ndarray]:
    """A run with failures at random, and its truth."""
    truth = SQUARE + rng.normal(0, 3, (frames, 8)) + np.arange(frames)[:, None] * 0.2
    run, start = [state(STARTED)], 0
    for frame in range(1, frames):
        if frame <= start:
            run.append(state(STARTED if frame == start else SKIPPED))
        elif rng.random() < 0.06:
            run.append(state(FAILED))
            start = frame + SKIP
        else:
            x, y = truth[frame].reshape(-1, 2).min(axis=0) + rng.normal(0, 3, 2)
            run.append(np.array([x, y, *rng.uniform(4, 16, 2)]))
    return run, truth


@pytest.mark.skipif(importlib.util.find_spec("mmtrack") is None, reason="MMTracking is not installed")
def test_as_mmtracking_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMTracking's own curves and masks, with our overlaps in place of the toolkit's, which it does not install."""
    from mec_transfer.tracking.mmtrack import engine

    engine.load()
    from mmtrack.core.evaluation import eval_sot_vot

    class Special:
        UNKNOWN, INITIALIZATION, FAILURE = 0, 1, 2

        def __init__(self, code: float) -> None:
            self.code = code

    def overlaps(first: list[Any], second: list[Any], bounds: tuple[int, int]) -> list[float]:
        return [0.0 if isinstance(a, Special) else region_overlap(a, b, bounds) for a, b in zip(first, second)]

    monkeypatch.setattr(eval_sot_vot, "vot", SimpleNamespace())
    for name, value in {
        "Special": Special,
        "Rectangle": lambda *box: np.array(box),
        "Polygon": lambda points: np.array(points).reshape(-1),
        "calculate_region_overlaps": overlaps,
        "is_special": lambda region, code: isinstance(region, Special) and region.code == code,
    }.items():
        monkeypatch.setattr(eval_sot_vot, name, value, raising=False)
    rng = np.random.default_rng(5)
    for _ in range(6):
        runs, truths = zip(*(draw(rng, int(rng.integers(20, 90))) for _ in range(4)), strict=True)
        sizes, interval = [SIZE] * len(runs), [10, 50]
        theirs = eval_sot_vot.eval_sot_eao(runs, truths, interval, sizes)
        theirs |= eval_sot_vot.eval_sot_accuracy_robustness(runs, truths, videos_wh=sizes)
        ours = measure_runs(runs, truths, sizes, (10, 50))
        assert ours["eao"] == pytest.approx(theirs["eao"], abs=1e-6)  # its curve is in float32
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=1e-12)
        assert (ours["robustness"], ours["failures"]) == (theirs["robustness"], theirs["num_fails"])
