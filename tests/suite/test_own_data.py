"""Data of one's own: what a published name promises, and how a config is fitted to any other folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mec_transfer.common.errors import ConfigError, DataError
from mec_transfer.datasets.config import Contents, DatasetConfig
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.videos.video import MissingPart
from mec_transfer.suite.own_data import FittedData, fit_data
from mec_transfer.suite.registry import BenchmarkFile, benchmark_config, benchmark_files, find_benchmark
from tests.datasets.images.test_cifar import write_batches

VOC07 = {"2007_trainval": 5011, "2007_test": 4952}
IMAGENET = {"train": 1_281_167, "val": 50_000}


class Found(Data):
    """A data set that holds what it is told."""

    def __init__(self, config: DatasetConfig, folder: Path, found: dict[str, Any]) -> None:
        super().__init__(config, folder)
        self.found = found
        self.sequences = found.get("sequences")

    @property
    def splits(self) -> dict[str, int]:
        return self.found.get("splits", {})

    @property
    def classes(self) -> int | None:
        return self.found.get("classes")

    def hash(self) -> tuple[str, str]:
        return "f", ""

    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        yield from ()


def fit(
    name: str, folder: Path, *overrides: str, settings: dict[str, object] | None = None, **found: object
) -> FittedData:
    """Fit a config that ships to a folder that holds what `found` says."""

    path = find_benchmark(name, Path())
    opened = lambda config, where: Found(config, where, found)  # noqa: E731
    return fit_data(BenchmarkFile.read(path).config, overrides, folder, settings, opened)


def test_images_of_cifar_in_files_are_data_of_ones_own_and_its_batches_are_not(tmp_path: Path) -> None:
    write_batches(tmp_path / "cifar10")
    (tmp_path / "files/train").mkdir(parents=True)
    published = {"classes": 10, "splits": {"train": 50_000, "val": 10_000}}
    batches = fit("transfer_cifar10", tmp_path / "cifar10", **published)
    assert not batches.note and batches.config.protocol == "transfer-cifar10"
    files = fit("transfer_cifar10", tmp_path / "files", **published)
    assert files.config.dataset.layout == "imagefolder" and files.info.name == "files"
    assert files.config.protocol.startswith("transfer-cifar10+custom-") and "is not cifar10" in files.note
    assert not fit("cifar10_knn", tmp_path / "files", **published).note


def voc(root: Path, *lists: str) -> Path:
    for name in lists:
        file = root / "ImageSets" / "Main" / f"{name}.txt" if "/" not in name else root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    lists = ("VOC2007/ImageSets/Main/trainval.txt", "VOC2007/ImageSets/Main/test.txt")
    return voc(tmp_path / "VOCdevkit", *lists)


def test_the_published_data_set_is_taken_as_it_is(devkit: Path) -> None:
    fitted = fit("voc07_c4", devkit, classes=20, splits=VOC07)
    assert (fitted.note, fitted.info.note) == ("", "")
    assert (fitted.config.protocol, fitted.config.dataset.name) == ("voc07-c4-vissl12k5", "voc07")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"classes": 20, "splits": {**VOC07, "2007_trainval": 8}}, "8 images in 2007_trainval, not 5011"),
        ({"classes": 20, "splits": {**VOC07, "2007_test": 4951}}, "4951 images in 2007_test, not 4952"),
        ({"classes": 3, "splits": VOC07}, "3 classes, not 20"),
    ],
)
def test_any_other_count_makes_it_data_of_ones_own(devkit: Path, found: dict[str, object], said: str) -> None:
    fitted = fit("voc07_c4", devkit, **found)
    assert said in fitted.note and fitted.config.protocol in fitted.note
    assert fitted.config.protocol.startswith("voc07-c4-vissl12k5+custom-")
    assert fitted.config.dataset.name == fitted.info.name == "VOCdevkit"
    assert fitted.config.title == "VOC07 detection, VOCdevkit"
    assert "is not voc07" in fitted.info.note and said in fitted.info.note


def test_a_folder_of_the_published_name_gets_another_one(tmp_path: Path) -> None:
    fitted = fit("knn_dino", tmp_path / "imagenet", classes=1000, splits={**IMAGENET, "train": 1_281_166})
    assert fitted.info.name == "other-imagenet" and "1281166 images in train, not 1281167" in fitted.note


def test_a_name_of_the_users_own_promises_nothing(tmp_path: Path) -> None:
    fitted = fit("knn_dino", tmp_path / "x", "dataset.name=birds", classes=7, splits={"train": 3, "val": 2})
    assert fitted.note == "" and fitted.config.dataset.name == "birds" and "+custom-" in fitted.config.protocol


def test_the_protocols_other_data_set_has_a_promise_of_its_own(tmp_path: Path) -> None:
    davis16 = ("dataset.name=davis2016", "dataset.split=2016/val")
    assert fit("vos_unitrack", tmp_path / "DAVIS", *davis16, sequences=20).note == ""
    assert "19 sequences, not 20" in fit("vos_unitrack", tmp_path / "DAVIS", *davis16, sequences=19).note


def test_splits_and_layout_of_a_folder_of_ones_own_are_found(tmp_path: Path) -> None:
    folder = voc(tmp_path / "mine", "train", "val")
    fitted = fit("coco_c4_1x", folder, classes=2, splits={"train": 4, "val": 2})
    dataset = fitted.config.dataset
    assert (dataset.layout, dataset.name) == ("voc", "mine")
    assert fitted.config.title == "COCO C4 1x, mine"
    assert fitted.config.metrics.also == {"mask_AP": "COCO C4 1x, masks, mine"}
    assert fitted.config.model_dump()["dataset"]["train"] == ("train",)
    assert "its 2 classes are trained on train and measured on val" in fitted.note


@pytest.mark.parametrize(
    ("lists", "train"), [(("trainval", "train", "val"), "train"), (("trainval", "test"), "trainval")]
)
def test_what_is_measured_on_is_not_trained_on(tmp_path: Path, lists: tuple[str, ...], train: str) -> None:
    fitted = fit("voc07_c4", voc(tmp_path / "mine", *lists), classes=2, splits={})
    assert fitted.config.model_dump()["dataset"]["train"] == (train,)


def test_the_users_splits_and_overrides_have_the_last_word(tmp_path: Path) -> None:
    folder = voc(tmp_path / "mine", "train", "val", "night")
    settings = {"test": "night", "classes": ["cat", "dog"]}
    fitted = fit("voc07_c4", folder, "dataset.name=cats", "title=Cats", settings=settings, classes=2, splits={})
    dumped = fitted.config.model_dump()["dataset"]
    assert (dumped["test"], dumped["train"], dumped["classes"]) == ("night", ("train",), ("cat", "dog"))
    assert (fitted.info.name, fitted.config.title) == ("cats", "Cats")


@pytest.mark.parametrize(
    ("lists", "settings", "said"),
    [
        ((), {}, "neither a VOC folder"),
        (("train", "night"), {}, "has no split of a usual name to test on; it has night, train"),
        (("train", "val"), {"train": ["trainval"]}, "has no split 'trainval' to train on; it has train, val"),
        (("trainval", "val"), {}, "'trainval' has the images of 'val' in it; of trainval, val name one with --train"),
    ],
)
def test_splits_that_cannot_be_found_are_an_error(
    tmp_path: Path, lists: tuple[str, ...], settings: dict[str, object], said: str
) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match=said):
        fit("voc07_c4", voc(tmp_path / "mine", *lists), settings=settings)


def test_other_sequences_than_the_published_are_all_taken(tmp_path: Path) -> None:
    asked: Iterator[tuple[str, ...]] = iter([("MOT16-02",), ()])

    def opened(config: DatasetConfig, folder: Path) -> Data:
        sequences = config.model_dump()["sequences"]
        assert sequences[:1] == next(asked)
        if sequences:
            raise MissingPart("has no sequence MOT16-02")
        return Found(config, folder, {"sequences": 2})

    path = find_benchmark("mot_unitrack", Path())
    fitted = fit_data(BenchmarkFile.read(path).config, [], tmp_path / "street", open_=opened)
    assert "no sequence MOT16-02; all of 'train' are taken" in fitted.note
    assert fitted.config.model_dump()["dataset"]["sequences"] == () and fitted.info.name == "street"


def test_every_published_data_set_promises_something() -> None:
    for file in benchmark_files():
        config = benchmark_config(file)
        if config.dataset.name == "demo":
            assert config.dataset.promised is None, file
        else:
            promised = config.dataset.promised
            assert promised and promised != Contents(), file
            # No source tells how many images CropDiseases has.
            assert promised.images or promised.sequences or config.dataset.name == "cropdiseases", file


def test_a_promise_moves_no_hash() -> None:
    path = find_benchmark("knn_dino", Path())
    assert benchmark_config(path, ["dataset.expect={imagenet: {classes: 7}}"]).sha256 == benchmark_config(path).sha256


@pytest.mark.parametrize("override", ["dataset.expect={}", "dataset.expect.imagenet.classes=7", "dataset={name: x}"])
def test_what_a_name_promises_cannot_be_overridden(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="cannot be overridden"):
        fit("knn_dino", tmp_path / "x", override, classes=7)


def test_a_published_name_is_not_given_to_other_data(tmp_path: Path) -> None:
    fitted = fit("cifar10_knn", tmp_path / "x", "dataset.name=cifar10", classes=2, splits={"train": 3, "val": 2})
    assert fitted.info.name == "x" and "+custom-" in fitted.config.protocol
