"""Test images whose classes another data set has taught: which class a folder is of, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torchvision

from mec_transfer.cli.main import main
from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.images.shifted import ShiftedData
from mec_transfer.datasets.registry import open_data
from mec_transfer.datasets.shifted_config import ShiftedDatasetConfig

Make = Callable[..., Path]
CLASSES = [f"n{number:08d}" for number in range(7, 7 + 12)]


@pytest.fixture
def imagenet(make_images: Make) -> Path:
    names = [f"{split}/{name}/{split}_{name}.JPEG" for split in ("train", "val") for name in CLASSES]
    return make_images(*names, folder="imagenet")


def opened(folder: Path, layout: str = "imagenet_classes", **keys: str) -> ShiftedData:
    data = open_data(ShiftedDatasetConfig(name="x", layout=layout, **keys), folder)
    assert isinstance(data, ShiftedData)
    return data


def error_of(folder: Path, layout: str = "imagenet_classes", **keys: str) -> str:
    with pytest.raises(DataError) as caught:
        opened(folder, layout, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def named(data: ShiftedData) -> dict[str, str]:
    """Each image's class, by the training set's own order."""
    images = data.images["val"]
    return {path: data.train_classes[data.numbers[label]] for path, label in zip(images.paths, images.labels.tolist())}


def test_folders_that_are_numbers_are_not_sorted_as_text(make_images: Make, imagenet: Path) -> None:
    folder = make_images(*(f"{number}/{number}.jpeg" for number in range(12)), folder="v2")
    data = opened(folder, "imagenet_numbers")
    assert named(data) == {f"{number}/{number}.jpeg": CLASSES[number] for number in range(12)}
    assert data.images["val"].classes == data.train_classes == tuple(CLASSES)
    assert data.images["val"].labels.tolist() == data.numbers.tolist() == list(range(12))
    trap = torchvision.datasets.ImageFolder(str(folder))
    assert trap.classes[2] == "10"  # whoever takes its labels takes class 10 for class 2


def test_a_part_of_the_classes_keeps_their_numbers(make_images: Make, imagenet: Path) -> None:
    folder = make_images(*(f"{CLASSES[at]}/{place}.png" for at in (9, 2, 4) for place in range(2)), folder="a")
    (folder / "README.txt").write_text("by its authors")
    data = opened(folder)
    assert (data.numbers.tolist(), data.images["val"].labels.tolist()) == ([2, 4, 9], [0, 0, 1, 1, 2, 2])
    assert set(named(data).items()) == {(f"{CLASSES[at]}/{i}.png", CLASSES[at]) for at in (2, 4, 9) for i in range(2)}
    assert (data.classes, data.splits) == (3, {"val": 6})
    theirs = torchvision.datasets.ImageFolder(str(folder))  # as the published scripts read it
    assert [(f"{Path(path).parent.name}/{Path(path).name}", label) for path, label in theirs.samples] == [
        *zip(data.images["val"].paths, data.images["val"].labels.tolist())
    ]


def test_what_is_not_such_a_set_is_refused_by_name(make_images: Make, imagenet: Path) -> None:
    strange = make_images("n99999999/1.png", f"{CLASSES[0]}/1.png", folder="strange")
    assert error_of(strange) == (
        f"{strange}: class folder n99999999 is not one of the 12 classes in {imagenet / 'train'}"
    )
    beyond = make_images("11/1.png", "12/1.png", "two/1.png", folder="beyond")
    assert "class folder 12, two is not one of the 12 classes" in error_of(beyond, "imagenet_numbers")
    assert f"class {CLASSES[7]} has two folders" in error_of(
        make_images("7/1.png", "07/1.png", folder="twice"), "imagenet_numbers"
    )
    assert "1 images lie beside the class folders (1.png)" in error_of(make_images("1.png", folder="loose"))
    (imagenet.parent / "empty" / CLASSES[1]).mkdir(parents=True)
    assert f"no image in class folder {CLASSES[1]}" in error_of(imagenet.parent / "empty")
    assert "no such folder" in error_of(imagenet.parent / "nowhere")


def test_the_training_set_lies_beside_or_where_it_is_said_to(make_images: Make, imagenet: Path, tmp_path: Path) -> None:
    folder = make_images(f"below/a/{CLASSES[1]}/1.png", folder="data2") / "below" / "a"
    message = error_of(folder)
    assert f"{folder.parent / 'imagenet'}: no such folder" in message and "--set dataset.train=DIR" in message
    assert named(opened(folder, train=str(imagenet))) == {f"{CLASSES[1]}/1.png": CLASSES[1]}
    config = ShiftedDatasetConfig(name="x", layout="imagenet_classes", folder="sets/a", train="imagenet")
    assert config.train_folder(Path("/root/sets/a")) == Path("/root/imagenet")  # as a suite's data root has them
    assert config.train_folder(Path("/elsewhere/b")) == Path("/elsewhere/imagenet")
    assert config.hashed() == config.model_copy(update={"train": "/other/place"}).hashed()


def test_the_fingerprint_is_of_the_images_and_of_what_taught_their_classes(make_images: Make, imagenet: Path) -> None:
    folder = make_images(f"{CLASSES[1]}/1.png", f"{CLASSES[2]}/1.png", folder="a")
    first, whole = opened(folder), open_data(DatasetConfig(name="x", layout="imagefolder"), imagenet)
    assert first.train_fingerprint == whole.train_fingerprint  # what a linear probe's head goes by
    moved = shutil.copytree(folder, imagenet.parent / "there" / "b")
    assert opened(moved, train=str(imagenet)).fingerprint == first.fingerprint
    shutil.copyfile(folder / CLASSES[1] / "1.png", moved / CLASSES[1] / "2.png")
    other = opened(moved, train=str(imagenet))
    assert other.fingerprint != first.fingerprint and other.train_fingerprint == first.train_fingerprint
    shutil.copyfile(
        imagenet / "val" / CLASSES[0] / f"val_{CLASSES[0]}.JPEG", imagenet / "train" / CLASSES[0] / "new.JPEG"
    )
    taught = opened(folder)
    assert taught.fingerprint != first.fingerprint and taught.train_fingerprint != first.train_fingerprint


def test_data_check_looks_at_it(make_images: Make, imagenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_images(f"{CLASSES[3]}/1.png", f"{CLASSES[5]}/1.png", folder="a")
    assert main(["data", "check", str(folder), "--layout", "imagenet_classes"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "val: 2 images, 2 classes", f"of the 12 classes in {imagenet}", "no problems found"
    ]  # fmt: skip
    (folder / CLASSES[3] / "2.png").write_bytes(b"cut")
    assert main(["data", "check", str(folder), "--config", "robust_a_linear_fast"]) == 2
    assert "problem: " in capsys.readouterr().out
