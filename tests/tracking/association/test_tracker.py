from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mec_transfer.tracking.association.config import AssociationRecipe
from mec_transfer.tracking.association.tracker import Sighting, Tracker
from tests.tracking.association.crowd import CELLS, CHANNELS, observed, wandering

DIGITS = string.digits + string.ascii_letters


def recipe(**changes: Any) -> AssociationRecipe:
    published = {
        "similarity_limit": 0.7,
        "overlap_limit": 0.5,
        "confirm_limit": 0.7,
        "duplicate_limit": 0.15,
        "track_buffer": 30,
    }
    return AssociationRecipe(**(published | changes))


# Identities of the detections of `wandering(seed)`, a word a frame, as the published code gives them at 6 frames a
# second (Zhongdao/UniTrack, run on a CPU with lap.lapjv); 0: none.
PUBLISHED: dict[str, tuple[dict[str, Any], bool, int, str]] = {
    "no motion": (
        {},
        False,
        4,
        "123456 214356 24365 214365 21365 214360 143650 23465 1650 365 24650 14365 14365 24365 24365 0243650 b24356 "
        "b240563 b24d56 2d465 b2d465 b24d65 b2456 b24d56 b24d56 b24d56 bd456 bd456 bd465 2bd465 b2d465 b2d456 b2d45 "
        "b2d45 2bd45 2b456 2bd456 bd4506 b2d45e0 2b45e0",
    ),
    "gated motion": (
        {"motion_lambda": 0.98, "motion_gated": True},
        False,
        3,
        "1234567 12456 123456 123560 12356 12356 12345 12345 1235 12356 12356 12356 12356 12356 12356 12356 12356 "
        "123056 123956 123960 12396 12396 12396 2396 12396 12396 12396 2396 23906 239b6 239b 239b6 239b6 239b6 239b6 "
        "239b6 0239b6 c39b6 c396 c3b6",
    ),
    "motion, confirmed at once": (
        {"motion_lambda": 0.98},
        True,
        4,
        "123456 123456 13456 123456 12456 123457 234568 23456 2569 356 2356a 23456 23456 23456 23456 b23456c b23456 "
        "b23456d b23456 23456 b23456 b23456 b2356 b23456 b23456 b23456 23456 23456 23456 b23456 b23456 b23456 b2345 "
        "b2345 b2345 b2456 b23456 23456e b23456f b2456g",
    ),
    "no Kalman filter": (
        {"kalman": False},
        False,
        4,
        "123456 214356 24365 214365 21365 214367 143658 23465 1658 367 24659 14365 14365 24367 14357 214357a 214365 "
        "214b673 214b75 1b467 21b465 214b75 21457 214b57 214b67 214b67 2b467 2b467 2b475 12b465 21b475 21b467 21b46 "
        "21b46 12b45 12457 12b457 2b4567 21b456c 12456d",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_identities_are_those_of_the_published_code(name: str) -> None:
    changes, at_once, seed, expected = PUBLISHED[name]
    tracker = Tracker(recipe(**changes), 6, confirmed_at_once=at_once)
    words = []
    for boxes, features in wandering(seed):
        word = ["0"] * len(boxes)
        for sighting in tracker.update(observed(boxes, features)):
            word[sighting.detection] = DIGITS[sighting.identity]
        words.append("".join(word))
    assert " ".join(words) == expected


class Film:
    """Objects that stand in a row, each with a look of its own unless two are said to be alike."""

    def __init__(self, count: int = 3, *, alike: bool = False) -> None:
        rng = np.random.default_rng(0)
        looks = rng.standard_normal((1 if alike else count, CHANNELS, CELLS))
        self.looks = np.broadcast_to(looks, (count, CHANNELS, CELLS))

    def show(
        self, tracker: Tracker, *objects: int, shift: float = 0.0, looks: list[int] | None = None
    ) -> list[Sighting]:
        boxes = [[100 * item + shift, 0, 100 * item + shift + 20, 40] for item in objects]
        return tracker.update(observed(np.array(boxes, dtype=float).reshape(-1, 4), self.looks[list(looks or objects)]))


def names(sightings: list[Sighting]) -> list[int]:
    return [sighting.identity for sighting in sightings]


def test_an_object_that_leaves_is_found_again_by_its_looks_alone() -> None:
    tracker, film = Tracker(recipe(), 30), Film()
    assert names(film.show(tracker, 0, 1, 2)) == [1, 2, 3]
    for _ in range(30):
        assert names(film.show(tracker, 0, 1)) == [1, 2]
    back = film.show(tracker, 0, 1, 5, looks=[0, 1, 2])
    assert names(back) == [1, 2, 3] and [sighting.refound for sighting in back] == [False, False, True]


@pytest.mark.parametrize(("rate", "buffer", "memory"), [(30, 4, 4), (14, 30, 14), (6, 30, 6), (25, 10, 8)])
def test_a_track_is_remembered_for_its_time_and_one_frame_more(rate: float, buffer: int, memory: int) -> None:
    for gap, found in ((memory, True), (memory + 1, True), (memory + 2, False)):
        tracker, film = Tracker(recipe(track_buffer=buffer), rate, confirmed_at_once=True), Film()
        film.show(tracker, 0, 1)
        for _ in range(gap):
            film.show(tracker, 0)
        assert (names(film.show(tracker, 0, 1)) == [1, 2]) is found


def test_a_new_object_counts_from_its_second_frame_unless_the_film_began_with_it() -> None:
    tracker, film = Tracker(recipe(), 30), Film()
    assert names(film.show(tracker, 0)) == [1]
    assert names(film.show(tracker, 0, 1)) == [1]
    assert names(film.show(tracker, 0, 1)) == [1, 2]
    assert names(film.show(tracker, 0, 1, 2)) == [1, 2]
    assert names(film.show(tracker, 0, 1)) == [1, 2]  # seen once and gone
    assert names(film.show(tracker, 0, 1, 2)) == [1, 2]
    assert names(film.show(tracker, 0, 1, 2)) == [1, 2, 4]
    at_once = Tracker(recipe(), 30, confirmed_at_once=True)
    film.show(at_once, 0)
    assert names(film.show(at_once, 0, 1)) == [1, 2]


def test_boxes_take_over_where_looks_fail() -> None:
    tracker, film = Tracker(recipe(), 30), Film()
    film.show(tracker, 0, 1)
    changed = film.show(tracker, 0, 1, shift=2, looks=[2, 1])
    assert names(changed) == [1, 2]  # the first by overlap
    assert 0 < changed[0].box[0] < 2  # between what was predicted and what was seen
    apart = Tracker(recipe(kalman=False), 30)
    film.show(apart, 0, 1)
    swapped = film.show(apart, 0, 1, shift=2, looks=[2, 1])
    assert names(swapped) == [2, 3]
    assert swapped[0].box.tolist() == pytest.approx([102, 0, 122, 40], abs=1e-4)


def test_looks_decide_without_motion_and_places_with_it() -> None:
    """Two that look the same swap names only where nothing says how far they would have to jump."""
    film = Film(2, alike=True)
    tracker = Tracker(recipe(motion_lambda=0.98, motion_gated=True), 30)
    for shift in range(0, 12, 2):
        found = film.show(tracker, 0, 1, shift=shift)
        assert {sighting.detection: sighting.identity for sighting in found} == {0: 1, 1: 2}
    jumped = film.show(tracker, 5, 1, looks=[0, 1], shift=12)
    assert names(jumped) == [2]  # the one that is too far off is no track yet


def test_a_lost_track_below_a_tracked_one_is_a_duplicate() -> None:
    tracker, film = Tracker(recipe(), 30, confirmed_at_once=True), Film()
    for _ in range(3):
        film.show(tracker, 0, 1)
    film.show(tracker, 1)
    assert names(film.show(tracker, 0, 1, looks=[2, 1])) == [2]  # older where it is: the new one vanishes
    assert {sighting.detection: sighting.identity for sighting in film.show(tracker, 0, 1)} == {0: 1, 1: 2}


def test_nothing_at_all_is_followed_without_complaint() -> None:
    tracker, film = Tracker(recipe(motion_lambda=0.98, motion_gated=True), 30), Film()
    assert film.show(tracker) == [] and film.show(tracker) == []
    film.show(tracker, 0)
    assert names(film.show(tracker, 0)) == [1] and film.show(tracker) == []
    assert names(film.show(tracker, 0)) == [1]


def test_motion_without_a_filter_is_refused() -> None:
    with pytest.raises(ValidationError, match="kalman: true"):
        recipe(kalman=False, motion_lambda=0.98)
