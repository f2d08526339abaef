"""Test images to labels: as a whole or through windows, at their own size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from mec_transfer.backbone.backbone import Preprocessing
from mec_transfer.common import distributed
from mec_transfer.common.errors import RunError
from mec_transfer.common.exhaustion import what_ran_out
from mec_transfer.common.progress import track
from mec_transfer.datasets.segments.split import SegmentSplit
from mec_transfer.segmentation.config import SegmentationRecipe, SlideConfig
from mec_transfer.segmentation.counts import Counts, confusion_matrix
from mec_transfer.segmentation.loading import load_tests
from mec_transfer.segmentation.network import Segmenter, to_input


class Predictor:
    """A trained network at work on test images, one at a time."""

    def __init__(self, network: Segmenter, recipe: SegmentationRecipe, preprocessing: Preprocessing) -> None:
        self._network, self._recipe, self._preprocessing = network.eval(), recipe, preprocessing
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor, size: tuple[int, ...]) -> np.ndarray:
        """Return the labels, (H, W) uint8, of an image.

        Args:
            pixels: (3, h, w) uint8, as `loading.to_scale` resizes an image.
            size: H and W of the image itself.

        Raises:
            RunError: scores are not finite, or memory is short.
        """
        x = to_input(
            pixels[None].to(self._device, non_blocking=True), self._preprocessing, self._recipe.unscaled_pixels
        )
        x = x.contiguous(memory_format=torch.channels_last)
        try:
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=self._recipe.tf32):
                scores = slide(self._network, x, self._recipe.slide) if self._recipe.slide else self._network(x)
                scores = self._network.resize(scores, size)
        except torch.OutOfMemoryError as error:
            shown = " x ".join(map(str, x.shape[:1:-1]))
            raise RunError(f"a test image of {shown} pixels: {what_ran_out(error)}") from None
        if not bool(scores.isfinite().all()):
            raise RunError("the scores of a test image are not finite: training diverged; lower recipe.lr")
        return scores[0].argmax(0).to(torch.uint8).cpu().numpy()


def slide(network: Segmenter, x: torch.Tensor, config: SlideConfig) -> torch.Tensor:
    """Return the scores, (1, C, H, W), of an image, (1, 3, H, W): the mean over the windows that see a pixel.

    The last window of a row or column is moved back into the image; one that is larger than the image is the image.
    """
    height, width = x.shape[-2:]
    total, times = torch.zeros(()), torch.zeros((1, 1, height, width), device=x.device)
    for top in _starts(height, config):
        for left in _starts(width, config):
            rows, columns = slice(top, top + config.crop), slice(left, left + config.crop)
            scores = network(x[:, :, rows, columns])
            if not total.dim():
                total = scores.new_zeros((1, scores.shape[1], height, width))
            total[:, :, rows, columns] += scores
            times[:, :, rows, columns] += 1
    return total / times


def _starts(length: int, config: SlideConfig) -> list[int]:
    count = max(length - config.crop + config.stride - 1, 0) // config.stride + 1
    return [max(min(at * config.stride, length - config.crop), 0) for at in range(count)]


def predict_all(
    predictor: Predictor,
    split: SegmentSplit,
    scale: tuple[int, int],
    workers: int,
    keep: Callable[[int, np.ndarray], None],
) -> Counts:
    """Count the pixels of every test image, on all processes together, and return the counts on each of them.

    Args:
        predictor: of the trained network.
        split: the test images.
        scale: of the recipe.
        workers: processes that load images.
        keep: is told the labels, (H, W) uint8, of each of this process's images, and the image's place in the split.

    Raises:
        DataError: an image cannot be read.
        RunError: scores are not finite, or memory is short; or `keep` raises it.
    """
    mine = range(distributed.rank(), len(split), distributed.world_size())
    classes = len(split.classes)

    def matrices() -> Iterator[np.ndarray]:
        for at, image in zip(mine, load_tests(split, scale, mine, workers), strict=True):
            found = predictor(image.pixels, image.labels.shape)
            keep(at, found)
            yield confusion_matrix(image.labels, found, classes)

    names = [split.images[at].name for at in mine]
    own = Counts.of(names, split.classes, track(matrices(), "testing", len(mine), "images"))
    return Counts.join(distributed.gather_objects(own))
