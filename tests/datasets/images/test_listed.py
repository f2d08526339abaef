from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image
from scipy.io import savemat

from mec_transfer.common import extras
from mec_transfer.common.errors import DataError, MissingExtra
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.images.data import ImageData
from mec_transfer.datasets.registry import open_data


def write(folder: Path, images: Sequence[str], lists: dict[str, str]) -> None:
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name) % 256, 0, 0)).save(folder / name)
    for name, text in lists.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def opened(layout: str, folder: Path) -> ImageData:
    data = open_data(DatasetConfig(name="x", layout=layout), folder)
    assert isinstance(data, ImageData)
    assert data.problems == []
    return data


def pairs(data: ImageData, split: str) -> list[tuple[Path, str]]:
    images = data.images[split]
    return [(images.root / path, images.classes[label]) for path, label in zip(images.paths, images.labels.tolist())]


def aircraft(folder: Path) -> None:
    names = [f"{number:07d}" for number in range(10)]
    variants = ["F/A-18", "Boeing 717", "A300B4"]
    parts = {"train": names[3:6], "val": names[6:9][::-1], "test": [*names[:3], names[9]]}
    lists = {
        f"data/images_variant_{part}.txt": "".join(f"{n} {variants[int(n) % 3]}\n" for n in own)
        for part, own in parts.items()
    }
    write(folder, [f"data/images/{name}.jpg" for name in names], {**lists, "data/variants.txt": "\n".join(variants)})


def dtd(folder: Path) -> None:
    files = [f"{name}/{name}_{number:04d}.jpg" for name in ("dotted", "banded") for number in range(6)]
    lists = {f"labels/{part}1.txt": "\n".join(files[i::3]) + "\n" for i, part in enumerate(("train", "val", "test"))}
    write(folder, [f"images/{name}" for name in files], lists)


def flowers(folder: Path) -> None:
    write(folder, [f"jpg/image_{number:05d}.jpg" for number in range(1, 13)], {})
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2, 11] * 4])})
    parts = {"trnid": [[5, 3, 1]], "valid": [[4, 6, 2]], "tstid": [[7, 12, 9, 8, 10, 11]]}
    savemat(folder / "setid.mat", {key: np.array(numbers) for key, numbers in parts.items()})


def food(folder: Path) -> None:
    test = {"pie": ["pie/9"], "apple": ["apple/8", "apple/7"]}
    train = {"pie": ["pie/3", "pie/1"], "apple": ["apple/2"]}
    files = [f"images/{image}.jpg" for part in (test, train) for images in part.values() for image in images]
    lists = {"meta/train.json": json.dumps(train), "meta/test.json": json.dumps(test)}
    write(folder, files, {**lists, "meta/classes.txt": "apple\npie\n"})


def pets(folder: Path) -> None:
    names = ["Abyssinian_2", "Abyssinian_10", "american_bulldog_1", "american_bulldog_3"]
    label = {"A": 1, "a": 2}
    lines = [f"{name} {label[name[0]]} 1 1\n" for name in names]
    lists = {"annotations/trainval.txt": lines[2] + lines[0], "annotations/test.txt": lines[1] + lines[3]}
    write(folder, [f"images/{name}.jpg" for name in names], lists)


def cars(folder: Path) -> None:
    kind = [("bbox_x1", object), ("class", object), ("fname", object)]
    write(folder, [f"cars_{part}/{number:05d}.jpg" for part in ("train", "test") for number in range(1, 5)], {})
    (folder / "devkit").mkdir()
    for file, classes in (
        ("devkit/cars_train_annos.mat", [2, 1, 10]),
        ("cars_test_annos_withlabels.mat", [10, 1, 2, 2]),
    ):
        rows = [(7, number, f"{place:05d}.jpg") for place, number in enumerate(classes, 1)]
        savemat(folder / file, {"annotations": np.array(rows, dtype=kind).reshape(1, -1)})
    names = np.empty((1, 10), dtype=object)
    names[0] = [f"car {number}" for number in range(1, 11)]
    savemat(folder / "devkit/cars_meta.mat", {"class_names": names})


def caltech101(folder: Path) -> None:
    files = [f"{name}/image_{number:04d}.jpg" for name in ("BACKGROUND_Google", "accordion") for number in range(1, 5)]
    lists = {
        f"{part}.txt": "\n".join(f"{file} {file[0] == 'a':d}" for file in own)
        for part, own in (("train", files[1::2]), ("test", files[::2]))
    }
    write(folder, [f"101_ObjectCategories/{file}" for file in files], lists)


def sun397(folder: Path) -> None:
    files = [
        f"/{name}/sun_{number}.jpg" for name in ("a/abbey", "c/church/indoor", "c/church/outdoor") for number in "ab"
    ]
    lists = {"ClassName.txt": "/a/abbey\n/c/church/indoor\n/c/church/outdoor\n"}
    write(
        folder,
        [file[1:] for file in files],
        {**lists, "Training_01.txt": "\n".join(files[::2]) + "\n", "Testing_01.txt": "\n".join(files[::-2]) + "\n"},
    )


WORLDS: dict[str, Callable[[Path], None]] = {
    "aircraft": aircraft, "dtd": dtd, "flowers102": flowers, "food101": food, "pets": pets, "cars": cars,
    "caltech101": caltech101, "sun397": sun397,
}  # fmt: skip


def theirs(layout: str, root: Path, part: str) -> list[tuple[Path, str]]:
    """What torchvision's class of a data set reads of a part, in its order."""
    sets = torchvision.datasets
    if layout == "cars":
        data = sets.StanfordCars(str(root), split=part)
        return [(Path(path), str(label + 1)) for path, label in data._samples]
    made = {
        "aircraft": lambda: sets.FGVCAircraft(str(root), split=part),
        "dtd": lambda: sets.DTD(str(root), split=part),
        "flowers102": lambda: sets.Flowers102(str(root), split=part),
        "food101": lambda: sets.Food101(str(root), split=part),
        "pets": lambda: sets.OxfordIIITPet(str(root), split="trainval" if part == "train" else part),
    }
    data = made[layout]()
    files = data._images if layout == "pets" else data._image_files
    if layout == "flowers102":
        return [(Path(file), str(label + 1)) for file, label in zip(files, data._labels)]
    names = {name: name for name in data.classes}
    if layout == "pets":
        names = {"Abyssinian": "Abyssinian", "American Bulldog": "american_bulldog"}
    return [(Path(file), names[data.classes[label]]) for file, label in zip(files, data._labels)]


BASE = {
    "aircraft": "fgvc-aircraft-2013b", "dtd": "dtd/dtd", "flowers102": "flowers-102", "food101": "food-101",
    "pets": "oxford-iiit-pet", "cars": "stanford_cars",
}  # fmt: skip


@pytest.mark.parametrize("layout", BASE)
def test_images_and_labels_are_those_of_torchvision(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_check_integrity", lambda self: True)  # the archive's MD5
    folder = tmp_path / BASE[layout]
    WORLDS[layout](folder)
    data = opened(layout, folder)
    own_validation = layout in ("aircraft", "dtd", "flowers102")
    parts = {part: theirs(layout, tmp_path, part) for part in ("train", "test", *(["val"] if own_validation else []))}
    order = sorted if layout == "food101" else list  # torchvision takes the JSON's order
    assert order(pairs(data, "train")) == order(parts["train"] + parts.get("val", []))
    assert order(pairs(data, "val")) == order(parts["test"])
    if own_validation:
        assert data.held_out is not None
        assert np.flatnonzero(data.held_out).tolist() == [len(parts["train"]) + i for i in range(len(parts["val"]))]
    else:
        assert data.held_out is None


def test_food_is_in_the_order_of_its_classes(tmp_path: Path) -> None:
    food(tmp_path)
    assert opened("food101", tmp_path).images["train"].paths == tuple(
        f"images/{name}.jpg" for name in ("apple/2", "pie/3", "pie/1")
    )


def test_caltech101_takes_the_lists_and_either_folder(tmp_path: Path) -> None:
    caltech101(tmp_path)
    data = opened("caltech101", tmp_path)
    images = tmp_path / "101_ObjectCategories"
    assert pairs(data, "train")[:2] == [
        (images / f"BACKGROUND_Google/image_000{number}.jpg", "BACKGROUND_Google") for number in (2, 4)
    ]
    assert data.splits == {"train": 4, "val": 4}
    for archive in ("caltech101", "caltech-101"):
        (tmp_path / archive).mkdir()
        images = images.rename(tmp_path / archive / "101_ObjectCategories")
        assert opened("caltech101", tmp_path).splits == {"train": 4, "val": 4}


def test_sun397_has_classes_of_several_folders(tmp_path: Path) -> None:
    sun397(tmp_path)
    data = opened("sun397", tmp_path)
    assert data.images["train"].classes == ("abbey", "church/indoor", "church/outdoor")
    assert pairs(data, "val")[0] == (tmp_path / "c/church/outdoor/sun_b.jpg", "church/outdoor")


def test_cars_labels_may_lie_in_the_devkit(tmp_path: Path) -> None:
    cars(tmp_path)
    before = pairs(opened("cars", tmp_path), "val")
    (tmp_path / "cars_test_annos_withlabels.mat").rename(tmp_path / "devkit/cars_test_annos_withlabels.mat")
    assert pairs(opened("cars", tmp_path), "val") == before


def test_fingerprint_knows_which_images_are_for_validation(tmp_path: Path) -> None:
    dtd(tmp_path)
    before = opened("dtd", tmp_path)
    train, val = (tmp_path / f"labels/{part}1.txt" for part in ("train", "val"))
    lines = train.read_text().splitlines()
    train.write_text("\n".join(lines[:-1]))  # the same images in the same order, one more of them for validation
    val.write_text("\n".join([lines[-1], *val.read_text().splitlines()]))
    after = opened("dtd", tmp_path)
    assert after.images["train"].paths == before.images["train"].paths
    assert after.fingerprint != before.fingerprint and after.train_fingerprint != before.train_fingerprint


@pytest.mark.parametrize(
    ("layout", "file", "text", "words"),
    [
        ("aircraft", "data/images_variant_val.txt", None, "images_variant_val.txt: "),
        ("aircraft", "data/images_variant_val.txt", "0000006\n", "line 1: '0000006' is not an image and its class"),
        ("aircraft", "data/images_variant_test.txt", "0000000 Concorde\n", "class Concorde, which is not one of its"),
        ("aircraft", "data/images_variant_val.txt", "", "its list of validation images is empty"),
        ("dtd", "labels/train1.txt", "dotted_0001.jpg\n", "'dotted_0001.jpg' has no class folder"),
        ("food101", "meta/train.json", "{", "train.json"),
        ("food101", "meta/train.json", '{"pie": ["pie/1"]}', "does not have the classes of classes.txt"),
        ("food101", "meta/train.json", '{"pie": ["pie/1"], "apple": []}', "no training image of class apple"),
        ("flowers102", "setid.mat", "rubbish", "setid.mat: not readable as a MATLAB file"),
        ("flowers102", "setid.mat", None, "setid.mat: no such file"),
        ("sun397", "Training_01.txt", "/z/zoo/1.jpg\n", "class zoo, which is not one of its classes"),
        ("sun397", "Testing_01.txt", "/a/abbey/sun_a.jpg\n", "name 1 of the images more than once"),
        ("dtd", "labels/test1.txt", "dotted/../dotted/dotted_0001.jpg\n", "is no path of an image below a folder"),
        ("food101", "meta/train.json", '{"pie": ["pie/1"], "apple": null}', "'apple' is no list of images"),
        ("food101", "meta/train.json", '{"pie": [1], "apple": ["apple/2"]}', "'pie' is no list of images"),
    ],
)
def test_what_is_wrong_is_one_line(layout: str, file: str, text: str | None, words: str, tmp_path: Path) -> None:
    WORLDS[layout](tmp_path)
    (tmp_path / file).unlink()
    if text is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(DataError) as caught:
        opened(layout, tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_flowers_numbers_beyond_the_labels_and_other_matlab_files(tmp_path: Path) -> None:
    flowers(tmp_path)
    parts = {"trnid": [[5, 3, 1]], "valid": [[4, 6, 2]]}
    savemat(tmp_path / "setid.mat", {key: np.array(numbers) for key, numbers in parts.items()})
    with pytest.raises(DataError, match=r"setid\.mat: holds no 'tstid'"):
        opened("flowers102", tmp_path)
    savemat(tmp_path / "setid.mat", {**{key: np.array(n) for key, n in parts.items()}, "tstid": np.array([[13]])})
    with pytest.raises(DataError, match="'tstid' names images beyond the 12 labels"):
        opened("flowers102", tmp_path)


@pytest.mark.parametrize("labels", [np.nan, 2.5, 1e300, "a", np.array([1, "x"], dtype=object)])
def test_labels_that_are_no_row_of_whole_numbers(labels: object, tmp_path: Path) -> None:
    flowers(tmp_path)
    cars(tmp_path)
    savemat(tmp_path / "imagelabels.mat", {"labels": labels})
    with pytest.raises(DataError, match=r"imagelabels\.mat: 'labels' is no row of whole numbers; take the file"):
        opened("flowers102", tmp_path)
    rows = np.empty((1, 1), dtype=[("class", object), ("fname", object)])
    rows[0, 0] = (labels, "00001.jpg")
    savemat(tmp_path / "devkit/cars_train_annos.mat", {"annotations": rows})
    with pytest.raises(DataError, match=r"cars_train_annos\.mat: 'class' is no row of whole numbers"):
        opened("cars", tmp_path)


def test_a_matlab_file_of_version_73_is_called_that(tmp_path: Path) -> None:
    flowers(tmp_path)
    (tmp_path / "setid.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(DataError, match=r"setid\.mat: not readable as a MATLAB file \(saved by -v7\.3\); take the one"):
        opened("flowers102", tmp_path)


def test_tabs_may_stand_between_an_image_and_its_class(tmp_path: Path) -> None:
    aircraft(tmp_path)
    before = pairs(opened("aircraft", tmp_path), "train")
    path = tmp_path / "data/images_variant_train.txt"
    path.write_text("".join(line.replace(" ", "\t", 1) for line in path.read_text().splitlines(keepends=True)))
    assert pairs(opened("aircraft", tmp_path), "train") == before


def test_an_image_with_another_ending_is_told(tmp_path: Path) -> None:
    dtd(tmp_path)
    image = tmp_path / "images/banded/banded_0000.jpg"
    image.rename(image.with_suffix(".JPG"))
    (problem,) = open_data(DatasetConfig(name="x", layout="dtd"), tmp_path).problems
    assert "1 of" in problem and problem.endswith("(in place of banded_0000.jpg there is banded_0000.JPG)")


@pytest.mark.parametrize("layout", WORLDS)
def test_missing_folder_and_image(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        opened(layout, tmp_path / "nowhere")
    WORLDS[layout](tmp_path)
    data = opened(layout, tmp_path)
    (tmp_path / data.images["val"].paths[0]).unlink()
    (problem,) = open_data(DatasetConfig(name="x", layout=layout), tmp_path).problems
    assert "1 of" in problem and "missing or a broken link" in problem


def test_matlab_files_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flowers(tmp_path)
    monkeypatch.setattr(extras.Library, "fault", lambda self: "")
    with pytest.raises(MissingExtra, match=r"needs scipy and threadpoolctl: pip install 'mec-transfer\[transfer\]'"):
        opened("flowers102", tmp_path)
