"""The fast pipeline: the reference's draws and crops, torchvision's operations, and nearly the reference's pixels."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torchvision.transforms.v2 import functional

from mec_transfer.backbone.backbone import Preprocessing
from mec_transfer.datasets.pixels import normalise
from pretrain import fast_views
from pretrain.config import PretrainConfig, ViewsConfig
from pretrain.data import EpochBatches, TwoViews, load_epoch, make_loader
from pretrain.fast_views import Uncoloured, apply_colour, cut_view, to_input
from pretrain.trainer import Trainer
from pretrain.views import View, apply_view, draw_view
from tests.pretrain.test_views import images  # noqa: F401  (a fixture)

CPU = torch.device("cpu")
FACTORS = torch.tensor([0.6, 1.0, 1.35])


def batch(n=3, size=20):
    """Random pixels, with greys, blacks and whites among them, where a hue is undefined."""
    x = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1)) * 255
    x[:, :, :3] = x[:, :1, :3]
    x[:, :, 3], x[:, :, 4] = 0, 255
    return x


@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue"])
def test_jitter_is_torchvisions_image_by_image(name):
    factors = FACTORS - 1 if name == "adjust_hue" else FACTORS
    x = batch()
    expected = [getattr(functional, name)(image / 255, float(f)) * 255 for image, f in zip(x, factors)]
    assert_close(getattr(fast_views, name)(x.clone(), factors), torch.stack(expected), rtol=0, atol=2e-3)


def test_gray_and_solarize_are_torchvisions():
    x = batch()
    assert_close(fast_views.gray(x), functional.rgb_to_grayscale(x), rtol=1e-6, atol=1e-4)
    assert_close(fast_views.solarize(x), functional.solarize(x / 255, 127.5 / 255) * 255, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("blur", [fast_views.blur_each, functools.partial(fast_views.blur_together, reach=6)])
def test_blur_is_torchvisions_but_for_the_border(blur):
    x, sigmas = batch(size=40), torch.tensor([0.1, 0.9, 2.0])
    blurred = blur(x, sigmas)
    expected = torch.stack([functional.gaussian_blur(image, [13, 13], [float(s)] * 2) for image, s in zip(x, sigmas)])
    inside = (..., slice(6, -6), slice(6, -6))
    assert_close(blurred[inside], expected[inside], rtol=1e-4, atol=1e-2)
    flat = torch.full((1, 3, 10, 10), 77.0)
    assert_close(blur(flat, torch.tensor([1.5])), flat, rtol=1e-5, atol=0)  # the border repeats itself


def smooth_picture(seed):
    """Shapes of a photograph's kind: noise at a few scales."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(random.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize((120, 90), 3), float)
        for n in (4, 12, 40)
    ]
    return Image.fromarray((0.5 * layers[0] + 0.35 * layers[1] + 0.15 * layers[2]).astype(np.uint8))


def test_uncoloured_pixels_are_the_references_bit_for_bit():
    image, view = smooth_picture(0), View(box=(10, 5, 70, 60), flip=True)
    cut = cut_view(image, view, 64)
    assert cut.pixels.is_contiguous()
    assert torch.equal(cut.pixels, apply_view(image, view, 64))
    together = Uncoloured(cut.pixels[None], cut.colour[None])
    assert torch.equal(apply_colour(together, CPU), apply_view(image, view, 64)[None].float())
    x = to_input(together, Preprocessing(), CPU)
    assert torch.equal(x, to_input(apply_view(image, view, 64)[None], Preprocessing(), CPU))


def test_pixels_are_the_references_within_a_level_or_so():
    config, random = ViewsConfig(size=64), np.random.default_rng(0)
    differences = []
    for i in range(30):
        image = smooth_picture(i)
        view = draw_view(random, config, 0, image.size)
        cut = cut_view(image, view, 64)
        ours = apply_colour(Uncoloured(cut.pixels[None], cut.colour[None]), CPU)[0]
        differences.append(float((ours - apply_view(image, view, 64)).abs().mean()))
    assert np.median(differences) < 2
    assert max(differences) < 4  # Pillow keeps 256 hues


def test_each_image_of_a_batch_is_coloured_by_its_own_row():
    config, random = ViewsConfig(size=32), np.random.default_rng(3)
    pictures = [smooth_picture(i) for i in range(40)]
    views = [draw_view(random, config, 1, image.size) for image in pictures]
    kinds = {(len(view.jitter), view.gray, view.blur_sigma is None, view.solarize) for view in views}
    assert len(kinds) > 6
    cuts = [cut_view(image, view, 32) for image, view in zip(pictures, views)]
    whole = Uncoloured(torch.stack([cut.pixels for cut in cuts]), torch.stack([cut.colour for cut in cuts]))
    alone = [apply_colour(Uncoloured(cut.pixels[None], cut.colour[None]), CPU) for cut in cuts]
    assert_close(apply_colour(whole, CPU), torch.cat(alone), rtol=0, atol=1e-3)
    parts = [apply_colour(part, CPU) for part in whole.split(20)]
    assert_close(torch.cat(parts), apply_colour(whole, CPU), rtol=0, atol=1e-3)


def test_loading_draws_the_same_for_both_pipelines_and_any_number_of_workers(images):  # noqa: F811
    def load(pipeline, workers):
        batches = EpochBatches(len(images), 4, seed=0)
        quiet = {"jitter_probability": 0, "gray_probability": 0, "blur_probability": (0, 0)}
        config = ViewsConfig(size=16, solarize_probability=(0, 0), pipeline=pipeline, **quiet)
        loader = make_loader(TwoViews(images, config, seed=0), batches, workers, pin_memory=False)
        return [pair for epoch in (0, 1) for pair in load_epoch(loader, batches, epoch)]

    reference = load("pil", 0)
    for workers in (0, 2):
        for expected, found in zip(reference, load("fast", workers), strict=True):
            for final, uncoloured in zip(expected, found, strict=True):
                assert isinstance(uncoloured, Uncoloured)
                assert torch.equal(final, uncoloured.pixels)


@pytest.mark.parametrize("chunk", [None, 4])
def test_the_trainer_takes_uncoloured_batches(chunk):
    config = PretrainConfig.model_validate(
        {"arch": "resnet18", "dim": 16, "pred_dim": 8, "views": {"size": 32}, "batch_size": 8, "chunk_size": chunk}
    )
    random = np.random.default_rng(0)
    cuts = [
        [cut_view(smooth_picture(i), draw_view(random, config.views, number, (120, 90)), 32) for i in range(8)]
        for number in (0, 1)
    ]
    first, second = (Uncoloured(*(torch.stack(part) for part in zip(*cut))) for cut in cuts)
    trainers = [Trainer(config, 4, CPU, seed=0) for _ in range(2)]
    coloured = [apply_colour(view, CPU) for view in (first, second)]
    losses = [trainers[0].step(first, second).loss, trainers[1].step(*coloured).loss]
    assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-4)
    assert normalise(first.pixels, config.preprocessing).std() > 0.1


def test_a_view_of_nothing_but_its_crop_costs_no_operation(monkeypatch):
    """Each operation is skipped where no image of the part wants it."""
    called = []
    for name in ("gray", "blur_each", "solarize"):
        monkeypatch.setattr(fast_views, name, lambda *args, name=name: called.append(name) or args[0])
    view = View(box=(0, 0, 20, 20))
    plain = cut_view(smooth_picture(0), view, 16)
    solar = cut_view(smooth_picture(0), dataclasses.replace(view, solarize=True), 16)
    apply_colour(Uncoloured(plain.pixels[None], plain.colour[None]), CPU)
    assert called == []
    apply_colour(Uncoloured(solar.pixels[None], solar.colour[None]), CPU)
    assert called == ["solarize"]
