"""Hand-computed success, precision and normalised precision."""

from __future__ import annotations

import numpy as np
import pytest

from mec_transfer.tracking.sot.otb_metrics import measure_boxes

BOX = (11.0, 21.0, 40.0, 20.0)


def moved(x: float = 0, y: float = 0, w: float = 0, h: float = 0) -> tuple[float, ...]:
    return tuple(value + change for value, change in zip(BOX, (x, y, w, h), strict=True))


def measure(truth: list, found: list) -> dict[str, float]:
    return measure_boxes(np.array(truth, dtype=float), np.array(found, dtype=float))


def test_a_perfect_track_misses_the_last_threshold_only() -> None:
    assert measure([BOX, BOX], [BOX, BOX]) == pytest.approx(
        {"AUC": 100 * 20 / 21, "precision": 100, "norm_precision": 100}
    )


def test_four_frames_by_hand() -> None:
    found = [
        BOX,  # IoU 1: exceeds 0, 0.05 ... 0.95, twenty thresholds; no distance
        moved(
            x=20
        ),  # 20 of 40 wide shared: IoU 1/3, exceeds 0 ... 0.3, seven; 20 pixels, half a width: 0.5 just reached
        moved(x=20, y=5),  # 20 x 15 shared of 1600 - 300: IoU 3/13 = 0.23, five; 20.6 pixels; sqrt(1/4 + 1/16) = 0.559
        moved(x=40),  # side by side: none; 40 pixels, one width
    ]
    metrics = measure([BOX] * 4, found)
    assert metrics["AUC"] == pytest.approx(100 * (20 + 7 + 5 + 0) / 21 / 4)
    assert metrics["precision"] == pytest.approx(100 * 2 / 4)
    # The share of frames is 1/4 up to the threshold 0.475 and 2/4 at 0.5: twenty trapezia, the last one half higher.
    assert metrics["norm_precision"] == pytest.approx(100 * (19 * 1 / 4 + (1 / 4 + 2 / 4) / 2) / 20)


def test_an_overlap_must_exceed_its_threshold() -> None:
    # Half of the box: IoU is 0.5 in binary too, and the threshold 0.5 is not exceeded.
    assert measure([BOX], [moved(w=-20)])["AUC"] == pytest.approx(100 * 10 / 21)


def test_distance_is_of_centres_and_twenty_pixels_are_within() -> None:
    grown = moved(w=24, h=32)  # its centre 12 right and 16 down: 20 pixels
    assert measure([BOX], [grown])["precision"] == 100
    assert measure([BOX], [moved(w=24, h=32.1)])["precision"] == 0


@pytest.mark.parametrize("absent", [(0, 0, 0, 0), (np.nan,) * 4])
def test_where_the_target_is_not_there_success_is_missed_and_precision_hit(absent: tuple) -> None:
    metrics = measure([BOX, absent], [BOX, BOX])
    assert metrics["AUC"] == pytest.approx(100 * 20 / 21 / 2)
    assert metrics["precision"] == metrics["norm_precision"] == 100


def test_a_box_over_the_left_border_counts_as_missed_by_success_alone() -> None:
    over = (-3.0, 21.0, 40.0, 20.0)
    metrics = measure([over], [over])
    assert metrics["AUC"] == 0 and metrics["precision"] == 100
    assert measure([over], [moved(x=30)])["precision"] == 0  # its centre is in the image: a distance is measured
