from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mec_transfer.datasets.rle import first_overlap, mask_runs, mask_text, runs_box

MASKS = [np.random.default_rng(seed).random((23, 17)) < share for seed, share in enumerate((0.02, 0.3, 0.9, 1.0))]


def encode(mask: np.ndarray) -> str:
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode()


@pytest.mark.parametrize("mask", [*MASKS, np.zeros((1, 1)), np.eye(300, dtype=bool)])
def test_runs_and_box_are_those_of_the_pixels(mask: np.ndarray) -> None:
    height, width = mask.shape
    runs = mask_runs(encode(mask), height, width)
    pixels = np.zeros(height * width, dtype=bool)
    for start, end in runs:
        assert not pixels[start:end].any()
        pixels[start:end] = True
    np.testing.assert_array_equal(pixels.reshape(width, height).T, mask)
    if mask.any():
        rows, columns = np.nonzero(mask)
        assert runs_box(runs, height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize(
    "mask", [*MASKS, ~MASKS[1], np.zeros((1, 1), bool), np.ones((1, 1), bool), np.eye(300, dtype=bool)]
)
def test_the_text_is_pycocotools(mask: np.ndarray) -> None:
    assert mask_text(mask) == encode(mask)
    assert mask_text(mask.astype(np.uint8)) == encode(mask)


def test_one_run_over_a_column_border_has_the_box_of_both_columns() -> None:
    mask = np.zeros((5, 4), dtype=bool)
    mask[3:, 1], mask[:2, 2] = True, True
    runs = mask_runs(encode(mask), 5, 4)
    assert runs.tolist() == [[8, 12]]
    assert runs_box(runs, 5) == (1, 0, 3, 5)


@pytest.mark.parametrize("counts", ["", "p" * 3, "!" * 3, "o" * 9 + "0", "ä", "5", "9o", encode(MASKS[0])[:-1]])
def test_damaged_text_is_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="malformed RLE"):
        mask_runs(counts, 23, 17)


def test_text_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="do not add up to 24 x 17"):
        mask_runs(encode(MASKS[1]), 24, 17)


def test_overlap_names_the_two_masks() -> None:
    masks = np.zeros((3, 6, 6), dtype=bool)
    masks[0, :3], masks[1, 3:], masks[2, 5, 5] = True, True, True
    runs = [mask_runs(encode(mask), 6, 6) for mask in masks]
    assert first_overlap(runs) == (1, 2)
    assert first_overlap(runs[:2]) is None
    assert first_overlap([]) is None
