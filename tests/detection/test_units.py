"""AP on draws of images: the evaluators' own on the drawn images, and intervals that hold the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mec_transfer.comparison.bootstrap import draws, margin, unit_spread
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection.coco_ap import coco_metrics
from mec_transfer.detection.coco_units import CocoUnits
from mec_transfer.detection.units import ClassMatches, DetectionUnits
from mec_transfer.detection.voc_ap import voc_metrics
from mec_transfer.detection.voc_units import VocUnits
from tests.detection.test_average_precision import random_split

WHOLE = np.ones(12, dtype=np.int32)


def drawn(split: ObjectSplit, predictions: list[dict], counts: np.ndarray) -> tuple[ObjectSplit, list[dict]]:
    """The data set that a draw is, each image as often as it was drawn."""
    places = np.repeat(np.arange(len(counts)), counts)
    images = tuple(split.images[place] for place in places)
    found = [
        item | {"image_id": number}
        for number, place in enumerate(places, start=1)
        for item in predictions
        if item["image_id"] == place + 1
    ]
    return dataclasses.replace(split, images=images), found


def check(units: DetectionUnits, counts: np.ndarray, measure: Callable[..., dict[str, float]]) -> None:
    assert len(measure) > 3
    for metric, value in measure.items():
        assert units.measure(metric, counts[:, None])[0] == pytest.approx(value, abs=1e-9), metric


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("masks", [False, True])
def test_on_a_draw_it_is_the_coco_evaluators(seed: int, masks: bool) -> None:
    split, predictions = random_split(seed, masks)
    (counts,) = draws(12, 5)
    units = CocoUnits(split, predictions, "")
    for draw in (WHOLE, *counts.T):
        images, found = drawn(split, predictions, draw)
        measured = coco_metrics(images, found, masks)
        assert {"AP", "AP50", "AP75", "APs", "AP/cat"} <= set(measured)
        check(units, draw, measured)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("eleven", [False, True])
def test_on_a_draw_it_is_the_voc_evaluators(seed: int, eleven: bool) -> None:
    split, predictions = random_split(seed)
    (counts,) = draws(12, 5)
    units = VocUnits(split, predictions, "", eleven)
    for draw in (WHOLE, *counts.T):
        check(units, draw, voc_metrics(*drawn(split, predictions, draw), eleven))


def test_of_a_class_only_the_100_best_count_in_an_image() -> None:
    split, _ = random_split(0)
    objects = [thing for thing in split.images[0].objects if not thing.difficult]
    assert objects
    x0, y0, x1, y1 = objects[0].box
    label, right = objects[0].class_index + 1, [x0, y0, x1 - x0, y1 - y0]
    wrong = {"image_id": 1, "category_id": label, "bbox": [90.0, 90.0, 5.0, 5.0]}
    for others in (99, 100):
        predictions = [wrong | {"score": 0.9} for _ in range(others)] + [wrong | {"bbox": right, "score": 0.1}]
        check(CocoUnits(split, predictions, ""), WHOLE, coco_metrics(split, predictions, masks=False))
    assert CocoUnits(split, predictions[1:], "").measure("AP", WHOLE[:, None])[0] > 0


def test_without_a_detection_it_is_0_and_without_an_object_nothing() -> None:
    split, _ = random_split(1)
    for units in (CocoUnits(split, [], ""), VocUnits(split, [], "", True)):
        assert units.measure("AP", np.stack([WHOLE, 0 * WHOLE], axis=1)).tolist() == [
            0,
            pytest.approx(np.nan, nan_ok=True),
        ]


def test_draws_are_measured_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    units = CocoUnits(*random_split(2), "")
    (counts,) = draws(12, 33)
    once = units.measure("AP", counts)
    monkeypatch.setattr("mec_transfer.detection.units._CELLS", 40)
    assert np.array_equal(units.measure("AP", counts), once) and once.std() > 0


@pytest.mark.parametrize("metric", ["AP60", "AP/horse", "mask_AP", "APs"])
def test_what_does_not_follow_from_voc_boxes_is_refused(metric: str) -> None:
    with pytest.raises(KeyError):
        VocUnits(*random_split(0), "", True).measure(metric, WHOLE[:, None])


class Simulated(DetectionUnits):
    """Detections that are right or wrong by chance, without boxes; at the first threshold alone."""

    def __init__(self, count: int, classes: Sequence[ClassMatches]) -> None:
        super().__init__(count, "", [str(number) for number in range(len(classes))], np.linspace(0, 1, 101))
        self._drawn = list(classes)

    def match(self, what: str, area: str) -> list[ClassMatches]:
        return self._drawn


def simulated(random: np.random.Generator, count: int, skills: Sequence[float]) -> list[Simulated]:
    """Return what several models of some skill find in the same images, of three classes."""
    found: list[list[ClassMatches]] = [[] for _ in skills]
    for objects_an_image in (2.0, 0.7, 0.3):
        ease = random.normal(0, 0.7, count)  # of an image, for every model
        positives = random.poisson(objects_an_image, count)
        objects = np.repeat(np.arange(count), positives)
        own = random.normal(0, 0.7, len(objects))  # of an object
        for number, skill in enumerate(skills):
            seen = skill + ease[objects] + own + random.normal(0, 0.7, len(objects))
            false = np.repeat(np.arange(count), random.poisson(2 * objects_an_image, count))
            scores = np.concatenate([seen, random.normal(-0.5, 1, len(false))])
            right = np.concatenate([seen > -0.5, np.zeros(len(false), dtype=bool)])
            images, order = np.concatenate([objects, false]), np.argsort(-scores)
            flags = np.zeros((10, len(order)), dtype=bool)
            flags[0] = right[order]
            found[number].append(
                ClassMatches(images=images[order], right=flags, left_out=0 * flags, positives=positives)
            )
    return [Simulated(count, classes) for classes in found]


def coverage(count: int, experiments: int, seed: int, resamples: int = 100) -> float:
    """Return how often the 95 % interval of a difference in AP50 holds that of a hundred thousand images."""
    random = np.random.default_rng(seed)

    def difference(pair: Sequence[Simulated], counts: np.ndarray) -> np.ndarray:
        return pair[0].measure("AP50", counts) - pair[1].measure("AP50", counts)

    skills = (0.8, 0.6)
    truth = difference(simulated(random, 100_000, skills), np.ones((100_000, 1), np.int32))[0]
    (counts,) = draws(count, resamples)
    hits = 0
    for _ in range(experiments):
        pair = simulated(random, count, skills)
        reach = margin([unit_spread(difference(pair, counts), count)], 0.95)
        hits += abs(difference(pair, np.ones((count, 1), np.int32))[0] - truth) <= reach
    return hits / experiments


@pytest.mark.parametrize("count", [50, 200])
def test_an_interval_of_95_percent_of_ap_holds_the_truth_as_often(count: int) -> None:
    assert 0.93 <= coverage(count, 800, 1) <= 0.97
