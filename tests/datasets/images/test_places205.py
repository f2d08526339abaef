from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from tests.datasets.images.test_cifar import opened

IMAGES = "data/vision/torralba/deeplearning/images256"
LISTS = {
    "train": ["f/field/wild/3.jpg 2", "a/abbey/1.jpg 0", "f/field/cultivated/2.jpg 1", "a/abbey/9.jpg 0"],
    "val": ["f/field/cultivated/8.jpg 1", "a/abbey/7.jpg 0"],
}


def make(folder: Path, **lists: Sequence[str]) -> Path:
    for split, lines in ({**LISTS, **lists}).items():
        file = folder / f"trainvalsplit_places205/{split}_places205.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines))
        for line in lines:
            image = folder / IMAGES / line.split()[0]
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(image)
    return folder


@pytest.mark.parametrize("layout", ["places205", "imagefolder"])
def test_images_and_labels_are_those_of_the_lists(tmp_path: Path, layout: str) -> None:
    data = opened(make(tmp_path), layout)
    assert data.problems == []
    for split, lines in LISTS.items():
        images = data.labelled(split)
        assert [f"{path} {label}" for path, label in zip(images.paths, images.labels.tolist())] == lines
        assert images.classes == ("abbey", "field/cultivated", "field/wild")
        assert [images.load(index).size for index in range(len(images))] == [(8, 8)] * len(lines)


def test_lists_of_windows_and_paths_from_the_root_are_taken(tmp_path: Path) -> None:
    plain, folder = make(tmp_path / "plain"), make(tmp_path / "windows")
    for file in (folder / "trainvalsplit_places205").iterdir():
        lines = file.read_text().splitlines()
        file.write_text("\ufeff" + "".join(f"/{line}\r\n" for line in lines), encoding="utf-8", newline="")
    assert opened(folder, "places205").hash() == opened(plain, "places205").hash()


@pytest.mark.parametrize(
    ("split", "lines", "message"),
    [
        ("train", ["a/abbey/1.jpg"], r"train_places205.csv:1: 'a/abbey/1.jpg' is not an image"),
        ("train", ["a/abbey/1.jpg 0", "1.jpg 0"], r"train_places205.csv:2: '1.jpg 0' is not an image"),
        ("train", ["a/abbey/1.jpg -1"], r"train_places205.csv:1: 'a/abbey/1.jpg -1' is not an image"),
        ("train", ["a/abbey/1.jpg 0", "z/zoo/2.jpg 0"], "train_places205.csv:2: class 0 is both 'abbey' and 'zoo'"),
        ("train", ["a/abbey/1.jpg 0", "f/field/wild/3.jpg 2"], "no image of class 1; the list is not whole"),
        ("val", ["z/zoo/2.jpg 3"], "train_places205.csv: no image of class 3; the list is not whole"),
        ("val", ["a/abbey/1.jpg 0"], "name 1 of the images more than once"),
        ("val", ["a/./abbey/5.jpg 0"], r"val_places205.csv:1: class 0 is both 'abbey' and './abbey'"),
        ("val", [], "val_places205.csv: names no image"),
    ],
)
def test_a_broken_list_is_named(tmp_path: Path, split: str, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(make(tmp_path, **{split: lines}), "places205")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpack imagesPlaces205_resize.tar.gz there"):
        opened(tmp_path, "places205")
    folder = make(tmp_path / "places205")
    with pytest.raises(DataError, match=f"did you mean {folder}"):
        opened(tmp_path, "places205")
    (folder / IMAGES / "a/abbey/7.jpg").unlink()
    (problem,) = opened(folder, "places205").problems
    assert problem == f"{folder / IMAGES}: 1 of 2 images are missing or a broken link: a/abbey/7.jpg"
    (folder / "trainvalsplit_places205/val_places205.csv").unlink()
    with pytest.raises(DataError, match="val_places205.csv: cannot be read"):
        opened(folder, "places205")
