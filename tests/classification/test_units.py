"""Metrics on draws of images, against the metrics themselves on images that are written out as often as drawn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mec_transfer.classification import logistic, svm_low_shot
from mec_transfer.classification.multilabel import measure_scores
from mec_transfer.classification.units import logistic_units, low_shot_units, svm_units
from mec_transfer.common.arrays import PREDICTIONS_NAME, Arrays, save_arrays
from mec_transfer.common.errors import UserError
from mec_transfer.units import Units

N, CLASSES = 40, 4
NAMES = np.array(["cat", "dog", "cow", "owl"])
IMAGES = np.array([f"{number}.jpg" for number in range(N)])


def one_class(guesses: int) -> Arrays:
    rng = np.random.default_rng(guesses)
    targets, top = rng.integers(0, 7, N), rng.permuted(np.tile(np.arange(7), (N, 1)), axis=1)[:, :guesses]
    return {"targets": targets, "top": top, "classes": np.arange(7).astype(str)}


def several(ties: bool, difficult: bool) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores that know something of them; with `ties` few different scores."""
    rng = np.random.default_rng(3)
    labels = (rng.random((N, CLASSES)) < 0.3).astype(np.int8)
    scores = labels + rng.normal(size=(N, CLASSES))
    if difficult:
        labels[rng.random((N, CLASSES)) < 0.1] = -1
    return labels, np.round(scores) if ties else scores


def drawn(saved: Arrays, count: np.ndarray, along: dict[str, int]) -> Arrays:
    return {
        name: np.repeat(array, count, axis=along[name]) if name in along else array for name, array in saved.items()
    }


def compare(
    folder: Path, saved: Arrays, along: dict[str, int], units: Callable[[Path], Units], measure: Callable[..., object]
) -> Units:
    """Compare every metric on 50 draws; a class that a draw has nothing of is left out, which `measure` is not."""
    save_arrays(folder / PREDICTIONS_NAME, **saved)
    found, rng = units(folder), np.random.default_rng(0)
    assert found.count == N
    whole = measure(saved)
    assert isinstance(whole, dict)
    for metric, value in whole.items():
        assert found.measure(metric, np.ones((N, 1), np.int32))[0] == pytest.approx(value, abs=1e-9)
    counts = rng.multinomial(N, np.full(N, 1 / N), 50).T.astype(np.int32)
    for metric in whole:
        expected = [measure(drawn(saved, count, along))[metric] for count in counts.T]  # type: ignore[index]
        np.testing.assert_allclose(found.measure(metric, counts), expected, atol=1e-9)
    with pytest.raises(KeyError):
        found.measure("AUC", counts)
    return found


@pytest.mark.parametrize("guesses", [1, 5])
def test_one_class_an_image(tmp_path: Path, guesses: int) -> None:
    compare(tmp_path, one_class(guesses), {"targets": 0, "top": 0}, logistic_units, logistic.measure)


@pytest.mark.parametrize("ties", [False, True])
def test_eleven_points(tmp_path: Path, ties: bool) -> None:
    labels, scores = several(ties, difficult=False)
    saved = {"targets": labels == 1, "scores": scores, "classes": NAMES}
    compare(tmp_path, saved, {"targets": 0, "scores": 0}, logistic_units, logistic.measure)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("difficult", [False, True])
def test_area(tmp_path: Path, ties: bool, difficult: bool) -> None:
    labels, scores = several(ties, difficult)
    saved = {"labels": labels, "scores": scores, "classes": NAMES, "images": IMAGES}
    compare(tmp_path, saved, {"labels": 0, "scores": 0, "images": 0}, svm_units, measure_scores)


def test_low_shot(tmp_path: Path) -> None:
    labels, scores = several(ties=False, difficult=True)
    noise = np.random.default_rng(5).normal(size=(2, 3, N, CLASSES))
    saved = {"labels": labels, "scores": scores + noise, "ks": np.array([1, 8]), "images": IMAGES, "classes": NAMES}
    compare(tmp_path, saved, {"labels": 0, "scores": 2, "images": 0}, low_shot_units, svm_low_shot._measure)


@pytest.mark.parametrize("kind", ["eleven points", "area"])
def test_a_class_that_a_draw_lacks_is_left_out_of_its_mean(tmp_path: Path, kind: str) -> None:
    labels, scores = several(ties=False, difficult=False)
    labels[:, 0] = np.arange(N) == 7
    truth = {"targets": labels == 1} if kind == "eleven points" else {"labels": labels, "images": IMAGES}
    save_arrays(tmp_path / PREDICTIONS_NAME, **truth, scores=scores, classes=NAMES)
    units, name = (logistic_units, "AP11") if kind == "eleven points" else (svm_units, "AP")
    counts = np.ones((N, 2), np.int32)
    counts[7, 1] = 0
    found = units(tmp_path)
    assert np.isnan(found.measure(f"{name}/cat", counts)).tolist() == [False, True]
    others = [found.measure(f"{name}/{label}", counts)[1] for label in ("dog", "cow", "owl")]
    assert found.measure(f"m{name}", counts)[1] == pytest.approx(np.mean(others))


def test_units_tell_other_images_and_other_truth_apart(tmp_path: Path) -> None:
    labels, scores = several(ties=False, difficult=False)
    truths = set()
    for number, (own, images) in enumerate(((labels, IMAGES), (1 - labels, IMAGES), (labels, IMAGES[::-1]))):
        save_arrays(tmp_path / f"{number}/{PREDICTIONS_NAME}", labels=own, scores=scores, classes=NAMES, images=images)
        truths.add(svm_units(tmp_path / str(number)).truth)
    assert len(truths) == 3


@pytest.mark.parametrize("units", [logistic_units, svm_units, low_shot_units])
def test_damaged_predictions_are_told(tmp_path: Path, units: Callable[[Path], Units]) -> None:
    with pytest.raises(UserError, match="no such file"):
        units(tmp_path)
    (tmp_path / PREDICTIONS_NAME).write_bytes(b"PK")
    with pytest.raises(UserError, match="not readable as predictions"):
        units(tmp_path)


def test_units_take_no_torch() -> None:
    code = "import sys, mec_transfer.classification.units; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
