"""Two views: what is drawn, how it is applied, and that nothing but (seed, epoch, image) decides."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import functional

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.image_list import ImageList
from pretrain.config import ViewsConfig
from pretrain.data import EpochBatches, TwoViews, load_epoch, make_loader
from pretrain.views import View, apply_view, draw_view

PUBLISHED = ViewsConfig()


def picture(width=50, height=40, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def images(tmp_path):
    for i in range(12):
        picture(seed=i).save(tmp_path / f"{i:02d}.png")
    paths = tuple(f"{i:02d}.png" for i in range(12))
    return ImageList(tmp_path, paths, np.full(12, -1, dtype=np.int64), ())


@pytest.mark.parametrize("number", [0, 1])
def test_distribution_of_what_is_drawn(number):
    random = np.random.default_rng(0)
    count = 4000
    views = [draw_view(random, PUBLISHED, number, (300, 200)) for _ in range(count)]

    def share(happened):
        return pytest.approx(sum(happened) / count, abs=0.03)

    assert share(bool(view.jitter) for view in views) == 0.8
    assert share(view.gray for view in views) == 0.2
    assert share(view.blur_sigma is not None for view in views) == (1.0, 0.1)[number]
    assert share(view.solarize for view in views) == (0.0, 0.2)[number]
    assert share(view.flip for view in views) == 0.5

    factors = {which: [factor for view in views for w, factor in view.jitter if w == which] for which in range(4)}
    for which, (low, high) in enumerate([(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]):
        assert low <= min(factors[which]) < low + 0.02 and high - 0.02 < max(factors[which]) <= high
        assert np.mean(factors[which]) == pytest.approx((low + high) / 2, abs=0.02)
    firsts = [view.jitter[0][0] for view in views if view.jitter]
    assert np.bincount(firsts) / len(firsts) == pytest.approx([0.25] * 4, abs=0.03)
    sigmas = [view.blur_sigma for view in views if view.blur_sigma is not None]
    assert 0.1 <= min(sigmas) < 0.2 and 1.9 < max(sigmas) <= 2.0

    boxes = np.array([view.box for view in views])
    left, top, width, height = boxes.T
    assert (left >= 0).all() and (top >= 0).all() and (left + width <= 300).all() and (top + height <= 200).all()
    area, aspect = width * height / 60_000, width / height
    assert 0.195 < area.min() < 0.23 and 0.86 < area.max() < 0.9  # an aspect of 4:3 at most leaves some of 3:2 out
    assert 0.74 < aspect.min() < 0.77 and 1.30 < aspect.max() < 1.35
    assert abs(np.mean(left / np.maximum(300 - width, 1)) - 0.5) < 0.03


def test_a_narrow_image_gets_the_largest_central_crop_that_the_aspect_allows():
    random = np.random.default_rng(0)
    assert draw_view(random, PUBLISHED, 0, (10, 100)).box == (0, 43, 10, 13)
    assert draw_view(random, PUBLISHED, 0, (100, 10)).box == (43, 0, 13, 10)


def test_pixels_of_each_operation():
    image = picture()
    crop = functional.resized_crop(image, 3, 5, 20, 30, [16, 16], functional.InterpolationMode.BILINEAR)

    def check(expected, **what):
        pixels = apply_view(image, View(box=(5, 3, 30, 20), **what), 16)
        assert pixels.dtype == torch.uint8 and pixels.shape == (3, 16, 16)
        assert torch.equal(pixels, functional.pil_to_tensor(expected))

    check(crop)
    check(crop.convert("L").convert("RGB"), gray=True)
    check(crop.filter(ImageFilter.GaussianBlur(1.3)), blur_sigma=1.3)
    check(ImageOps.solarize(crop, 128), solarize=True)
    check(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT), flip=True)
    jittered = functional.adjust_brightness(functional.adjust_hue(crop, -0.07), 1.2)
    jittered = functional.adjust_contrast(functional.adjust_saturation(jittered, 0.9), 0.7)
    check(jittered, jitter=((3, -0.07), (0, 1.2), (2, 0.9), (1, 0.7)))
    check(ImageOps.solarize(crop.filter(ImageFilter.GaussianBlur(0.5))), blur_sigma=0.5, solarize=True)


def test_a_view_depends_on_seed_epoch_and_image_alone(images):
    config = ViewsConfig(size=16)
    dataset = TwoViews(images, config, seed=0)
    first = dataset[(2, 5)]
    dataset[(3, 1)]
    assert all(map(torch.equal, dataset[(2, 5)], first))
    assert not torch.equal(*first)
    for other in (dataset[(3, 5)], TwoViews(images, config, seed=1)[(2, 5)]):
        assert not torch.equal(other[0], first[0])


def test_number_of_workers_changes_nothing(images):
    def load(workers):
        batches = EpochBatches(len(images), 4, seed=0)
        loader = make_loader(TwoViews(images, ViewsConfig(size=16), seed=0), batches, workers, pin_memory=False)
        return [torch.stack(list(pair)) for epoch in (0, 1) for pair in load_epoch(loader, batches, epoch)]

    alone, shared = load(0), load(2)
    assert len(alone) == len(shared) == 6
    assert all(map(torch.equal, alone, shared))
    assert not torch.equal(alone[0], alone[3])


def test_batches_are_whole_shuffled_and_split_over_processes():
    def batches_of(rank, world):
        sampler = EpochBatches(11, 4, seed=5, rank=rank, world_size=world)
        sampler.epoch = 3
        assert len(sampler) == 2
        return list(sampler)

    whole = batches_of(0, 1)
    drawn = [index for batch in whole for epoch, index in batch if epoch == 3]
    assert len(drawn) == len(set(drawn)) == 8 and drawn != sorted(drawn)
    assert [first + second for first, second in zip(batches_of(0, 2), batches_of(1, 2), strict=True)] == whole


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_in_one_line(images, workers):
    (images.root / "03.png").write_bytes(b"no image")
    batches = EpochBatches(len(images), 4, seed=0)
    loader = make_loader(TwoViews(images, ViewsConfig(size=16), seed=0), batches, workers, pin_memory=False)
    with pytest.raises(DataError) as error:
        list(load_epoch(loader, batches, 0))
    assert str(error.value).startswith(str(images.root / "03.png")) and "\n" not in str(error.value)
