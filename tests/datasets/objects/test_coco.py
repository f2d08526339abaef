"""The COCO layout: what is read, and that each broken annotation is one line with file and line number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.objects.coco_items import to_coco_json
from mec_transfer.datasets.objects.polygons import measurable
from mec_transfer.datasets.objects.splits import ObjectSplit, require_masks
from mec_transfer.datasets.registry import find_layout
from tests.datasets.objects.objects_world import coco_data, line_of, write_coco
from tests.datasets.reading import open_objects, open_splits, read_splits


def read(root: Path, data: Any = None) -> ObjectSplit:
    return open_objects(write_coco(root, coco_data() if data is None else data), "coco", "train2017")


def test_categories_are_numbered_by_id_and_boxes_stay_as_they_are(tmp_path):
    split = read(tmp_path)
    assert split.classes == ("ball", "kite")
    require_masks(split)
    kite, crowd = split.images[0].objects
    assert (kite.class_index, kite.box, kite.area, kite.crowd) == (1, (2, 3, 6, 8), 11, False)
    assert crowd.crowd and crowd.box == (0, 0, 30.4, 20)
    again = to_coco_json(split)
    assert again["annotations"][0]["bbox"] == [2, 3, 4, 5] and again["annotations"][0]["category_id"] == 2
    assert [item["iscrowd"] for item in again["annotations"]] == [0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [2, 3, -1, 5]}, r"empty box \(2, 3, 1, 8\): its second corner"),
        ({"bbox": [40, 3, 15, 5]}, r"box \(40, 3, 55, 8\) lies outside the image \(30x20\)"),
        ({"bbox": None}, "a bbox is four numbers .*, found missing"),
        ({"bbox": [2, 3, 4]}, "a bbox is four numbers"),
        ({"bbox": [2, 3, float("nan"), 5]}, r"a bbox is four numbers .*nan"),
        ({"bbox": [2, 3, True, 5]}, "a bbox is four numbers"),
        ({"segmentation": [1, 2, 3, 4, 5, 6]}, "a segmentation is a list of polygons"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("inf")]]}, "a number of a polygon is inf"),
        ({"segmentation": {"counts": "x", "size": [30, 20]}}, r"an RLE .* the image's size, \[20, 30\]"),
        ({"segmentation": {"counts": [5, 6], "size": [20, 30]}}, "an RLE's counts .* 600 pixels"),
        ({"segmentation": {"counts": "x", "size": [20, 30]}}, "malformed RLE"),
        ({"category_id": 5}, "unknown class number 5"),
        ({"category_id": None}, "its category_id is missing"),
        ({"image_id": 8}, "there is no image 8"),
        ({"image_id": True}, r"its image_id is true or false \(True\), a number is needed"),
        ({"iscrowd": "maybe"}, r"iscrowd is a string \('maybe'\), 0 or 1 is needed"),
        ({"iscrowd": 2}, "iscrowd is 2, 0 or 1"),
        ({"area": "big"}, r"area is a string \('big'\), a number is needed"),
        ({"area": -4}, "its area is -4"),
        ({"ignore": 1}, "'ignore' is set"),
    ],
)
def test_a_broken_annotation_is_named_with_its_line_or_skipped(tmp_path, change, message):
    data = coco_data()
    data["annotations"][0] |= change
    root = write_coco(tmp_path, data)
    line = line_of(root / "annotations" / "instances_train2017.json", '"annotations"') + 1
    with pytest.raises(DataError, match=rf"instances_train2017.json:{line}: annotation 1: {message}"):
        open_objects(root, "coco", "train2017")
    split = open_objects(root, "coco", "train2017", skip_invalid=True)
    assert len(split.images[0].objects) == 1 and len(split.skipped) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"iscrowd": "0"}, {"crowd": False}),
        ({"iscrowd": "1"}, {"crowd": True}),
        ({"iscrowd": None}, {"crowd": False}),
        ({"iscrowd": True}, {"crowd": True}),
        ({"iscrowd": "false"}, {"crowd": False}),
        ({"area": None}, {"area": None}),
        ({"area": "12.5"}, {"area": 12.5}),
        ({"segmentation": []}, {"segmentation": None}),
        ({"segmentation": None}, {"segmentation": None}),
        ({"bbox": ["2", "3", "4.0", "5"]}, {"box": (2, 3, 6, 8)}),
        ({"bbox": [2, 3, 4, 0]}, {"box": (2, 3, 6, 3)}),
        ({"image_id": "7"}, {"class_index": 1}),
        ({"image_id": 7.0}, {"class_index": 1}),
        ({"category_id": "4"}, {"class_index": 0}),
    ],
)
def test_what_tools_write_otherwise_is_read_as_it_is_meant(tmp_path, change, expected):
    data = coco_data()
    data["annotations"][0] |= change
    (thing, _) = read(tmp_path, data).images[0].objects
    assert {key: getattr(thing, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, r"image 'x.png': its id is missing, a number is needed"),
        ({"id": [7]}, r"image \[7\]: its id is a list"),
        ({"width": 30.5}, "image 7: its width is 30.5, a whole number from 1 on is needed"),
        ({"height": 0}, "image 7: its height is 0"),
        ({"height": "tall"}, r"image 7: its height is a string \('tall'\)"),
        ({"height": True}, r"image 7: its height is true or false"),
        ({"file_name": None}, "image 7: its file_name is missing"),
        ({"file_name": "y.png"}, "image 7: .*train2017/y.png is missing"),
        ({"file_name": ""}, "image 7: its file_name is empty"),
        ({"file_name": "a\nb"}, r"image 7: 'a\\nb' is missing"),
    ],
)
def test_a_broken_image_is_named_with_its_line_and_its_objects_with_it(tmp_path, change, message):
    data = coco_data()
    data["images"][0] |= change
    data["images"].append({"id": 8, "file_name": "x.png", "width": 30, "height": 20})
    root = write_coco(tmp_path, data)
    with pytest.raises(DataError, match=rf"instances_train2017.json:3: {message}"):
        open_objects(root, "coco", "train2017")
    assert [image.image_id for image in open_objects(root, "coco", "train2017", skip_invalid=True).images] == [8]


@pytest.mark.parametrize("change", [{"width": 30.0}, {"width": "30", "height": "20.0"}, {"id": "7"}, {"id": 7.0}])
def test_sizes_and_ids_may_be_written_as_floats_or_strings(tmp_path, change):
    data = coco_data()
    data["images"][0] |= change
    (image,) = read(tmp_path, data).images
    assert (image.image_id, image.width, image.height, len(image.objects)) == (7, 30, 20, 2)


def test_ids_that_are_no_numbers_come_after_numbers(tmp_path):
    data = coco_data()
    data["images"] += [{**data["images"][0], "id": key} for key in ("b", "010", "3")]
    data["annotations"][0]["image_id"] = "b"
    split = read(tmp_path, data)
    assert [image.image_id for image in split.images] == [3, 7, "010", "b"]
    assert [len(image.objects) for image in split.images] == [0, 1, 0, 1]
    data["images"].append({**data["images"][0], "id": "7"})
    with pytest.raises(DataError, match=r"image '7': its id is there twice"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n{"id": 1,}]}', r"instances_train2017.json:2: malformed JSON"),
        ("", r"instances_train2017.json:1: malformed JSON"),
        ('[{"id": 1}]', r"instances_train2017.json:1: needs 'images', 'annotations' and 'categories'"),
        ('{"images": {}, "annotations": [], "categories": []}', r"json:1: 'images' must be a list of objects"),
        ('{"images": [], "annotations": [], "categories": []}', r"json:1: 'categories' is empty"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', r"json:1: 'images' is empty"),
        ("[" * 10**6, r"json:1: malformed JSON \(nested too deeply\)"),
        ('{"images": [{"id": ' + "9" * 5000 + "}]}", r"json:1: malformed JSON"),
    ],
)
def test_a_file_that_is_no_coco_file_is_one_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_missing_splits_are_named_and_other_tasks_files_are_none(tmp_path):
    root = write_coco(tmp_path, coco_data())
    for name in ("captions_train2017", "person_keypoints_train2017", "._instances_train2017"):
        (root / "annotations" / f"{name}.json").write_text("x")
    assert find_layout("coco").split_names(root) == ["train2017"]
    with pytest.raises(DataError, match=r"no annotations/instances_val.json; it has train2017$"):
        open_objects(root, "coco", "val")


def test_byte_order_marks_are_read_over(tmp_path):
    root = write_coco(tmp_path, coco_data())
    path = root / "annotations" / "instances_train2017.json"
    text = path.read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(text, encoding=encoding)
        assert open_objects(root, "coco", "train2017").num_objects == 2


@pytest.mark.parametrize(
    "name", ["..\\train2017\\x.png", "C:\\data\\x.png", "train2017/x.png", "/mnt/gone/x.png", "x.png"]
)
def test_images_are_found_under_other_machines_paths(tmp_path, name):
    data = coco_data()
    data["images"][0]["file_name"] = name
    (image,) = read(tmp_path, data).images
    assert image.path.is_file() and image.path.name == "x.png"


def test_images_lie_in_subfolders_and_in_images_of_the_split(tmp_path):
    data = coco_data()
    data["images"][0]["file_name"] = "sub/y.png"
    root = write_coco(tmp_path, data)
    (root / "images" / "train2017" / "sub").mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(root / "images" / "train2017" / "sub" / "y.png")
    (image,) = open_objects(root, "coco", "train2017").images
    assert image.path == root / "images" / "train2017" / "sub" / "y.png"


def test_a_roboflow_export_is_read_as_it_is_unpacked(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(coco_data()))
        Image.new("RGB", (30, 20)).save(tmp_path / split / "x.png")
    (tmp_path / "__MACOSX").mkdir()
    assert find_layout("coco").split_names(tmp_path) == ["train", "valid"]
    splits = open_splits(tmp_path, "coco", ["train", "valid"], look="all")
    assert splits["valid"].images[0].path == tmp_path / "valid" / "x.png"


def test_two_categories_of_one_name_are_one_class_where_one_of_them_is_unused(tmp_path):
    data = coco_data()
    data["categories"].append({"id": 0, "name": "kite", "supercategory": "none"})
    split = read(tmp_path, data)
    assert split.classes == ("kite", "ball") and [o.class_index for o in split.images[0].objects] == [0, 1]
    data["annotations"][1]["category_id"] = 0
    root = write_coco(tmp_path, data)
    line = line_of(root / "annotations" / "instances_train2017.json", '"supercategory"') - 3
    with pytest.raises(DataError, match=rf"json:{line}: categories 9 and 0 are both called 'kite'"):
        open_objects(root, "coco", "train2017")


@pytest.mark.parametrize(
    ("category", "message"),
    [
        ({"id": 5}, "category 5: its name is missing, a string is needed"),
        ({"id": 5, "name": " "}, "category 5: its name is empty"),
        ({"name": "x"}, "category None: its id is missing"),
        ({"id": 9, "name": "x"}, "category 9: its id, 9, is that of 'kite' too"),
        ({"id": 5, "name": "\ud800"}, r"category 5: its name is .*not valid Unicode"),
    ],
)
def test_a_broken_category_is_named(tmp_path, category, message):
    data = coco_data()
    data["categories"].append(category)
    with pytest.raises(DataError, match=rf"instances_train2017.json:\d+: {message}"):
        read(tmp_path, data)


def test_splits_have_the_classes_of_all_of_them(tmp_path):
    write_coco(tmp_path, coco_data())
    data = coco_data()
    data["categories"] = [{"id": 1, "name": "atom"}, {"id": "4", "name": "ball"}]
    del data["annotations"][0]
    write_coco(tmp_path, data, "val2017")
    splits = open_splits(tmp_path, "coco", ["train2017", "val2017"])
    assert splits["train2017"].classes == splits["val2017"].classes == ("ball", "kite", "atom")
    assert splits["val2017"].images[0].objects[0].class_index == 0


def test_boxes_given_as_corners_are_not_taken_for_widths(tmp_path):
    data = coco_data()
    data["annotations"] = [
        {"id": i, "image_id": 7, "category_id": 4, "bbox": [10 + i, 8, 25 + i, 18]} for i in range(4)
    ]
    with pytest.raises(DataError, match="boxes read as corners .* all lie in their images"):
        read(tmp_path, data)
    data["annotations"].append({"id": 9, "image_id": 7, "category_id": 4, "bbox": [10, 8, 5, 5]})
    assert read(tmp_path, data).num_objects == 5


def test_fractions_are_not_taken_for_pixels(tmp_path):
    data = coco_data()
    data["annotations"] = [{"id": i, "image_id": 7, "category_id": 4, "bbox": [0.1, 0.2, 0.3, 0.4]} for i in range(4)]
    with pytest.raises(DataError, match="split 'train2017': no box reaches beyond the first pixel"):
        read(tmp_path, data)


def test_masks_are_measured_by_what_pycocotools_can_draw():
    whole, two, one = [0, 0, 9, 0, 9, 9], [0, 0, 9, 9], [0, 0]
    assert measurable([whole, two]) == [whole, two]  # as the published evaluator has it
    assert measurable([two, whole, one]) == [whole]
    assert measurable([two, one]) is None


def test_masks_are_asked_of_what_is_learnt(tmp_path):
    data = coco_data()
    del data["annotations"][1]["segmentation"]
    require_masks(read(tmp_path, data), training=True)
    with pytest.raises(DataError, match=r"objects of x.png have no segmentation, .*MODEL.MASK_ON: false"):
        require_masks(read(tmp_path, data))


def test_odd_annotations_are_read_as_plain_ones_are_and_keep_their_places(tmp_path):
    data = coco_data()
    data["images"].append({"id": 3, "file_name": "x.png", "width": 30, "height": 20})
    shape = data["annotations"][0]
    data["annotations"] = [
        {**shape, "id": n, "image_id": (7, 3)[n % 2], "bbox": [n, 3, 4, 5], "area": n, "iscrowd": n % 3 == 0}
        for n in range(12)
    ]
    plain = read(tmp_path, data)
    assert [thing.xywh[0] for image in plain.images for thing in image.objects] == [*range(1, 12, 2), *range(0, 12, 2)]
    for number in (1, 2, 4, 9):  # none of these is plain, and all mean what they meant
        data["annotations"][number] |= {
            "image_id": str((7, 3)[number % 2]),
            "area": str(number),
            "iscrowd": number % 3 == 0,
        }
        data["annotations"][number] |= {"segmentation": [[str(value) for value in shape["segmentation"][0]]]}
    assert read(tmp_path, data).images == tuple(plain.images)
    for number in (0, 5, 11):  # and these are wrong
        data["annotations"][number] |= {"bbox": [100, 3, 4, 5]}
    data["annotations"][6]["segmentation"] = [[1, 2, float("nan"), 4, 5, 6]]
    data["annotations"][7]["bbox"] = [0, 0, float("inf"), 1]
    (found,) = read_splits(write_coco(tmp_path, data), "coco", ["train2017"]).values()
    assert [int(thing.area) for image in found.images for thing in image.objects] == [1, 3, 9, 2, 4, 8, 10]
    assert [line.split(": ")[1] for line in found.skipped] == [f"annotation {number}" for number in (0, 5, 6, 7, 11)]


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_the_order_of_the_lists_in_the_file_does_not_matter(tmp_path, key):
    data = coco_data()
    first = read(tmp_path, data)
    assert read(tmp_path, {key: data[key]} | data) == first
    assert read(tmp_path, {other: data[other] for other in data if other != key} | {key: data[key]}) == first


def test_a_size_that_no_image_has_is_named(tmp_path):
    data = coco_data()
    data["images"][0]["width"] = 1e300
    with pytest.raises(DataError, match=r"image 7: its width is 1e\+300, more than any image has"):
        read(tmp_path, data)
