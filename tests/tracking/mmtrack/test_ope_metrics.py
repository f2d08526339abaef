"""One-pass evaluation: by hand, and against MMTracking's own code where that is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from mec_transfer.tracking.mmtrack.ope_metrics import METRICS, measure_boxes

BOX = (10.0, 20.0, 40.0, 20.0)


def moved(x: float = 0, y: float = 0) -> tuple[float, ...]:
    return BOX[0] + x, BOX[1] + y, *BOX[2:]


def measure(truth: list, found: list, visible: list | None = None) -> dict[str, float]:
    seen = None if visible is None else np.array(visible)
    return measure_boxes(np.array(truth, dtype=float), np.array(found, dtype=float), seen)


def test_four_frames_by_hand() -> None:
    found = [
        BOX,  # IoU 1: exceeds 0, 0.05 ... 0.95, twenty thresholds
        moved(x=20),  # 20 of 40 wide shared: IoU 1/3, seven thresholds; 20 pixels, half a width
        moved(x=20, y=5),  # 20 x 15 shared of 1600 - 300: IoU 3/13, five; 20.6 pixels
        moved(x=8),  # 32 x 20 shared of 1600 - 640: IoU 2/3, fourteen; 8 pixels, a fifth of the width: just within
    ]
    expected = {"success": 100 * (20 + 7 + 5 + 14) / 21 / 4, "norm_precision": 50.0, "precision": 75.0}
    assert measure([BOX] * 4, found) == pytest.approx(expected)


def test_a_frame_without_a_target_is_a_hit_of_precision_alone() -> None:
    nan = (np.nan,) * 4
    assert measure([BOX, nan], [BOX, BOX]) == pytest.approx(
        {"success": 50 * 20 / 21, "norm_precision": 100.0, "precision": 100.0}
    )


def test_invisible_frames_are_no_hits_but_count() -> None:
    everything = measure([BOX] * 4, [BOX] * 4, [True, True, True, False])
    assert everything == pytest.approx({"success": 75 * 20 / 21, "norm_precision": 75.0, "precision": 75.0})
    assert set(measure([BOX], [BOX], [False]).values()) == {0.0}


def draw(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes with every oddity: NaN, no size, a negative corner, none of it near, and overlaps at a threshold."""
    truth = np.column_stack([rng.uniform(-5, 200, (frames, 2)), rng.uniform(1, 90, (frames, 2))])
    truth = np.where(rng.random((frames, 1)) < 0.5, np.round(truth), truth)
    found = truth + rng.normal(0, rng.choice([0, 1, 10, 80], (frames, 1)), (frames, 4)) * [1, 1, 0.3, 0.3]
    found[:, 2:] = np.abs(found[:, 2:])
    whole = rng.random(frames) < 0.3  # of 10 x 10: the overlap with 6 of its columns is 0.6, a threshold
    truth[whole], found[whole] = [20, 30, 10, 10], [20, 30, 6, 10]
    odd = rng.random(frames)
    truth[odd < 0.1] = np.nan
    truth[(odd > 0.9), 2] = 0
    truth[(odd > 0.95)] = 0
    return truth, found


@pytest.mark.skipif(importlib.util.find_spec("mmtrack") is None, reason="MMTracking is not installed")
def test_as_mmtracking_counts() -> None:
    from mec_transfer.tracking.mmtrack import engine

    engine.load()
    from mmtrack.core.evaluation import eval_sot_ope

    rng = np.random.default_rng(3)
    for visibility in (None, 0.0, 0.7, 1.0):
        pairs = [draw(rng, int(rng.integers(1, 60))) for _ in range(40)]
        seen = None if visibility is None else [rng.random(len(truth)) < visibility for truth, _ in pairs]
        truths, found = ([_corners(boxes) for boxes in column] for column in zip(*pairs, strict=True))
        theirs = eval_sot_ope([list(boxes) for boxes in found], truths, seen)
        rows = [measure_boxes(*pair, None if seen is None else seen[k]) for k, pair in enumerate(pairs)]
        assert {name: np.mean([row[name] for row in rows]) for name in METRICS} == pytest.approx(theirs, abs=1e-12)


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
