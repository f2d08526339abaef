"""Images with objects as arrays: what is put in comes out again, and every change of it changes the digest."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.splits import ObjectSplit, fingerprints, join_splits
from mec_transfer.datasets.objects.table import ObjectTable

BOX = (1.5, 2.0, 3.0, 4.25)
THINGS = (
    ObjectAnnotation(class_index=0, box=BOX),
    ObjectAnnotation(class_index=3, box=BOX, xywh=(1.5, 2.0, 1.5, 2.25), area=0.0, segmentation=[[1, 2, 3], [], [0.5]]),
    ObjectAnnotation(class_index=1, box=BOX, crowd=True, segmentation={"size": [4, 5], "counts": [7, 13]}),
    ObjectAnnotation(class_index=1, box=BOX, segmentation={"size": [4, 5], "counts": "7é="}, area=2.5),
    ObjectAnnotation(class_index=1, box=BOX, difficult=True, segmentation={"size": [4, 5], "counts": b"\xff7="}),
    ObjectAnnotation(class_index=2, box=BOX, segmentation=[[0.1, 0.2, -5, 10**17, 3.0, 4.0]]),
)
IMAGES = (
    ObjectImage(path=Path("a/x.jpg"), image_id=7, width=30, height=20, objects=THINGS[:3]),
    ObjectImage(path=Path("a/y.jpg"), image_id="7", width=31, height=20, objects=()),
    ObjectImage(path=Path("b/z\udcff.jpg"), image_id="z", width=30, height=21, objects=THINGS[3:]),
)


def test_what_is_packed_comes_out_again():
    table = ObjectTable.pack(IMAGES)
    assert tuple(table) == IMAGES and table == IMAGES and len(table) == 3
    assert [table[index] for index in (0, 1, -1)] == [IMAGES[0], IMAGES[1], IMAGES[2]]
    assert tuple(table[1:]) == IMAGES[1:] and tuple(table.take([2, 0])) == (IMAGES[2], IMAGES[0])
    assert tuple(ObjectTable.join([table[2:], table[:1]])) == (IMAGES[2], IMAGES[0])
    assert ObjectTable.join([table[:1], table[1:]]).digest == table.digest
    with pytest.raises(IndexError):
        table[3]


def test_a_polygon_of_whole_numbers_stays_one_which_numpy_treats_otherwise():
    thing = ObjectTable.pack(IMAGES)[0].objects[1]
    assert [[type(number) for number in polygon] for polygon in thing.segmentation] == [[int] * 3, [], [float]]
    assert type(thing.class_index) is int and type(thing.area) is float and type(thing.crowd) is bool


def test_an_iteration_over_many_images_crosses_its_blocks():
    images = [dataclasses.replace(IMAGES[index % 3], image_id=index) for index in range(1100)]
    assert list(ObjectTable.pack(images)) == images


def test_nothing_is_a_table_too():
    empty = ObjectTable.pack([])
    assert list(empty) == [] and empty == () and len(empty.objects) == 0
    assert tuple(ObjectTable.join([empty, ObjectTable.pack(IMAGES)])) == IMAGES
    assert ObjectTable.pack(IMAGES).take([]) == empty


def test_numbers_are_found_with_their_objects():
    objects = ObjectTable.pack(IMAGES).objects
    owners = objects.owners(np.arange(len(objects.numbers))).tolist()
    assert owners == [1] * 4 + [2] * 4 + [3] * 2 + [4] * 2 + [5] * 6


CHANGES: list[dict[str, Any]] = [
    {"class_index": 2},
    {"box": (1.5, 2.0, 3.0, 4.5)},
    {"xywh": None},
    {"xywh": (1.5, 2.0, 1.5, 2.5)},
    {"difficult": True},
    {"crowd": True},
    {"area": None},
    {"area": 1.0},
    {"segmentation": None},
    {"segmentation": [[1, 2, 3], [0.5]]},
    {"segmentation": [[1, 2], [3], [0.5]]},
    {"segmentation": [[1, 2, 4], [], [0.5]]},
    {"segmentation": [[1.0, 2.0, 3.0], [], [0.5]]},
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_an_object_changes_the_digest(change):
    things = (THINGS[0], dataclasses.replace(THINGS[1], **change), THINGS[2])
    changed = (dataclasses.replace(IMAGES[0], objects=things), *IMAGES[1:])
    assert ObjectTable.pack(changed).digest != ObjectTable.pack(IMAGES).digest


def test_every_change_of_images_and_classes_changes_the_fingerprint(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"1")
    (tmp_path / "y.jpg").write_bytes(b"1")

    def split(*images: ObjectImage, name: str = "t", classes: tuple[str, ...] = ("a", "b")) -> str:
        return fingerprints({name: ObjectSplit(name=name, classes=classes, images=images)})[0]

    one, two = (dataclasses.replace(IMAGES[0], path=tmp_path / name) for name in ("x.jpg", "y.jpg"))
    less = dataclasses.replace(one, objects=one.objects[:2])
    more = dataclasses.replace(two, objects=one.objects[2:] + two.objects)
    found = [
        *(split(one, two), split(two, one), split(one), split(one, two, name="u")),
        *(split(one, two, classes=("b", "a")), split(one, two, classes=("a",)), split(less, more)),
        split(dataclasses.replace(one, width=29), two),
        split(dataclasses.replace(one, height=29), two),
        split(dataclasses.replace(one, image_id=8), two),
        split(dataclasses.replace(one, image_id="7"), two),
        split(dataclasses.replace(one, objects=one.objects[::-1]), two),
    ]
    assert len(set(found)) == len(found)


def test_splits_joined_hold_the_images_of_all():
    splits = [ObjectSplit(name=name, classes=("a",), images=IMAGES[:2]) for name in "st"]
    assert join_splits(splits).images == IMAGES[:2] * 2 and join_splits(splits).num_objects == 6
