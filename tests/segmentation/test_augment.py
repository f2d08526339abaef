"""Resizing, cropping and colours: against OpenCV where there is its formula, and against slow code."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mec_transfer.segmentation.augment import (
    augment,
    distort,
    fitted_size,
    from_hsv,
    resize_image,
    resize_labels,
    to_hsv,
)
from mec_transfer.segmentation.config import AugmentationConfig
from tests.datasets.segments.drawn import VOID, labels, picture


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "scale", "fitted"),
    [
        ((2048, 1024), (2049, 1025), (2049, 1025)),  # Cityscapes
        ((500, 375), (2049, 513), (684, 513)),  # VOC: the short side decides
        ((375, 500), (2049, 513), (513, 684)),
        ((3000, 300), (2048, 512), (2048, 205)),  # the long one does
    ],
)
def test_an_image_fits_its_frame(size: tuple[int, int], scale: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fitted_size(*size, scale) == fitted


@pytest.mark.parametrize("size", [(31, 45), (90, 64), (37, 52)])
def test_resizing_is_opencvs_to_the_last_bit_of_eight(size: tuple[int, int]) -> None:
    width, height = size
    pixels, mask = noise((37, 52, 3)), noise((37, 52))
    theirs = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).astype(int)
    assert abs(resize_image(pixels, width, height).astype(int) - theirs).max() <= 1
    part = resize_image(pixels, width, height, 7, 9, 30)
    assert np.array_equal(part, resize_image(pixels, width, height)[7:37, 9:39])
    assert np.array_equal(resize_labels(mask, width, height), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))


def test_colours_go_to_opencvs_hue_and_back() -> None:
    pixels = noise((60, 80, 3))
    pixels[0], pixels[1, :, 1:] = pixels[0, :, :1], 0  # greys, and pure red
    theirs = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV).astype(int)
    difference = abs(to_hsv(pixels).astype(int) - theirs)
    assert np.minimum(difference[..., 0], 180 - difference[..., 0]).max() <= 1 and difference[..., 1:].max() <= 1
    hsv = to_hsv(pixels)
    back = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(int)
    assert abs(from_hsv(hsv).astype(int) - back).max() <= 2


def test_distortion_changes_colours_by_draws_of_its_own() -> None:
    pixels = noise((20, 20, 3))
    found = [distort(pixels, np.random.default_rng(seed)) for seed in range(100)]
    assert all(np.array_equal(one, distort(pixels, np.random.default_rng(seed))) for seed, one in enumerate(found))
    changed = [not np.array_equal(one, pixels) for one in found]
    assert 85 <= sum(changed) < 100  # of 1 in 16 no coin falls on its side
    assert all(one.dtype == np.uint8 and one.shape == pixels.shape for one in found)


def test_a_crop_is_a_part_of_the_image_and_its_mask_and_smaller_ones_are_padded() -> None:
    mask = labels(4, (60, 40))
    image = np.asarray(picture(mask, 4))
    config = AugmentationConfig(crop=50, ratio=(1.0, 1.0))
    sides = set()
    for seed in range(12):
        pixels, found, size = augment(image, mask, (60, 40), config, np.random.default_rng(seed))
        assert pixels.shape == (50, 50, 3) and found.shape == (50, 50) and size == (40, 50)
        assert (found[40:] == VOID).all() and not pixels[40:].any()
        plain, turned = (
            [left for left in range(11) if np.array_equal(found[:40], whole[:, left : left + 50])]
            for whole in (mask, mask[:, ::-1])
        )
        (left,) = plain or turned
        source = image if plain else image[:, ::-1]
        assert np.array_equal(pixels[:40], source[:, left : left + 50])
        sides.add((bool(plain), left))
    assert len(sides) > 6 and {flipped for flipped, _ in sides} == {True, False}


def test_scales_are_drawn_from_their_whole_range() -> None:
    mask = np.zeros((40, 40), dtype=np.uint8)
    image, config = noise((40, 40, 3)), AugmentationConfig(crop=90)
    sizes = {augment(image, mask, (40, 40), config, np.random.default_rng(seed))[2][0] for seed in range(200)}
    assert min(sizes) <= 21 and max(sizes) >= 78 and all(20 <= size <= 80 for size in sizes)


def test_a_crop_of_one_class_alone_is_drawn_again() -> None:
    mask = np.zeros((32, 64), dtype=np.uint8)
    mask[:, 48:] = 1
    mask[:, :4] = VOID
    image = noise((32, 64, 3))
    shares = {}
    for limit in (1.0, 0.75):
        config, both = AugmentationConfig(crop=16, ratio=(1.0, 1.0), most_of_one_class=limit), 0
        for seed in range(100):
            _, found, _ = augment(image, mask, (64, 32), config, np.random.default_rng(seed))
            pixels = np.bincount(found.ravel(), minlength=256)[:255]
            both += bool((pixels > 0).sum() > 1 and pixels.max() < 0.75 * pixels.sum())
        shares[limit] = both
    assert shares[1.0] < 35 and shares[0.75] > 80  # a seventh of the places is good; ten draws find one mostly
