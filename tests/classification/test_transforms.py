from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from mec_transfer.backbone.backbone import Preprocessing
from mec_transfer.classification.config import SquareViewConfig, ViewConfig, WholeViewConfig
from mec_transfer.classification.transforms import eval_transform, remark_on_size, train_transform
from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.pixels import normalise

IMAGENET = Preprocessing()


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(300, 411), (257, 256), (90, 61), (224, 500)])
def test_eval_view_is_torchvisions_bit_for_bit(interpolation: str, size: tuple[int, int]) -> None:
    image = picture(*size)
    expected = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode(interpolation)),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET.mean, IMAGENET.std),
        ]
    )(image)
    found = eval_transform(ViewConfig(resize=256, crop=224, interpolation=interpolation))(image)  # type: ignore[arg-type]
    assert found.dtype == torch.uint8 and found.shape == (3, 224, 224)
    assert torch.equal(normalise(found[None], IMAGENET)[0], expected)


@pytest.mark.parametrize("size", [(300, 400), (90, 500)])
def test_a_squeezed_view_is_torchvisions_two_resizes_bit_for_bit(size: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    theirs = transforms.Compose([transforms.Resize(256), transforms.Resize([224, 224]), transforms.PILToTensor()])
    ours = eval_transform(WholeViewConfig(resize=256, crop=224, squeeze=True))(image)
    assert torch.equal(ours, theirs(image))
    cropped = WholeViewConfig(resize=256, crop=224, squeeze=False)
    assert torch.equal(eval_transform(cropped)(image), eval_transform(ViewConfig(resize=256, crop=224))(image))


@pytest.mark.parametrize("size", [(300, 400), (90, 500), (64, 64), (1024, 1024)])
def test_a_square_view_is_torchvisions_resizes_bit_for_bit(size: tuple[int, int]) -> None:
    """As ssl-transfer's loaders have it, and that of X-rays before them."""
    image = picture(*size)
    theirs = transforms.Compose([transforms.Resize([257, 257]), transforms.CenterCrop(224), transforms.PILToTensor()])
    assert torch.equal(eval_transform(SquareViewConfig(resize=257, crop=224))(image), theirs(image))
    reduced = eval_transform(SquareViewConfig(resize=257, crop=224, reduce=256))(image)
    assert torch.equal(reduced, theirs(image.resize((256, 256))))  # Pillow's own choice is bicubic
    as_it_is = SquareViewConfig(resize=None, crop=32)
    assert torch.equal(eval_transform(as_it_is)(image), eval_transform(ViewConfig(resize=None, crop=32))(image))


def test_train_view_draws_and_gives_what_torchvision_does() -> None:
    published = transforms.Compose(
        [
            transforms.RandomResizedCrop(32),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET.mean, IMAGENET.std),
        ]
    )
    ours = train_transform(ViewConfig(resize=None, crop=32))
    flips = set()
    for seed in range(12):
        image = picture(50, 70, seed)
        torch.manual_seed(seed)
        expected = published(image)
        torch.manual_seed(seed)
        found = normalise(ours(image)[None], IMAGENET)[0]
        assert torch.equal(found, expected)
        flips.add(bool(torch.equal(found, expected.flip(2))))
        assert torch.rand(1) == _next_draw(seed, published, image)
    assert flips == {False}  # random pixels: no crop is its own mirror image


def _next_draw(seed: int, transform: object, image: Image.Image) -> torch.Tensor:
    torch.manual_seed(seed)
    transform(image)  # type: ignore[operator]
    return torch.rand(1)


def test_an_image_smaller_than_the_crop_is_refused() -> None:
    with pytest.raises(DataError, match="30x40 pixels is smaller than the crop of 32"):
        eval_transform(ViewConfig(resize=None, crop=32))(picture(40, 30))


def test_eval_view_survives_pickling() -> None:
    view = pickle.loads(pickle.dumps(eval_transform(ViewConfig(resize=None, crop=8))))
    assert torch.equal(view(picture(10, 10)), eval_transform(ViewConfig(resize=None, crop=8))(picture(10, 10)))


@pytest.mark.parametrize(
    ("size", "view", "times"),
    [
        ((32, 32), ViewConfig(resize=256, crop=224), 8),
        ((64, 400), ViewConfig(resize=256, crop=224), 4),
        ((90, 90), ViewConfig(resize=256, crop=224), 0),
        ((32, 32), ViewConfig(resize=None, crop=32), 0),
    ],
)
def test_images_that_a_protocol_enlarges_many_times_are_told(
    size: tuple[int, int], view: ViewConfig, times: int, tmp_path: Path
) -> None:
    picture(*size).save(tmp_path / "a.png")
    images = ImageList(root=tmp_path, paths=("a.png",), labels=np.zeros(1, dtype=np.int64), classes=("a",))
    told = remark_on_size(images, view)
    assert (f"{size[1]} x {size[0]} pixels, which this protocol enlarges {times} times" in told) == bool(times)
    assert bool(told) == bool(times)
