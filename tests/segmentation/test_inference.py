"""Windows over an image, and one image after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mec_transfer.backbone.backbone import Backbone, Preprocessing
from mec_transfer.common.errors import RunError
from mec_transfer.datasets.config import SegmentsDatasetConfig
from mec_transfer.datasets.registry import open_data
from mec_transfer.segmentation.config import SlideConfig
from mec_transfer.segmentation.counts import confusion_matrix
from mec_transfer.segmentation.inference import Predictor, predict_all, slide
from mec_transfer.segmentation.loading import load_tests
from mec_transfer.segmentation.network import Segmenter
from tests.segmentation.conftest import recipe


class Counting(torch.nn.Module):
    """Scores that say which window they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(x.shape[-2:]))
        return torch.stack([x[:, 0], torch.full_like(x[:, 0], float(len(self.seen)))], dim=1)


@pytest.mark.parametrize(
    ("size", "tops", "lefts"),
    [((20, 33), [0, 5, 8], [0, 5, 10, 15, 20, 21]), ((9, 12), [0], [0]), ((12, 17), [0], [0, 5])],
)
def test_windows_cover_the_image_and_their_scores_are_averaged(
    size: tuple[int, int], tops: list[int], lefts: list[int]
) -> None:
    network, x = Counting(), torch.randn(1, 3, *size)
    found = slide(network, x, SlideConfig(crop=12, stride=5))  # type: ignore[arg-type]
    total, times = np.zeros(size), np.zeros(size)
    number = 0
    for top in tops:
        for left in lefts:
            number += 1
            total[top : top + 12, left : left + 12] += number
            times[top : top + 12, left : left + 12] += 1
    assert times.min() >= 1 and len(network.seen) == number
    torch.testing.assert_close(found[0, 0], x[0, 0])  # the mean of the same values
    np.testing.assert_allclose(found[0, 1].numpy(), total / times, rtol=1e-6)


def test_counts_are_those_of_the_images_one_by_one(masks: Path, resnet18: Backbone) -> None:
    data = open_data(SegmentsDatasetConfig(name="x", layout="voc_seg", train=("train",), test="val"), masks)
    split, one = data.test, recipe(slide={"crop": 24, "stride": 16})  # type: ignore[attr-defined]
    network = Segmenter(resnet18, one, 3, seed=0)
    predictor = Predictor(network, one, resnet18.preprocessing)
    kept: dict[int, np.ndarray] = {}
    counts = predict_all(predictor, split, one.scale, 0, kept.__setitem__)
    for at, image in enumerate(load_tests(split, one.scale, range(len(split)), workers=0)):
        found = predictor(image.pixels, image.labels.shape)
        assert found.shape == image.labels.shape and found.dtype == np.uint8 and np.array_equal(found, kept[at])
        matrix = confusion_matrix(image.labels, found, 3)
        assert np.array_equal(counts.truth[at], matrix.sum(1)) and np.array_equal(
            counts.intersection[at], matrix.diagonal()
        )
    assert counts.names == tuple(path.name for path in split.images)


def test_scores_that_are_not_finite_are_said(masks: Path, resnet18: Backbone) -> None:
    data = open_data(SegmentsDatasetConfig(name="x", layout="voc_seg", train=("train",), test="val"), masks)
    network = Segmenter(resnet18, recipe(), 3, seed=0)
    with torch.no_grad():
        network.head.classifier.bias[0] = torch.nan  # type: ignore[index]
    predictor = Predictor(network, recipe(), Preprocessing())
    image = next(load_tests(data.test, (48, 40), [0], 0))  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="not finite"):
        predictor(image.pixels, image.labels.shape)
