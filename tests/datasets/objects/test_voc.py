"""The VOC layout: what is read, and that each broken annotation is one line with file and line number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.objects.splits import require_masks
from mec_transfer.datasets.objects.voc import CLASSES
from mec_transfer.datasets.registry import find_layout
from tests.datasets.objects.objects_world import voc_object, write_voc
from tests.datasets.reading import open_objects, open_splits


def test_boxes_are_half_open_and_classes_found(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object("cell", (1, 1, 30, 20)) + voc_object("atom", difficult=1), "b": ""})
    split = open_objects(root, "voc", "trainval")
    assert split.classes == ("atom", "cell") and [image.image_id for image in split.images] == ["a", "b"]
    whole, hard = split.images[0].objects
    assert (whole.box, whole.class_index, whole.difficult) == ((0, 0, 30, 20), 1, False)
    assert (hard.box, hard.class_index, hard.difficult) == ((0, 0, 10, 20), 0, True)
    assert split.images[1].objects == () and split.num_objects == 2
    with pytest.raises(DataError, match="objects of a.jpg have no segmentation, .*MODEL.MASK_ON: false"):
        require_masks(split)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (voc_object(box=(32, 5, 41, 10)), r"a.xml:3: box \(31, 4, 41, 10\) lies outside the image \(30x20\)"),
        (voc_object() + voc_object(box=(9, 5, 8, 10)), r"a.xml:8: empty box \(9, 5, 8, 10\)"),
        (voc_object(box=("x", 5, 8, 10)), r"a.xml:3: a bndbox needs four numbers, found .*'x'"),
        (voc_object(box=("1,5", 5, 8, 10)), r"a.xml:3: a bndbox needs four numbers"),
        (voc_object(box=("nan", 5, 8, 10)), r"a.xml:3: a bndbox needs four numbers"),
        ("<object>\n<name>cell</nam>\n", r"a.xml:4: malformed XML \(mismatched tag\)"),
        ("<object><name>cell</name></object>", r"a.xml:3: an object needs one <bndbox>, found none"),
        (voc_object().replace("<name>", "<name>x</name><name>"), r"a.xml:3: an object needs one <name>, found 2"),
        (voc_object(name=""), r"a.xml:3: an object has no name"),
        (voc_object(difficult="perhaps"), r"a.xml:3: difficult is a string \('perhaps'\), 0 or 1 is needed"),
        (f"<objects>\n{voc_object()}</objects>", r"a.xml:4: an <object> that does not stand directly in <annotation>"),
        ("&x;", r"a.xml:3: malformed XML \(undefined entity\)"),
    ],
)
def test_a_broken_annotation_is_named_or_skipped(tmp_path, objects, message):
    root = write_voc(tmp_path, {"a": objects, "b": voc_object()})
    with pytest.raises(DataError, match=message):
        open_objects(root, "voc", "trainval")
    split = open_objects(root, "voc", "trainval", skip_invalid=True)
    assert len(split.skipped) == 1 and split.images[-1].image_id == "b"


def test_missing_image_unknown_class_wrong_size_and_double_entry(tmp_path):
    root = write_voc(tmp_path, {name: voc_object() for name in "abc"})
    (root / "JPEGImages" / "a.jpg").unlink()
    Image.new("RGB", (31, 20)).save(root / "JPEGImages" / "b.jpg")
    with pytest.raises(
        DataError, match=r"a.xml:1: its image .*a.jpg is missing; .*b.xml:2: b.jpg: has 31x20 .* says 30x20"
    ):
        open_splits(root, "voc", ["trainval"], look="sample")
    with pytest.raises(DataError, match=r"c.xml:3: unknown class 'cell'; there are dog"):
        open_objects(root, "voc", "trainval", classes=("dog",))
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("c\n\nc\n")
    with pytest.raises(DataError, match=r"trainval.txt:3: 'c' is listed twice, first in line 1"):
        open_objects(root, "voc", "trainval")


@pytest.mark.parametrize("size", [("30.0", "20.0"), (" 30 ", "20"), ("0", "0"), ("", "")])
def test_sizes_may_be_floats_or_left_out(tmp_path, size):
    (image,) = open_objects(write_voc(tmp_path, {"a": voc_object()}, size=size), "voc", "trainval").images
    assert (image.width, image.height) == (30, 20)


def test_a_turned_image_needs_a_size_that_tells_its_frame(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object(), "b": ""}, size=(0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        Image.new("RGB", (20, 30)).save(root / "JPEGImages" / f"{name}.jpg", exif=exif)
    with pytest.raises(DataError, match=r"a.jpg: is turned by EXIF; its annotation needs the <size>"):
        open_objects(root, "voc", "trainval")
    (image,) = open_objects(root, "voc", "trainval", skip_invalid=True).images
    assert (image.image_id, image.width, image.height) == ("b", 30, 20)  # without a box, it does not matter


@pytest.mark.parametrize(
    ("size", "message"), [(("wide", 20), "the size is a string"), ((30.5, 20), "width is a string")]
)
def test_a_size_that_is_none_is_named(tmp_path, size, message):
    with pytest.raises(DataError, match=rf"a.xml:2: the size.*{message.split()[-1]} .*needed"):
        open_objects(write_voc(tmp_path, {"a": voc_object()}, size=size), "voc", "trainval")


@pytest.mark.parametrize(
    ("difficult", "expected"), [("0", False), ("1", True), ("True", True), ("Unspecified", False), ("", False)]
)
def test_difficult_as_tools_write_it(tmp_path, difficult, expected):
    root = write_voc(tmp_path, {"a": voc_object(difficult=difficult)})
    assert open_objects(root, "voc", "trainval").images[0].objects[0].difficult is expected


def test_names_are_tidied(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object("\n traffic\n  light "), "b": voc_object("traffic light")})
    assert open_objects(root, "voc", "trainval").classes == ("traffic light",)


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "gb2312", "latin-1", "utf-16", "shift_jis", "utf-8-sig"])
def test_annotations_are_read_in_the_encoding_that_they_declare(tmp_path, encoding):
    name = "é" if encoding == "latin-1" else "猫"
    root = write_voc(tmp_path, {"a": voc_object(name)}, head=f'<?xml version="1.0" encoding="{encoding}"?>\n')
    path = root / "Annotations" / "a.xml"
    text = path.read_text(encoding="utf-8").replace("utf-8-sig", "utf-8")
    path.write_text(text, encoding=encoding)
    assert open_objects(root, "voc", "trainval").classes == (name,)


@pytest.mark.parametrize(
    ("head", "data", "message"),
    [
        ("", "狗".encode("gbk"), "a.xml:4: is not utf-8 text; save it as UTF-8, or declare its encoding"),
        ('<?xml version="1.0" encoding="klingon"?>', b"", "a.xml:1: declares the unknown encoding 'klingon'"),
        ('<?xml version="1.0" encoding="hex"?>', b"", "a.xml:1: declares the unknown encoding 'hex'"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>', b"&b;", "a.xml:1: uses XML entities of its own"),
        ("<html/>", b"", "a.xml:1: malformed XML"),
    ],
)
def test_what_cannot_be_decoded_is_named_with_its_line(tmp_path, head, data, message):
    root = write_voc(tmp_path, {"a": voc_object("NAME")}, head=head)
    path = root / "Annotations" / "a.xml"
    path.write_bytes(path.read_bytes().replace(b"NAME", data or b"cell"))
    with pytest.raises(DataError, match=re.escape(message)):
        open_objects(root, "voc", "trainval")


def test_entities_that_unfold_without_end_are_refused_and_depth_is_not(tmp_path):
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 30))
    root = write_voc(tmp_path, {"a": voc_object("&a29;")}, head=f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]>')
    with pytest.raises(DataError, match="a.xml:1: uses XML entities"):
        open_objects(root, "voc", "trainval")
    deep = "<x>" * 10**5 + "</x>" * 10**5
    assert open_objects(write_voc(tmp_path, {"a": deep + voc_object()}), "voc", "trainval").num_objects == 1


@pytest.mark.parametrize("text", ["", "<html></html>"])
def test_a_file_that_is_no_annotation_is_named(tmp_path, text):
    root = write_voc(tmp_path, {"a": voc_object()})
    (root / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a.xml:1: (the file is empty|the file begins with <html>)"):
        open_objects(root, "voc", "trainval")


@pytest.mark.parametrize(
    "text",
    [
        *("{0}\n{1}\n", "{0}\r\n{1}\r\n", "\ufeff{0}\n{1}", "  {0}\t\n\n{1}  ", "{0}  1\n{1} -1\n", "{0} 0\n{1}  1"),
        *("{0}.jpg\n{1}.JPG", "./data/{0}.png\nJPEGImages/{1}.jpg", "C:\\data\\{0}.jpg\n{1}.xml"),
    ],
)
@pytest.mark.parametrize("names", [("000001", "000002"), ("my image 1", "my image 2"), ("a.b.c", "Leaves (3) 1")])
def test_lists_are_read_as_tools_write_them(tmp_path, text, names):
    root = write_voc(tmp_path, dict.fromkeys(names, voc_object()))
    (root / "ImageSets" / "Main" / "trainval.txt").write_text(text.format(*names), encoding="utf-8", newline="")
    assert [image.image_id for image in open_objects(root, "voc", "trainval").images] == list(names)


def test_an_entry_without_annotation_is_named_by_the_name_it_has(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object()})
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("a\nb 1\n")
    with pytest.raises(DataError, match=r"Annotations/b.xml: cannot be read \(No such file"):
        open_objects(root, "voc", "trainval")


def test_lists_of_one_class_are_no_splits_of_their_own(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object(), "b": voc_object()})
    for name, text in (("cell_trainval", "a  1\nb -1\n"), ("small_trainval", "a\n")):
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    assert find_layout("voc").split_names(root) == ["small_trainval", "trainval"]
    assert len(open_objects(root, "voc", "cell_trainval").images) == 2


def test_files_of_macos_are_passed_over(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object("cell")})
    for name in ("ImageSets/Main/._trainval.txt", "Annotations/._a.xml", "JPEGImages/._a.jpg"):
        (root / name).write_bytes(b"\x00\x05\x16\x07")
    (root / "__MACOSX" / "ImageSets" / "Main").mkdir(parents=True)
    assert find_layout("voc").split_names(root) == ["trainval"]
    assert open_splits(root, "voc", ["trainval"], look="all")["trainval"].num_objects == 1


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".Png", ".bmp"])
def test_images_may_end_in_any_case(tmp_path: Path, suffix: str) -> None:
    root = write_voc(tmp_path, {"a": voc_object()})
    Image.new("RGB", (30, 20)).save(root / "JPEGImages" / "b.png")
    (root / "JPEGImages" / "a.jpg").unlink()
    (root / "JPEGImages" / "b.png").rename(root / "JPEGImages" / f"a{suffix}")
    assert open_objects(root, "voc", "trainval").images[0].path.name == f"a{suffix}"


def test_splits_have_the_classes_of_all_of_them(tmp_path):
    root = write_voc(tmp_path, {"a": voc_object("helmet")})
    write_voc(root, {"b": voc_object("person")}, split="test")
    splits = open_splits(root, "voc", ["trainval", "test"])
    assert splits["trainval"].classes == splits["test"].classes == ("helmet", "person")
    assert open_objects(root, "voc", "test").classes == CLASSES  # alone, it is one of VOC's twenty
