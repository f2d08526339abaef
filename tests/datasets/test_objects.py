"""VOC and COCO layouts: what is read, and that each broken annotation is one line with file and line number."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.coco import to_coco_json
from mec_transfer.datasets.objects import ObjectSplit, fingerprint, join_splits, open_objects, require_masks
from mec_transfer.datasets.voc import CLASSES


def voc_object(name="cell", box=(1, 1, 10, 20), difficult=0):
    corners = "".join(f"<{key}>{v}</{key}>" for key, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
    return f"<object>\n<name>{name}</name>\n<difficult>{difficult}</difficult>\n<bndbox>{corners}</bndbox>\n</object>\n"


def write_voc(folder: Path, images: dict[str, str], split="trainval", size=(30, 20)) -> Path:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, objects in images.items():
        Image.new("RGB", size).save(folder / "JPEGImages" / f"{name}.jpg")
        head = f"<annotation>\n<size><width>{size[0]}</width><height>{size[1]}</height></size>\n"
        (folder / "Annotations" / f"{name}.xml").write_text(f"{head}{objects}</annotation>")
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in images))
    return folder


def test_voc_boxes_are_half_open_and_classes_found(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object("cell", (1, 1, 30, 20)) + voc_object("atom", difficult=1), "b": ""})
    split = open_objects(root, "voc", "trainval")
    assert split.classes == ("atom", "cell") and [image.image_id for image in split.images] == ["a", "b"]
    whole, hard = split.images[0].objects
    assert (whole.box, whole.class_index, whole.difficult) == ((0, 0, 30, 20), 1, False)
    assert (hard.box, hard.class_index, hard.difficult) == ((0, 0, 10, 20), 0, True)
    assert split.images[1].objects == () and split.num_objects == 2
    with pytest.raises(DataError, match="objects of a.jpg have no segmentation, .*MODEL.MASK_ON: false"):
        require_masks(split)


def test_splits_of_a_devkit_go_by_year_and_the_twenty_classes_keep_their_order(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", {"a": voc_object("dog")})
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", {"b": voc_object("cat")})
    splits = [open_objects(tmp_path, "voc", f"{year}_trainval") for year in (2007, 2012)]
    assert all(split.classes == CLASSES for split in splits)
    assert [image.image_id for image in join_splits(splits).images] == ["a", "b"]
    with pytest.raises(DataError, match=r"no split '2007_test'; it has 2007_trainval, 2012_trainval"):
        open_objects(tmp_path, "voc", "2007_test")


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (voc_object(box=(5, 5, 31, 10)), r"a.xml:3: box \(4, 4, 31, 10\) reaches out of the image \(30x20\)"),
        (voc_object() + voc_object(box=(9, 5, 8, 10)), r"a.xml:8: empty box"),
        (voc_object(box=("x", 5, 8, 10)), r"a.xml:3: a bndbox needs four numbers"),
        ("<object>\n<name>cell</nam>\n", r"a.xml:4: malformed XML \(mismatched tag\)"),
    ],
)
def test_a_broken_voc_annotation_is_named_or_skipped(tmp_path, objects, message):
    root = write_voc(tmp_path, {"a": objects, "b": voc_object()})
    with pytest.raises(DataError, match=message):
        open_objects(root, "voc", "trainval")
    split = open_objects(root, "voc", "trainval", skip_invalid=True)
    assert len(split.skipped) == 1 and split.images[-1].image_id == "b"


def test_of_many_broken_annotations_the_first_are_named_and_where_all_are_listed(tmp_path):
    root = write_voc(tmp_path, {f"{i}": voc_object(box=(9, 5, 8, 10)) for i in range(9)})
    with pytest.raises(
        DataError, match=r"0.xml:3: .*4.xml:3: .*; and 4 more, which mec-transfer data check .* --layout voc"
    ):
        open_objects(root, "voc", "trainval")


def test_missing_image_unknown_class_wrong_size_and_double_entry(tmp_path):
    root = write_voc(tmp_path, {name: voc_object() for name in "abc"})
    (root / "JPEGImages" / "a.jpg").unlink()
    Image.new("RGB", (31, 20)).save(root / "JPEGImages" / "b.jpg")
    with pytest.raises(DataError, match=r"a.xml:1: its image .*a.jpg is missing; .*b.xml:2: says 30x20 .* has 31x20"):
        open_objects(root, "voc", "trainval")
    with pytest.raises(DataError, match=r"c.xml:3: unknown class 'cell'; there are dog"):
        open_objects(root, "voc", "trainval", classes=("dog",))
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("c\nc\n")
    with pytest.raises(DataError, match=r"trainval.txt:1: 'c' is listed twice"):
        open_objects(root, "voc", "trainval")


def coco_data():
    return {
        "images": [{"id": 7, "file_name": "x.png", "width": 30, "height": 20}],
        "categories": [{"id": 9, "name": "kite"}, {"id": 4, "name": "ball"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "bbox": [2, 3, 4, 5], "area": 11.0, "iscrowd": 0}
            | {"segmentation": [[2, 3, 6, 3, 6, 8]]},
            {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 30.4, 20], "iscrowd": 1}
            | {"segmentation": {"counts": [600], "size": [20, 30]}},
        ],
    }


def write_coco(root: Path, data, split="train2017") -> Path:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    Image.new("RGB", (30, 20)).save(root / split / "x.png")
    text = data if isinstance(data, str) else json.dumps(data, indent=1)
    (root / "annotations" / f"instances_{split}.json").write_text(text)
    return root


def test_coco_categories_are_numbered_by_id(tmp_path):
    split = open_objects(write_coco(tmp_path, coco_data()), "coco", "train2017")
    assert split.classes == ("ball", "kite")
    require_masks(split)
    kite, crowd = split.images[0].objects
    assert (kite.class_index, kite.box, kite.area, kite.crowd) == (1, (2, 3, 6, 8), 11, False)
    assert crowd.crowd and crowd.box == (0, 0, 30, 20)  # rounding at the border is forgiven, and cut off
    again = to_coco_json(split)
    assert again["annotations"][0]["bbox"] == [2, 3, 4, 5] and again["annotations"][0]["category_id"] == 2
    assert [item["iscrowd"] for item in again["annotations"]] == [0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [2, 3, 0, 5]}, "annotation 1: empty box"),
        ({"bbox": [20, 3, 15, 5]}, "annotation 1: box .* reaches out"),
        ({"segmentation": [[1, 2, 3, 4]]}, "annotation 1: a polygon of 2 points"),
        ({"segmentation": {"counts": "x", "size": [30, 20]}}, r"annotation 1: an RLE .* the image's size, \[20, 30\]"),
        ({"segmentation": {"counts": [5, 6], "size": [20, 30]}}, "annotation 1: an RLE's counts .* 600 pixels"),
        ({"category_id": 5}, "annotation 1: unknown class number 5"),
        ({"image_id": 8}, "annotation 1: there is no image 8"),
    ],
)
def test_a_broken_coco_annotation_is_named_with_its_line_or_skipped(tmp_path, change, message):
    data = coco_data()
    data["annotations"][0] |= change
    root = write_coco(tmp_path, data)
    lines = (root / "annotations" / "instances_train2017.json").read_text().splitlines()
    line = next(i for i, text in enumerate(lines, start=1) if '"annotations"' in text) + 1
    with pytest.raises(DataError, match=rf"instances_train2017.json:{line}: {message}"):
        open_objects(root, "coco", "train2017")
    split = open_objects(root, "coco", "train2017", skip_invalid=True)
    assert len(split.images[0].objects) == 1 and len(split.skipped) == 1


def test_malformed_json_and_missing_files(tmp_path):
    root = write_coco(tmp_path, '{"images": [\n{"id": 1,}]}')
    with pytest.raises(DataError, match=r"instances_train2017.json:2: malformed JSON"):
        open_objects(root, "coco", "train2017")
    with pytest.raises(DataError, match=r"no annotations/instances_val.json; it has train2017"):
        open_objects(root, "coco", "val")
    write_coco(tmp_path, coco_data())
    (root / "train2017" / "x.png").unlink()
    with pytest.raises(DataError, match=r"instances_train2017.json:3: image 7: .*x.png is missing"):
        open_objects(root, "coco", "train2017")


def test_fingerprint_sees_annotations_and_pixels_but_not_the_place(tmp_path):
    def make(name, **change) -> ObjectSplit:
        return open_objects(write_voc(tmp_path / name, {"a": voc_object(**change)}), "voc", "trainval")

    first = fingerprint({"train": make("one")})
    assert fingerprint({"train": make("two")}) == first
    assert fingerprint({"train": make("three", box=(1, 1, 10, 19))}) != first
    Image.new("RGB", (30, 20), (9, 9, 9)).save(tmp_path / "two" / "JPEGImages" / "a.jpg")
    assert fingerprint({"train": open_objects(tmp_path / "two", "voc", "trainval")}) != first
