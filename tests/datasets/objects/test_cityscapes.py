"""Cityscapes: polygons over one another to masks, and one line for whatever is wrong in a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from mec_transfer.cli.main import main
from mec_transfer.common.errors import DataError
from mec_transfer.datasets import states
from mec_transfer.datasets.objects import cityscapes
from mec_transfer.datasets.objects.cityscapes import CLASSES
from mec_transfer.datasets.registry import find_layout
from tests.datasets.reading import open_objects, read_splits

SIZE = (40, 24)
ROAD = {"label": "road", "polygon": [[0, 12], [39, 12], [39, 23], [0, 23]]}
SECRET = [{"label": label, "polygon": [[0, 0], [39, 0], [39, 2]]} for label in ("ego vehicle", "out of roi")]


def square(label: str, x: int, y: int, side: int = 6, **more: Any) -> dict[str, Any]:
    """A polygon that covers side x side pixels: its points are pixels, which it includes."""
    end_x, end_y = x + side - 1, y + side - 1
    return {"label": label, "polygon": [[x, y], [end_x, y], [end_x, end_y], [x, end_y]], **more}


def write(root: Path, split: str, name: str, objects: list[dict[str, Any]], city: str = "ulm") -> Path:
    """Write an image and its polygons; return the JSON."""
    image = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
    truth = root / "gtFine" / split / city / f"{name}_gtFine_polygons.json"
    for path in (image, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (90, 120, 90)).save(image)
    truth.write_text(json.dumps({"imgHeight": SIZE[1], "imgWidth": SIZE[0], "objects": objects}, indent=1))
    return truth


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`train` of two images in two cities and `val` of one."""
    folder = tmp_path / "streets"
    write(folder, "train", "ulm_000000_000019", [ROAD, square("car", 3, 4), square("person", 20, 6)])
    write(folder, "train", "bonn_000001_000019", [ROAD, square("bus", 9, 8)], city="bonn")
    write(folder, "val", "ulm_000002_000019", [ROAD, square("rider", 5, 5)])
    return folder


def masks_of(tmp_path: Path, objects: list[dict[str, Any]]) -> list[tuple[str, bool, np.ndarray]]:
    """Return class, crowd and mask of what an image's polygons are read as."""
    write(tmp_path, "val", "ulm_000000_000019", objects)
    (image,) = open_objects(tmp_path, "cityscapes", "val").images
    return [(CLASSES[thing.class_index], thing.crowd, coco_mask.decode(thing.segmentation)) for thing in image.objects]


def test_later_polygons_cover_earlier_ones_whatever_they_are(tmp_path):
    car, person = square("car", 2, 2, 10), square("person", 8, 6, 8)
    pole, caravan = square("pole", 4, 0, 3), square("caravan", 0, 0, 4)
    hidden, over = square("bicycle", 30, 3, 4), square("truck", 29, 2, 8)
    found = masks_of(tmp_path, [ROAD, car, person, pole, caravan, hidden, over])
    assert [name for name, _, _ in found] == ["car", "person", "truck"]
    ids = np.zeros(SIZE[::-1], dtype=int)
    for number, (x, y, side) in enumerate([(2, 2, 10), (8, 6, 8), (4, 0, 3), (0, 0, 4), (30, 3, 4), (29, 2, 8)], 1):
        ids[y : y + side, x : x + side] = number
    for (_, _, mask), number in zip(found, (1, 2, 6)):
        assert np.array_equal(mask, ids == number)


def test_groups_are_crowds_and_what_is_not_drawn_covers_nothing(tmp_path):
    car = square("car", 2, 2, 10)
    nothing = [square("license plate", 3, 3), square("person", 4, 4, deleted=1), square("polegroup", 30, 3)]
    crowds = [square("persongroup", 14, 2, 4), square("caravangroup", 20, 2, 4), square("cargroup", 25, 2, 4)]
    found = masks_of(tmp_path, [car, *nothing, *crowds])
    assert [(name, crowd, int(mask.sum())) for name, crowd, mask in found] == [
        ("car", False, 100), ("person", True, 16), ("car", True, 16),
    ]  # fmt: skip


def test_holes_and_parts_stay_and_boxes_and_areas_are_those_of_what_shows(tmp_path):
    write(
        tmp_path,
        "val",
        "ulm_000000_000019",
        [square("bus", 4, 4, 12), square("pole", 8, 0, 4), square("sky", 5, 13, 2)],
    )
    (image,) = open_objects(tmp_path, "cityscapes", "val").images
    (bus,) = image.objects
    mask = coco_mask.decode(bus.segmentation)
    expected = np.zeros(SIZE[::-1], dtype=np.uint8)
    expected[4:16, 4:16] = 1
    expected[:4, 8:12] = expected[13:15, 5:7] = 0
    assert np.array_equal(mask, expected)
    assert bus.area == mask.sum() and bus.box == (4, 4, 16, 16)
    assert bus.segmentation["counts"] == coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    assert (image.image_id, image.width, image.height) == ("ulm_000000_000019", *SIZE)


POINTS = st.lists(st.tuples(st.integers(-5, 45), st.integers(-5, 30)), min_size=3, max_size=6)
THINGS = st.lists(st.tuples(st.sampled_from((*CLASSES, "sky", "trailer", "cargroup")), POINTS), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@example([("person", [(0, 4), (0, 4), (-3, 0)])])
@given(THINGS)
def test_masks_are_those_of_another_rasterisation_but_for_the_outline(things):
    """OpenCV's polygons, in an image of classes; the two may differ where an outline runs."""
    ours = np.zeros(SIZE[::-1], dtype=np.uint8)
    margin = 10  # OpenCV cuts lines that leave the image otherwise than the picture does
    theirs, outlines = (np.zeros((SIZE[1] + 2 * margin, SIZE[0] + 2 * margin), dtype=np.uint8) for _ in range(2))
    things = [*things, ("bus", square("bus", 30, 14)["polygon"])]  # a split of single pixels would be refused
    for label, points in things:
        outline = np.array(points, dtype=np.int32) + margin
        name = label.removesuffix("group")
        cv2.fillPoly(theirs, [outline], CLASSES.index(name) + 1 if name in CLASSES else 0)
        cv2.polylines(outlines, [outline], True, 1, thickness=3)
    theirs, outlines = (image[margin:-margin, margin:-margin] for image in (theirs, outlines))
    with tempfile.TemporaryDirectory() as folder:
        found = masks_of(Path(folder), [{"label": label, "polygon": points} for label, points in things])
    for name, _, mask in found:
        assert not ours[mask > 0].any()  # no pixel in two of them
        ours[mask > 0] = CLASSES.index(name) + 1
    assert np.array_equal(ours[outlines == 0], theirs[outlines == 0])


def test_classes_are_the_published_ones_and_their_splits_those_with_public_annotations(root):
    write(root, "test", "berlin_000000_000019", SECRET, city="berlin")
    (root / "gtFine" / "demoVideo").mkdir()
    layout = find_layout("cityscapes")
    assert layout.split_names(root) == ["train", "val"]
    splits = read_splits(root, "cityscapes", ["train", "val"])
    assert all(split.classes == CLASSES and not split.skipped for split in splits.values())
    assert [image.image_id for image in splits["train"].images] == ["bonn_000001_000019", "ulm_000000_000019"]
    with pytest.raises(DataError, match=r"gtFine/test: is annotated with regions that do not count alone"):
        read_splits(root, "cityscapes", ["test"])


def test_other_classes_can_be_named(root):
    write(root, "val", "ulm_000002_000019", [ROAD, square("tram", 5, 5)])
    assert (
        "unknown label 'tram'; objects are person, rider" in read_splits(root, "cityscapes", ["val"])["val"].skipped[0]
    )
    (image,) = open_objects(root, "cityscapes", "val", ("tram", "car")).images
    assert [thing.class_index for thing in image.objects] == [0]


def edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data, indent=1))


BONN = "bonn/bonn_000001_000019"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.clear(), r"polygons.json:1: its imgWidth is missing, a number is needed"),
        (lambda d: d.update(imgHeight="tall"), r"polygons.json:1: its imgHeight is a string \('tall'\), a number"),
        (lambda d: d.update(imgHeight=10**9), r"polygons.json:1: its size is 40x1000000000, more than any image"),
        (lambda d: d.update(objects=[]), r"polygons.json:1: 'objects' is empty"),
        (lambda d: d.update(objects=3), r"polygons.json:1: 'objects' must be a list of objects"),
        (
            lambda d: d["objects"][1].pop("label"),
            r"polygons.json:26: object 2: its label is missing, a string is needed",
        ),
        (
            lambda d: d["objects"][1].update(label="cat"),
            r"polygons.json:26: object 2: unknown label 'cat'; objects are",
        ),
        (lambda d: d["objects"][1].update(label="catgroup"), r"unknown label 'catgroup'"),
        (lambda d: d["objects"][1].update(polygon=[[1, 2], [3, 4]]), r":26: object 2: a polygon is three points"),
        (lambda d: d["objects"][1].update(polygon=[[1, 2], [3, 4], [5]]), r"a polygon is three points"),
        (lambda d: d["objects"][1].update(polygon=None), r"a polygon is three points .*, found missing"),
        (lambda d: d["objects"][0].update(polygon=[[1, 2], [3, float("nan")], [5, 6]]), r":5: object 1: a polygon is"),
        (lambda d: d["objects"][1].update(polygon=[[1, 2], [3, 1e9], [5, 6]]), r"a polygon is three points"),
        (lambda d: d["objects"][1].update(deleted="maybe"), r"deleted is a string \('maybe'\), 0 or 1 is needed"),
        (
            lambda d: d.update(imgWidth=41),
            r"polygons.json:3: bonn_000001_000019_leftImg8bit.png: has 40x24 pixels, its",
        ),
    ],
)
def test_a_broken_annotation_is_one_line_and_leaves_its_image_out(root, change, expected):
    edit(root / "gtFine" / "train" / f"{BONN}_gtFine_polygons.json", change)
    with pytest.raises(DataError, match=expected) as caught:
        open_objects(root, "cityscapes", "train", look="sample")
    assert "\n" not in str(caught.value) and "leave them out with --skip-invalid" in str(caught.value)
    split = open_objects(root, "cityscapes", "train", skip_invalid=True)
    assert [image.image_id for image in split.images] == ["ulm_000000_000019"] and len(split.skipped) == 1


def test_files_without_a_counterpart_are_named(root):
    image, truth = (root / kind / "train" for kind in ("leftImg8bit", "gtFine"))
    (truth / f"{BONN}_gtFine_polygons.json").write_text("{")
    (truth / "ulm" / "ulm_000000_000019_gtFine_polygons.json").rename(truth / "ulm" / "ulm_3_gtFine_polygons.json")
    Image.new("RGB", SIZE).save(image / "ulm" / "photo.jpg")
    lines = read_splits(root, "cityscapes", ["train"])["train"].skipped
    said = [line.removeprefix(f"{root}/").replace(str(root), "ROOT") for line in lines]
    assert said == [
        "leftImg8bit/train/ulm/photo.jpg: is not called NAME_leftImg8bit.png, so it has no polygons",
        "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png: its annotation "
        "ROOT/gtFine/train/ulm/ulm_000000_000019_gtFine_polygons.json is missing",
        "gtFine/train/ulm/ulm_3_gtFine_polygons.json: its image "
        "ROOT/leftImg8bit/train/ulm/ulm_3_leftImg8bit.png is missing",
        said[-1],
    ]
    assert said[-1].startswith(f"gtFine/train/{BONN}_gtFine_polygons.json:1: malformed JSON (")


def test_an_image_of_many_objects_is_read_as_one_of_few(root, monkeypatch):
    few = read_splits(root, "cityscapes", ["train"])["train"]
    monkeypatch.setattr(cityscapes, "_NUMBERS", 2)
    assert read_splits(root, "cityscapes", ["train"])["train"].images == few.images


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            lambda root: (root / "gtFine").rename(root / "gtCoarse"),
            "has gtCoarse alone, whose outlines are rough; unpack",
        ),
        (lambda root: shutil.rmtree(root / "gtFine"), "has no gtFine; unpack gtFine_trainvaltest.zip there"),
        (lambda root: shutil.rmtree(root / "leftImg8bit"), "has no leftImg8bit; unpack leftImg8bit_trainvaltest.zip"),
        (lambda root: shutil.rmtree(root / "gtFine" / "val"), r"has no split 'val' \(no gtFine/val\); it has train"),
        (lambda root: shutil.rmtree(root / "leftImg8bit" / "val"), r"has no split 'val' \(no leftImg8bit/val\)"),
        (
            lambda root: shutil.rmtree(root / "gtFine" / "val" / "ulm"),
            "leftImg8bit/val: has no CITY/NAME_leftImg8bit.png",
        ),
    ],
)
def test_missing_folders_are_named(root, spoil, expected):
    spoil(root)
    with pytest.raises(DataError, match=expected):
        open_objects(root, "cityscapes", "val")


def test_who_lacks_an_archive_is_told_so_by_a_benchmark_too(root, capsys):
    (root / "gtFine").rename(root / "gtCoarse")
    job = ["detect", "random:resnet18", "--config", "cityscapes_fpn", "--data", str(root), "--out", str(root / "out")]
    assert main([*job, "--device", "cpu"]) == 2
    assert "has gtCoarse alone, whose outlines are rough" in capsys.readouterr().err


def test_what_was_read_is_kept_until_a_file_changes(root, tmp_path, monkeypatch):
    monkeypatch.setattr(states, "_SETTLED_NS", -(10**18))
    reads: list[str] = []
    real = cityscapes.CityscapesSource.read
    monkeypatch.setattr(
        cityscapes.CityscapesSource, "read", lambda self, classes: (reads.append(self.name), real(self, classes))[1]
    )

    def objects() -> int:
        splits = read_splits(root, "cityscapes", ["train", "val"], look="sample", kept=tmp_path / "kept")
        return sum(split.num_objects for split in splits.values())

    assert (objects(), objects(), len(reads)) == (4, 4, 2)
    write(root, "val", "ulm_000002_000019", [ROAD, square("rider", 5, 5), square("rider", 15, 5)])
    assert (objects(), len(reads)) == (5, 4)
    write(root, "train", "jena_000002_000019", [ROAD, square("train", 5, 5)], city="jena")
    assert (objects(), len(reads)) == (6, 6)


def test_data_check_knows_the_layout(root, capsys):
    assert main(["data", "check", str(root), "--layout", "cityscapes", "--thorough"]) == 0
    out = capsys.readouterr().out
    assert "train: 2 images, 3 objects, 8 classes\nval: 1 images, 1 objects, 8 classes" in out
    assert main(["data", "check", str(root), "--config", "cityscapes_fpn"]) == 0
    assert "note: is not cityscapes: 2 images in train, not 2975" in capsys.readouterr().out
    edit(root / "gtFine" / "train" / f"{BONN}_gtFine_polygons.json", lambda data: data.update(objects=[]))
    assert main(["data", "check", str(root), "--layout", "cityscapes"]) == 2
    assert capsys.readouterr().out.count("problem: ") == 1
