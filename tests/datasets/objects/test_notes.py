"""What is said of all objects by arrays is what the rules say of each one."""

from __future__ import annotations

import random
from pathlib import Path

from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage, Segmentation
from mec_transfer.datasets.objects.notes import mask_notes, training_notes
from mec_transfer.datasets.objects.polygons import has_outline, measurable, usable_polygons
from mec_transfer.datasets.objects.splits import ObjectSplit

WIDTH, HEIGHT = 30, 20


def some_object(chance: random.Random) -> ObjectAnnotation:
    x0, y0 = chance.choice([-2.0, -1.0, 0.0, 5.0, 30.0]), chance.choice([-1.5, 0.0, 7.0, 20.0])
    x1, y1 = x0 + chance.choice([0.0, 1e-6, 3.0, 26.5]), y0 + chance.choice([0.0, 1e-5, 4.0, 14.5])
    polygons = [[1.0] * chance.choice([0, 2, 4, 5, 6, 7, 8]) for _ in range(chance.randint(1, 3))]
    shape: Segmentation | None = chance.choice([None, polygons, polygons, {"size": [20, 30], "counts": [600]}])
    return ObjectAnnotation(class_index=0, box=(x0, y0, x1, y1), crowd=chance.random() < 0.2, segmentation=shape)


def by_hand(split: ObjectSplit) -> dict[str, tuple[int, str]]:
    """For each kind of note, how many there are and the first image, one object after the other."""
    found: dict[str, list[str]] = {
        "without width": [],
        "without a polygon": [],
        "of under": [],
        "beyond": [],
        "masks": [],
    }
    for image in split.images:
        for thing in image.objects:
            name, shape = image.path.name, thing.segmentation
            if shape is not None and measurable(shape) is None:
                found["masks"].append(name)
            if not has_outline(thing):
                found["without a polygon"].append(name)
            elif not thing.crowd:
                if isinstance(shape, list):
                    found["of under"] += [name] * (len(shape) - len(usable_polygons(shape)))
                x0, y0, x1, y1 = thing.box
                if min(min(x1, WIDTH) - max(x0, 0), min(y1, HEIGHT) - max(y0, 0)) <= 1e-5:
                    found["without width"].append(name)
                elif max(-x0, -y0, x1 - WIDTH, y1 - HEIGHT) > 1:
                    found["beyond"].append(name)
    return {kind: (len(names), names[0]) for kind, names in found.items() if names}


def test_notes_are_what_the_rules_say_of_each_object():
    kinds = set()
    for seed in range(60):
        chance = random.Random(seed)
        images = tuple(
            ObjectImage(
                path=Path(f"{number}.jpg"),
                image_id=number,
                width=WIDTH,
                height=HEIGHT,
                objects=tuple(some_object(chance) for _ in range(chance.randint(0, 4))),
            )
            for number in range(4)
        )
        split = ObjectSplit(name="t", classes=("a",), images=images)
        expected = by_hand(split)
        notes = {
            "masks" if line in mask_notes(split) else line: line for line in training_notes(split) + mask_notes(split)
        }
        assert len(notes) == len(expected)
        for kind, (count, first) in expected.items():
            (line,) = (line for said, line in notes.items() if kind in said)
            assert f": {count}" in line and line.endswith(f"first in {first}")
        kinds |= expected.keys()
    assert len(kinds) == 5
