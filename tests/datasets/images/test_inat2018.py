from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from tests.datasets.images.test_cifar import opened

IMAGES = {
    "train": [("Plantae", 10, "c"), ("Aves", 2, "a"), ("Plantae", 10, "b"), ("Aves", 3, "d")],
    "val": [("Aves", 3, "e"), ("Plantae", 10, "f")],
}


def listed(split: str) -> dict[str, Any]:
    files = [(f"train_val2018/{group}/{number}/{name}.jpg", number) for group, number, name in IMAGES[split]]
    return {
        "info": {"year": 2018},
        "images": [{"id": 70 + at, "file_name": file, "width": 8, "height": 8} for at, (file, _) in enumerate(files)],
        "annotations": [  # in another order than the images
            {"id": at, "image_id": 70 + at, "category_id": files[at][1]} for at in reversed(range(len(files)))
        ],
        "categories": [{"id": number, "name": str(number), "supercategory": "x"} for number in range(11)],
    }


def make(folder: Path, lists: str = ".") -> Path:
    for split in IMAGES:
        content = listed(split)
        for image in content["images"]:
            (folder / image["file_name"]).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(folder / image["file_name"])
        (folder / lists).mkdir(exist_ok=True)
        (folder / lists / f"{split}2018.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("lists", [".", "annotations"])
@pytest.mark.parametrize("layout", ["inat2018", "imagefolder"])
def test_images_and_classes_are_those_of_the_lists(tmp_path: Path, layout: str, lists: str) -> None:
    data = opened(make(tmp_path, lists), layout)
    assert data.problems == []
    for split, expected in IMAGES.items():
        images = data.labelled(split)
        assert images.classes == ("2", "3", "10")
        found = [(path, images.classes[label]) for path, label in zip(images.paths, images.labels.tolist())]
        assert found == [
            (f"train_val2018/{group}/{number}/{name}.jpg", str(number)) for group, number, name in expected
        ]


def drop_annotation(content: dict[str, Any]) -> None:
    del content["annotations"][0]


def second_class(content: dict[str, Any]) -> None:
    content["annotations"].append({"id": 9, "image_id": 71, "category_id": 2})


def no_image(content: dict[str, Any]) -> None:
    del content["images"][1]


def class_as_text(content: dict[str, Any]) -> None:
    content["annotations"][1]["category_id"] = "3"


def no_lists(content: dict[str, Any]) -> None:
    content.clear()


def same_file(content: dict[str, Any]) -> None:
    content["images"][1]["file_name"] = content["images"][0]["file_name"]


def astray(content: dict[str, Any]) -> None:
    content["images"][1]["file_name"] = "train_val2018/../secret.jpg"


def nothing(content: dict[str, Any]) -> None:
    content.update(images=[], annotations=[])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_annotation, "image 73 has no annotation"),
        (second_class, "'image_id' 71 stands twice in 'annotations'"),
        (no_image, "image 71 is annotated, but no image of the list"),
        (class_as_text, "needs 'image_id', and 'category_id' as a whole number"),
        (no_lists, "'images' must be a list of objects"),
        (same_file, "name 1 of the images more than once"),
        (astray, "is no path of an image below a folder"),
        (nothing, "names no image"),
    ],
)
def test_a_broken_list_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    file = make(tmp_path) / "train2018.json"
    content = listed("train")
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"^{tmp_path}.*{message}"):
        opened(tmp_path, "inat2018")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpack train_val2018.tar.gz there"):
        opened(tmp_path, "inat2018")
    folder = make(tmp_path / "inat18")
    with pytest.raises(DataError, match=f"did you mean {folder}"):
        opened(tmp_path, "inat2018")
    (folder / "train_val2018/Aves/2/a.jpg").unlink()
    (problem,) = opened(folder, "inat2018").problems
    assert "train_val2018/Aves/2/a.jpg" in problem
    content = listed("val")
    content["annotations"][0]["category_id"] = 7
    (folder / "val2018.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="train2018.json: no image of class 7, which 'val' has"):
        opened(folder, "inat2018")
    (folder / "val2018.json").unlink()
    with pytest.raises(DataError, match="val2018.json: cannot be read"):
        opened(folder, "inat2018")
