from __future__ import annotations

import numpy as np
import pytest

from mec_transfer.tracking.vos.davis_metrics import contour_accuracy, mean_recall_decay, region_similarity


def square(row: int, column: int, side: int, size: tuple[int, int] = (100, 100)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[row : row + side, column : column + side] = True
    return mask


def test_region_similarity_by_hand() -> None:
    assert region_similarity(square(10, 10, 4), square(10, 11, 4)) == 12 / 20
    nothing = np.zeros((100, 100), dtype=bool)
    assert region_similarity(nothing, nothing) == 1
    assert region_similarity(nothing, square(0, 0, 3)) == region_similarity(square(0, 0, 3), nothing) == 0


def test_contour_accuracy_by_hand() -> None:
    """In 100 x 100 pixels a contour may be ceil(0.008 x 141.4) = 2 pixels off."""
    one = square(50, 50, 1)  # its contour is 4 pixels: the one itself and those above, left and both
    assert contour_accuracy(one, one) == 1
    assert contour_accuracy(one, square(50, 52, 1)) == 1
    assert contour_accuracy(one, square(50, 53, 1)) == 0.5  # of the columns 49, 50 only 50 is 2 from 52
    assert contour_accuracy(one, square(51, 53, 1)) == 0.25  # one of the four pairs of rows and columns
    assert contour_accuracy(one, square(50, 54, 1)) == 0
    nothing = np.zeros((100, 100), dtype=bool)
    assert contour_accuracy(nothing, nothing) == 1
    assert contour_accuracy(nothing, one) == contour_accuracy(one, nothing) == 0
    assert contour_accuracy(~nothing, one) == 0  # touching all edges is to have no contour
    # Precise but not recalled: precision 1, recall 4 of 8.
    assert contour_accuracy(one | square(10, 10, 1), one) == pytest.approx(2 * 0.5 / 1.5)


def test_statistics_by_hand() -> None:
    """Eight frames: quarters end at frames 3, 5, 6 and 8, and share them."""
    mean, recall, decay = mean_recall_decay([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    assert mean == pytest.approx(0.65)
    assert recall == 5 / 8  # 0.5 itself is not above
    assert decay == pytest.approx((1 + 0.9 + 0.8) / 3 - (0.5 + 0.4 + 0.3) / 3)
    assert mean_recall_decay([0.75]) == (0.75, 1, 0)


def contour_slowly(mask: np.ndarray) -> set[tuple[int, int]]:
    rows, columns = mask.shape
    found = set()
    for row in range(rows):
        for column in range(columns):
            others = [(row, column + 1), (row + 1, column), (row + 1, column + 1)]
            inside = [mask[other] for other in others if other[0] < rows and other[1] < columns]
            if any(value != mask[row, column] for value in inside):
                found.add((row, column))
    return found


def accuracy_slowly(truth: np.ndarray, found: np.ndarray) -> float:
    radius = int(np.ceil(0.008 * np.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)))
    true, other = contour_slowly(truth), contour_slowly(found)
    if not true or not other:
        return float(true == other)

    def share(ones: set[tuple[int, int]], others: set[tuple[int, int]]) -> float:
        hits = [any((a - c) ** 2 + (b - d) ** 2 <= radius**2 for c, d in others) for a, b in ones]
        return sum(hits) / len(hits)

    precision, recall = share(other, true), share(true, other)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def blobs(generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    coarse = generator.random((size[0] // 7 + 1, size[1] // 7 + 1)) > 0.7
    return np.kron(coarse, np.ones((7, 7), dtype=bool))[: size[0], : size[1]]


@pytest.mark.parametrize("size", [(40, 63), (40, 130), (1, 9)])
def test_contour_accuracy_is_the_slow_one_also_along_the_edges(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(size[1])
    for _ in range(3):
        truth, found = blobs(generator, size), blobs(generator, size)
        assert contour_accuracy(truth, found) == pytest.approx(accuracy_slowly(truth, found), abs=1e-12)


def test_a_video_scores_as_trackeval_scores_it() -> None:
    coder, metrics = pytest.importorskip("pycocotools.mask"), pytest.importorskip("trackeval.metrics")
    pytest.importorskip("skimage")
    generator = np.random.default_rng(0)
    truth = [blobs(generator, (45, 70)) for _ in range(9)]
    found = [mask ^ (blobs(generator, (45, 70)) & blobs(generator, (45, 70))) for mask in truth]

    def encoded(masks: list[np.ndarray]) -> list[list[dict[str, object]]]:
        return [[coder.encode(np.asfortranarray(mask.astype(np.uint8)))] for mask in masks]

    data = {"num_timesteps": 9, "num_tracker_ids": 1, "num_gt_ids": 1, "gt_ids": [[0]] * 9, "tracker_ids": [[0]] * 9}
    theirs = metrics.JAndF().eval_sequence({**data, "gt_dets": encoded(truth), "tracker_dets": encoded(found)})
    pairs = list(zip(truth, found, strict=True))
    for letter, measure in (("J", region_similarity), ("F", contour_accuracy)):
        ours = mean_recall_decay([measure(*pair) for pair in pairs])
        expected = [theirs[f"{letter}-{name}"] for name in ("Mean", "Recall", "Decay")]
        assert ours == pytest.approx(expected, abs=1e-12)
        assert 0.2 < ours[0] < 1
