"""What VOC and COCO share: problems are collected and named, splits joined, data fingerprinted."""

from __future__ import annotations

import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.objects.splits import ObjectSplit, fingerprints, join_splits
from mec_transfer.datasets.objects.voc import CLASSES
from tests.datasets.objects.objects_world import coco_data, voc_object, write_coco, write_voc
from tests.datasets.reading import open_objects, open_splits, read_splits


def test_splits_of_a_devkit_go_by_year_and_the_twenty_classes_keep_their_order(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", {"a": voc_object("dog")})
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", {"b": voc_object("cat")})
    splits = open_splits(tmp_path, "voc", ["2007_trainval", "2012_trainval"])
    assert all(split.classes == CLASSES for split in splits.values())
    assert [image.image_id for image in join_splits(list(splits.values())).images] == ["a", "b"]
    with pytest.raises(DataError, match=r"no split '2007_test'; it has 2007_trainval, 2012_trainval"):
        open_objects(tmp_path, "voc", "2007_test")


def test_of_many_broken_annotations_the_first_are_named_and_where_all_are_listed(tmp_path):
    root = write_voc(tmp_path, {f"{i}": voc_object(box=(9, 5, 8, 10)) for i in range(9)})
    with pytest.raises(
        DataError, match=r"0.xml:3: .*4.xml:3: .*; and 4 more, which mec-transfer data check .* --layout voc"
    ):
        open_objects(root, "voc", "trainval")
    assert len(read_splits(root, "voc", ["trainval"])["trainval"].skipped) == 9


def test_a_split_without_a_usable_image_says_why(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object()})
    (root / "JPEGImages" / "a.jpg").write_bytes(b"")
    assert len(open_objects(root, "voc", "trainval").images) == 1  # the files are not looked at
    with pytest.raises(DataError, match=r"a.xml:2: a.jpg: not a readable image .*or empty"):
        open_splits(root, "voc", ["trainval"], look="sample")
    with pytest.raises(DataError, match=r"'trainval' has no usable image: .*a.xml:2: a.jpg: not a readable image"):
        open_splits(root, "voc", ["trainval"], skip_invalid=True)


def test_every_opening_leaves_the_same_images_out(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object(), "b": voc_object()})
    Image.new("RGB", (31, 20)).save(root / "JPEGImages" / "b.jpg")
    openings = [
        open_splits(root, "voc", ["trainval"], skip_invalid=True, look=look) for look in ("no", "sample", "all")
    ]
    assert openings[0] == openings[1] == openings[2]
    assert [image.image_id for image in openings[0]["trainval"].images] == ["a"]


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_fingerprint_sees_annotations_and_pixels_but_not_the_place(tmp_path, layout):
    def make(name: str, right: int = 10) -> ObjectSplit:
        if layout == "voc":
            root = write_voc(tmp_path / name, {"a": voc_object(box=(1, 1, right, 20))}, split="train2017")
        else:
            data = coco_data()
            data["annotations"][0]["bbox"][2] = right
            root = write_coco(tmp_path / name, data)
        return open_objects(root, layout, "train2017")

    first = fingerprints({"train": make("one")})
    assert fingerprints({"train": make("two")}) == first
    assert fingerprints({"train": make("three", right=9)}) != first
    path = make("two").images[0].path
    Image.new("RGB", (30, 20), (9, 9, 9)).save(path)
    assert fingerprints({"train": open_objects(tmp_path / "two", layout, "train2017")}) != first


def test_a_data_set_of_the_published_counts_is_trusted_in_the_frame_of_its_pictures(tmp_path):
    root = tmp_path / "voc"
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (30, 20)).save(root / "JPEGImages" / "a.jpg", exif=exif)
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    size = "<size><width>30</width><height>20</height></size>"
    (root / "Annotations" / "a.xml").write_text(
        f"<annotation>{size}<object><name>cat</name>{box}</object></annotation>"
    )
    for published in (None, {"train": 2}, {"test": 1}):
        with pytest.raises(DataError, match="no size tells"):
            open_splits(root, "voc", ["train"], look="sample", published=published)
    assert len(open_splits(root, "voc", ["train"], look="sample", published={"train": 1})["train"].images) == 1
