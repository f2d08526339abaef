"""Following a box: against the published loop written out, and with features that are perfect, shuffled or absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import ValidationError

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import RunError
from mec_transfer.datasets.videos.frames import Frames, open_frames
from mec_transfer.tracking.appearance import Appearance
from mec_transfer.tracking.sot import search
from mec_transfer.tracking.sot.config import SotRecipe, target_cells
from mec_transfer.tracking.sot.dcf import Dcf
from mec_transfer.tracking.sot.otb_metrics import measure_boxes
from mec_transfer.tracking.sot.search import follow_box
from tests.tracking.sot.test_crops import slow_warp
from tests.tracking.sot.test_dcf import narrow_inverse
from tests.tracking.sot.test_xcorr import slow_response

CPU = torch.device("cpu")
WIDTH, HEIGHT = 101, 83
Place = Callable[[int], tuple[int, int, int, int]]
"""A frame's index to x, y (from 0), w, h of the target."""


def draw(
    folder: Path, count: int, place: Place, *, grey: bool = False, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Frames:
    """A target of coloured patches before a dim grey background."""
    rng = np.random.default_rng(5)
    patches = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    background = rng.integers(0, 30, (size[1], size[0], 1), dtype=np.uint8).repeat(3, axis=2)
    folder.mkdir(parents=True)
    for index in range(count):
        x, y, w, h = place(index)
        image = Image.fromarray(background)
        image.paste(Image.fromarray(patches).resize((w, h), Image.Resampling.NEAREST), (x, y))
        (image.convert("L") if grey else image).save(folder / f"{index + 1:04d}.png")
    return open_frames(folder, "Drawn")


def true_boxes(count: int, place: Place) -> np.ndarray:
    return np.array([place(index) for index in range(count)]) + np.array([1.0, 1.0, 0.0, 0.0])


class Colours:
    """Perfect features: waves of each pixel's colour, averaged over the cell; the dim background is all but zero."""

    device, channels, reach = torch.device("cpu"), 24, 7

    def __init__(self, shuffled: bool = False) -> None:
        self.waves = torch.randn(self.channels, 3, generator=torch.Generator().manual_seed(0)) * 2
        self.shuffle = torch.Generator().manual_seed(1) if shuffled else None
        self.passes: list[int] = []

    def prepare(self, frames: np.ndarray) -> torch.Tensor:
        return torch.tensor(frames).permute(2, 0, 1)[None].float() / 255

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        assert torch.is_inference_mode_enabled()
        self.passes.append(len(pixels))
        waves = torch.einsum("kc,nchw->nkhw", self.waves, pixels).mul(3).sin() * pixels.amax(dim=1, keepdim=True)
        features = F.avg_pool2d(waves, 8, ceil_mode=True)
        if self.shuffle:
            order = torch.randperm(features[0, 0].numel(), generator=self.shuffle)
            features = features.flatten(2)[:, :, order].view_as(features)
        return features


def recipe(matcher: str, **changes) -> SotRecipe:
    settings = {"corrected": True, "crop_size": 136, "update": 0.01 if matcher == "dcf" else 0.0, **changes}
    return SotRecipe.model_validate({"matcher": matcher, **settings})


def follow(frames: Frames, first: np.ndarray, features: Colours, how: SotRecipe) -> tuple[np.ndarray, int]:
    ticks: list[int] = []
    return follow_box(frames, first, features, how, lambda: ticks.append(1)), len(ticks)


def moving(index: int) -> tuple[int, int, int, int]:
    return 20 + 2 * index, 25 + index, 24, 20


def growing(index: int) -> tuple[int, int, int, int]:
    return 40 - index // 3, 30 - index // 3, 24 + 2 * (index // 3), 20 + 2 * (index // 3)


def slow_loop(frames: Frames, first: np.ndarray, features: Colours, how: SotRecipe) -> np.ndarray:
    """The published code's steps, one crop at a time in float64 (one template; the filter's update is left out)."""
    x, y, w, h = first - [1, 1, 0, 0]
    position, size = np.array([x + w / 2 - 1, y + h / 2 - 1]), np.array([w, h])
    smallest = np.maximum(0.2 * size, 4)
    largest = np.minimum([frames.height, frames.width], 5 * size)
    n = how.crop_size // 8
    low, high = n // 2 - int(n // 9), n // 2 + int(n // 9)
    boxes = [first]

    def look(index: int, window: np.ndarray) -> np.ndarray:
        pixels = frames.read(index).transpose(2, 0, 1) / 255
        crop = slow_warp(pixels, (*(position - window / 2), *(position + window / 2)), how.crop_size, 32)
        with torch.inference_mode():
            return features(torch.from_numpy(crop[None]).float())[0].double().numpy()

    template = look(0, size * 4.5)[:, low:high, low:high]
    for index in range(1, len(frames)):
        best = (-np.inf, 0.0, 0, 0, 0)
        for step in (-1, 0, 1):
            search = look(index, size * 1.0275**step * 4.5)
            response = slow_response(template, search) if how.matcher == "xcorr" else slow_filter(template, search, low)
            row, column = np.unravel_index(response.argmax(), response.shape)
            best = max(best, (response.max() * 0.985 ** abs(step), step, row, column, response.shape[1]))
        _, step, row, column, width = best
        window = size * 1.0275**step * 4.5
        if how.matcher == "xcorr":
            position = position + np.array([column - width * 0.5, row - width * 0.5]) * window / width
        else:
            row, column = np.unravel_index(row * width + column, (n, n))
            moved = np.array([column - n if column > n / 2 else column, row - n if row > n / 2 else row])
            position = position + moved * window / n
        size = np.minimum(np.maximum(window / 4.5, smallest), largest)
        boxes.append(np.array([*(position - size / 2 + 2), *size]))
    return np.array(boxes)


def slow_filter(template: np.ndarray, search: np.ndarray, low: int) -> np.ndarray:
    n, side = search.shape[-1], template.shape[-1]
    target = np.zeros(search.shape)
    target[:, low : low + side, low : low + side] = template
    away = np.minimum(np.arange(n), n - np.arange(n)) ** 2
    wanted = np.fft.fft2(np.exp(-(away[:, None] + away) / (2 * (n / 4.5 * 0.1) ** 2)))
    spectrum, hann = np.fft.fft2(target), np.hanning(n)
    fitted = wanted / ((np.abs(spectrum) ** 2).sum(axis=0) + 1e-4)
    product = (np.fft.fft2(search * np.outer(hann, hann)) * spectrum.conj()).sum(axis=0) * fitted
    return narrow_inverse(product)


@pytest.mark.parametrize("matcher", ["xcorr", "dcf"])
@pytest.mark.parametrize("place", [moving, growing])
def test_boxes_are_those_of_the_published_loop(tmp_path: Path, matcher: str, place: Place) -> None:
    frames = draw(tmp_path / "img", 4, place)
    how = recipe(matcher, corrected=False, crop_size=88, update=0.0)
    boxes, _ = follow(frames, true_boxes(1, place)[0], Colours(), how)
    np.testing.assert_allclose(boxes, slow_loop(frames, true_boxes(1, place)[0], Colours(), how), atol=1e-9)
    assert len({tuple(box) for box in boxes}) > 1


@pytest.mark.parametrize(("matcher", "least"), [("xcorr", 70), ("dcf", 80)])
def test_perfect_features_follow_and_shuffled_ones_do_not(tmp_path: Path, matcher: str, least: float) -> None:
    frames, truth = draw(tmp_path / "img", 12, moving), true_boxes(12, moving)
    boxes, ticks = follow(frames, truth[0], Colours(), recipe(matcher, crop_size=264))
    assert ticks == 12
    metrics = measure_boxes(truth, boxes)
    assert metrics["AUC"] > least and metrics["precision"] == 100
    lost, _ = follow(frames, truth[0], Colours(shuffled=True), recipe(matcher, crop_size=264))
    assert measure_boxes(truth, lost)["AUC"] < least - 30


@pytest.mark.parametrize("matcher", ["xcorr", "dcf"])
def test_a_target_that_stands_still_is_kept_exactly(tmp_path: Path, matcher: str) -> None:
    frames, truth = draw(tmp_path / "img", 3, lambda index: moving(0)), true_boxes(3, lambda index: moving(0))
    one_scale = {"crop_size": 264, "scales": 1}
    boxes, _ = follow(frames, truth[0], Colours(), recipe(matcher, **one_scale))
    np.testing.assert_allclose(boxes, truth, atol=1e-9)
    published, _ = follow(frames, truth[0], Colours(), recipe(matcher, **one_scale, corrected=False))
    moved = (
        published[1, :2] - truth[1, :2]
    )  # by the published cross-correlation's one step, 1 / (33 - 6 + 1) of a window
    np.testing.assert_allclose(moved, [-4.5 * 24 / 28, -4.5 * 20 / 28] if matcher == "xcorr" else [0, 0], atol=1e-9)


def test_a_growing_target_is_grown_with(tmp_path: Path) -> None:
    frames, truth = draw(tmp_path / "img", 12, growing), true_boxes(12, growing)
    boxes, _ = follow(frames, truth[0], Colours(), recipe("dcf", crop_size=264))
    assert boxes[-1, 2] > 1.2 * boxes[0, 2]
    assert measure_boxes(truth, boxes)["AUC"] > 70


@pytest.mark.parametrize(("matcher", "passes"), [("xcorr", [1, 3, 3]), ("dcf", [1, 3, 1, 3])])
def test_all_scales_are_one_forward_pass(tmp_path: Path, matcher: str, passes: list[int]) -> None:
    features = Colours()
    follow(draw(tmp_path / "img", 3, moving), true_boxes(1, moving)[0], features, recipe(matcher))
    assert features.passes == passes


def test_what_is_learnt_of_a_part_of_the_crop_is_what_the_whole_crop_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, how = Appearance(resolve_backbone("random:resnet18:0"), device=CPU), recipe("dcf", crop_size=264)
    learnt: list[torch.Tensor] = []
    learn = Dcf.learn
    monkeypatch.setattr(Dcf, "learn", lambda self, target: (learnt.append(target), learn(self, target))[1])
    frames, first = draw(tmp_path / "img", 3, moving), true_boxes(1, moving)[0]
    boxes = follow_box(frames, first, features, how, lambda: None)
    cells = target_cells(264, 3.5)
    assert search._surroundings(how, features.reach) == (slice(16, 226), slice(11, 17))
    monkeypatch.setattr(search, "_surroundings", lambda *_: (slice(None), cells))
    np.testing.assert_array_equal(boxes, follow_box(frames, first, features, how, lambda: None))
    assert len(learnt) == 4 and len({tuple(box) for box in boxes}) > 1
    for part, whole in zip(learnt[:2], learnt[2:], strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-6, atol=0)


def test_one_frame_only_gives_its_own_box(tmp_path: Path) -> None:
    boxes, ticks = follow(draw(tmp_path / "img", 1, moving), true_boxes(1, moving)[0], Colours(), recipe("dcf"))
    np.testing.assert_allclose(boxes, true_boxes(1, moving))
    assert ticks == 1


@pytest.mark.parametrize("matcher", ["xcorr", "dcf"])
@pytest.mark.parametrize("corrected", [True, False])
def test_a_target_that_leaves_never_breaks_the_search(tmp_path: Path, matcher: str, corrected: bool) -> None:
    frames = draw(tmp_path / "img", 8, lambda index: (70 + 12 * index, 40, 24, 20))
    boxes, _ = follow(frames, np.array([71.0, 41, 24, 20]), Colours(), recipe(matcher, corrected=corrected))
    assert np.isfinite(boxes).all() and (boxes[:, 2:] > 0).all()


def test_greyscale_frames_of_odd_size(tmp_path: Path) -> None:
    frames = draw(tmp_path / "img", 6, moving, grey=True, size=(97, 61))
    boxes, _ = follow(frames, true_boxes(1, moving)[0], Colours(), recipe("xcorr"))
    assert measure_boxes(true_boxes(6, moving), boxes)["AUC"] > 60


def test_a_target_larger_than_the_frame_is_kept_within_its_size(tmp_path: Path) -> None:
    frames = draw(tmp_path / "img", 3, lambda index: (0, 0, WIDTH, HEIGHT))
    first = np.array([-9.0, -4, WIDTH + 40, HEIGHT + 30])
    corrected, _ = follow(frames, first, Colours(), recipe("xcorr"))
    assert (corrected[1:, 2] <= WIDTH).all() and (corrected[1:, 3] <= HEIGHT).all()
    published, _ = follow(frames, first, Colours(), recipe("xcorr", corrected=False))
    assert (published[1:, 2] <= HEIGHT).all() and (published[1:, 3] <= WIDTH).all()  # the axes swapped
    np.testing.assert_allclose(published[0], first)


def test_features_that_are_not_finite_give_no_boxes(tmp_path: Path) -> None:
    features = Colours()
    features.waves[0, 0] = torch.nan
    with pytest.raises(RunError, match=r"0002\.png: its features are not finite"):
        follow(draw(tmp_path / "img", 2, moving), true_boxes(1, moving)[0], features, recipe("xcorr"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("crop_size", 100), ("crop_size", 64), ("padding", 40), ("scales", 0), ("matcher", "siamrpn"), ("update", 2)],
)
def test_settings_that_make_no_sense_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=f"{key}|leaves the target no cell"):
        SotRecipe.model_validate({"matcher": "xcorr", key: value})
