"""Following one box through a video: a few crops at different scales around where the target was, in one forward pass.

As UniTrack does it (test/test_sot_siamfc.py, test/test_sot_cfnet.py): a crop's window is 1 + padding times as wide and
high as the target; the greatest response of all scales, the outer ones penalised, moves and resizes the box.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mec_transfer.common.errors import RunError
from mec_transfer.datasets.videos.frames import Frames
from mec_transfer.tracking.appearance import Features
from mec_transfer.tracking.config import STRIDE
from mec_transfer.tracking.sequences import Tick
from mec_transfer.tracking.sot.config import SotRecipe, target_cells
from mec_transfer.tracking.sot.crops import warp_windows
from mec_transfer.tracking.sot.dcf import Dcf
from mec_transfer.tracking.sot.matching import Matcher
from mec_transfer.tracking.sot.xcorr import Xcorr

_SMALLEST_PIXELS = 4


def make_matcher(recipe: SotRecipe) -> Matcher:
    """Return a matcher that has seen nothing yet."""
    if recipe.matcher == "xcorr":
        return Xcorr(
            crop_size=recipe.crop_size, padding=recipe.padding, update=recipe.update, corrected=recipe.corrected
        )
    return Dcf(
        crop_size=recipe.crop_size,
        padding=recipe.padding,
        update=recipe.update,
        regularisation=recipe.regularisation,
        sigma=recipe.sigma,
        corrected=recipe.corrected,
    )


@torch.inference_mode()
def follow_box(frames: Frames, first: np.ndarray, features: Features, recipe: SotRecipe, tick: Tick) -> np.ndarray:
    """Follow the target from its box in the first frame.

    Args:
        frames: of the video.
        first: x, y, w, h in pixels counted from 1.
        features: the appearance model.
        recipe: all settings.
        tick: called after each frame.

    Returns:
        (frames, 4) float64 boxes like `first`, the first frame's among them.

    Raises:
        DataError: a frame cannot be read.
        RunError: the features are not finite.
    """
    matcher, steps = make_matcher(recipe), np.arange(recipe.scales) - recipe.scales // 2
    factors, penalties = recipe.scale_step**steps, recipe.scale_penalty ** np.abs(steps)
    spread = 1 + recipe.padding
    # A middle is counted from 0 and lies half a pixel to the upper left; it is given back with the same half pixel.
    middle, size = first[:2] + first[2:] / 2 - 2, first[2:].copy()
    limit = np.array([frames.width, frames.height] if recipe.corrected else [frames.height, frames.width])
    least = np.maximum(recipe.smallest * size, _SMALLEST_PIXELS)
    most = np.minimum(limit, recipe.largest * size)

    around, target = _surroundings(recipe, features.reach)

    def look(pixels: torch.Tensor, windows: np.ndarray, part: slice = slice(None)) -> torch.Tensor:
        corners = np.concatenate([middle - windows / 2, middle + windows / 2], axis=1)
        return features(warp_windows(pixels, corners, recipe.crop_size, subpixels=recipe.subpixels, part=part))

    boxes = np.empty((len(frames), 4))
    for index, frame in enumerate(frames.read_all()):
        pixels = features.prepare(frame)[0]
        if index:
            windows = size * (factors[:, None] * spread)
            response = matcher.respond(look(pixels, windows))
            scale, row, column = _best(response, penalties, frames.paths[index])
            middle = middle + matcher.shift(row, column) * windows[scale]
            size = np.minimum(np.maximum(windows[scale] / spread, least), most)
        if index + 1 < len(frames) and (not index or recipe.update):
            matcher.learn(look(pixels, size[None] * spread, around)[:, :, target, target])
        boxes[index] = *(middle - size / 2 + 2), *size
        tick()
    return boxes


def _surroundings(recipe: SotRecipe, reach: int) -> tuple[slice, slice]:
    """Return the pixels along a crop's side that the target's cells depend on, and which cells of their map these are.

    Features of so much of a crop are all that is needed to learn the target: a third of the work, and the same bits.
    """
    cells = target_cells(recipe.crop_size, recipe.padding)
    first = max(0, cells.start - -(-reach // STRIDE))
    last = min(recipe.crop_size - 1, (cells.stop - 1) * STRIDE + reach)
    return slice(first * STRIDE, last + 1), slice(cells.start - first, cells.stop - first)


def _best(response: torch.Tensor, penalties: np.ndarray, path: Path) -> tuple[int, int, int]:
    """Return scale, row and column of the greatest response. Raises RunError where there is none."""
    peaks, places = response.flatten(1).max(dim=1)
    heights = peaks.cpu().numpy().astype(np.float64) * penalties
    if not np.isfinite(heights).all():
        raise RunError(
            f"{path}: its features are not finite; try --set recipe.precision=fp32, or look at the checkpoint"
        )
    scale = int(np.argmax(heights))
    row, column = divmod(int(places[scale]), response.shape[2])
    return scale, row, column
