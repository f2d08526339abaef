"""Counts of pixels: metrics by written-out fractions, draws of images, and what a damaged file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mec_transfer.common.errors import UserError
from mec_transfer.segmentation.counts import Counts, SegmentUnits, confusion_matrix, image_units, read_counts

CLASSES = ("ground", "cat", "dog", "unicorn")


def counts(images: int = 5, seed: int = 0) -> Counts:
    chance = np.random.default_rng(seed)
    matrices = []
    for _ in range(images):
        truth, found = chance.integers(3, size=(2, 6, 7)).astype(np.uint8)
        truth[chance.random(truth.shape) < 0.2] = 255
        matrices.append(confusion_matrix(truth, found, len(CLASSES)))
    return Counts.of([f"{number}.jpg" for number in range(images)], CLASSES, matrices)


def test_a_confusion_matrix_counts_pixel_by_pixel() -> None:
    chance = np.random.default_rng(3)
    truth, found = chance.integers(4, size=(2, 9, 11)).astype(np.uint8)
    truth[0] = 255
    expected = np.zeros((4, 4), dtype=int)
    for row in range(1, 9):
        for column in range(11):
            expected[truth[row, column], found[row, column]] += 1
    assert np.array_equal(confusion_matrix(truth, found, 4), expected)


def test_metrics_are_the_fractions_that_they_are() -> None:
    """Two images: class 1 is half found, class 2 is in no mask but predicted once, class 3 does not occur at all."""
    first, second = (
        confusion_matrix(np.array([truth], dtype=np.uint8), np.array([found], dtype=np.uint8), 4)
        for truth, found in (([0, 0, 1, 1, 255], [0, 0, 1, 0, 3]), ([0, 1, 1, 0], [0, 1, 0, 2]))
    )
    found = Counts.of(["a", "b"], CLASSES, [first, second]).metrics()
    iou = {"IoU/ground": 100 * 3 / 6, "IoU/cat": 100 * 2 / 4, "IoU/dog": 0.0}
    wanted = {"mIoU": 100 * (3 / 6 + 2 / 4 + 0) / 3, "mAcc": 100 * (3 / 4 + 2 / 4) / 2, "aAcc": 100 * 5 / 8, **iou}
    assert found == pytest.approx(wanted)
    assert Counts.of(["a", "b"], CLASSES, [first, second]).image_scores() == pytest.approx(
        [100 * (2 / 3 + 1 / 2) / 2, 100 * (1 / 3 + 1 / 2 + 0) / 3]
    )


def test_shares_of_processes_are_put_together_in_the_images_order() -> None:
    chance = np.random.default_rng(1)
    matrices, names = chance.integers(9, size=(7, 4, 4)), [f"{number}" for number in range(7)]
    shares = [Counts.of(names[rank::3], CLASSES, matrices[rank::3]) for rank in range(3)]
    joined, whole = Counts.join(shares), Counts.of(names, CLASSES, matrices)
    assert joined.names == whole.names
    for name in ("intersection", "predicted", "truth", "confusion"):
        assert np.array_equal(getattr(joined, name), getattr(whole, name))


def test_every_image_once_gives_the_records_numbers_and_a_draw_those_of_its_images(tmp_path: Path) -> None:
    every = counts()
    every.save(tmp_path)
    units = image_units(tmp_path)
    assert (units.kind, units.count) == ("images", 5)
    ones = np.ones((5, 1), dtype=np.int32)
    for name, value in every.metrics().items():
        assert units.measure(name, ones) == pytest.approx([value])
    assert np.isnan(units.measure("IoU/unicorn", ones)).all()
    with pytest.raises(KeyError):
        units.measure("IoU/horse", ones)
    draws = np.array([[2, 0], [0, 0], [1, 0], [0, 3], [2, 0]], dtype=np.int32)
    for column in range(2):
        chosen = [at for at in range(5) for _ in range(draws[at, column])]
        drawn = Counts(
            names=tuple(map(str, chosen)),
            classes=CLASSES,
            confusion=every.confusion,
            **{name: getattr(every, name)[chosen] for name in ("intersection", "predicted", "truth")},
        )
        for name, value in drawn.metrics().items():
            assert units.measure(name, draws)[column] == pytest.approx(value)


def test_units_are_the_same_for_the_same_truth_alone(tmp_path: Path) -> None:
    one, other = counts(), counts(seed=1)
    same_truth = Counts(
        names=one.names, classes=one.classes, intersection=0 * one.intersection, predicted=one.truth[:, ::-1],
        truth=one.truth, confusion=np.zeros_like(one.confusion),
    )  # fmt: skip
    truths = []
    for number, saved in enumerate((one, other)):
        saved.save(tmp_path / str(number))
        truths.append(image_units(tmp_path / str(number)).truth)
    assert truths[0] != truths[1]
    assert SegmentUnits(same_truth).truth == truths[0]


def test_damaged_counts_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_counts(tmp_path)
    every = counts()
    every.confusion[0, 0] += 1
    every.save(tmp_path)
    with pytest.raises(UserError, match="'intersection' and the confusion matrix do not have the same sums"):
        read_counts(tmp_path)
    wrong = counts()
    Counts(
        names=wrong.names[:-1], classes=CLASSES, intersection=wrong.intersection, predicted=wrong.predicted,
        truth=wrong.truth, confusion=wrong.confusion,
    ).save(tmp_path)  # fmt: skip
    with pytest.raises(UserError, match=r"'intersection' is int64 of shape \(5, 4\), not whole numbers \(4, 4\)"):
        read_counts(tmp_path)
