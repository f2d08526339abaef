"""VOC folders with masks: which list and which mask is meant, and one line for whatever is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from mec_transfer.cli.main import main
from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import SegmentsDatasetConfig
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.objects.voc import CLASSES as OBJECTS
from mec_transfer.datasets.registry import open_data
from mec_transfer.datasets.segments import survey
from mec_transfer.datasets.segments.data import SegmentData
from mec_transfer.datasets.segments.split import SegmentSplit, decode_numbers
from mec_transfer.datasets.videos.index_masks import encode_index_mask
from tests.datasets.segments.drawn import CLASSES, VOID, labels, write_voc


def open_voc(
    root: Path, train: str = "train", test: str = "val", index: Index | None = None, classes: tuple[str, ...] = ()
) -> SegmentData:
    config = SegmentsDatasetConfig(name="x", layout="voc_seg", train=(train,), test=test, classes=classes)
    data = open_data(config, root, index)
    assert isinstance(data, SegmentData)
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "mine", {"train": range(5), "val": range(5, 8)})


def stems(split: SegmentSplit) -> list[str]:
    return [path.stem for path in split.images]


def test_images_and_labels_are_those_that_were_written(root: Path) -> None:
    data = open_voc(root)
    assert (data.splits, data.classes, data.problems) == ({"train": 5, "val": 3}, 3, [])
    for number in range(5):
        pixels, found = data.train.load(number)
        expected = labels(number, (48, 40) if number % 3 else (40, 48))
        assert np.array_equal(found, expected) and pixels.shape == (*expected.shape, 3)
    assert [path for _, path in data.image_files()] == [*data.train.images, *data.test.images]


@pytest.mark.parametrize("way", ["train_aug", "trainaug", "train+aug", "pairs"])
def test_the_augmented_split_is_the_same_however_it_is_listed(tmp_path: Path, way: str) -> None:
    root = write_voc(tmp_path / "VOC2012", {"train": range(3), "val": range(8, 10)}, names=False)
    write_voc(root, {"aug": range(3, 7)}, masks="SegmentationClassAug", names=False)
    lists = root / "ImageSets/Segmentation"
    names = [f"p{number:03d}" for number in range(7)]
    if way != "train+aug":
        (lists / "aug.txt").unlink()
        line = "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png" if way == "pairs" else "{0}"
        text = "".join(f"{line.format(name)}\n" for name in reversed(names))
        (lists / f"{'trainaug' if way == 'trainaug' else 'train_aug'}.txt").write_text(text)
    for place in (tmp_path, root):  # a devkit, and the folder itself
        data = open_voc(place, "train_aug")
        assert stems(data.train) == names
        assert [path.parent.name for path in data.train.masks] == ["SegmentationClass"] * 3 + [
            "SegmentationClassAug"
        ] * 4
        assert data.train.classes == ("background", *OBJECTS) and not data.problems


def test_a_folder_says_its_classes_or_is_told_them(root: Path) -> None:
    assert open_voc(root).test.classes == CLASSES
    assert open_voc(root, classes=("ground", "cat", "dog")).test.classes == ("ground", "cat", "dog")
    (root / "class_names.txt").unlink()
    with pytest.raises(DataError, match=r"mine: no file names the classes; write class_names.txt with one a line"):
        open_voc(root)
    with pytest.raises(DataError, match=r"--classes \(dataset.classes\): names 1 class; 2 to 255 are needed"):
        open_voc(root, classes=("all",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thing\n", ": names 1 class; 2 to 255 are needed, one for each label from 0 on"),
        ("", ": names 0 classes; 2 to 255"),
        ("".join(f"c{number}\n" for number in range(256)), ": names 256 classes; 2 to 255"),
        ("a\nb\na\n", ": names the class 'a' twice"),
        ("a\n\nb\nc\n", ":2: is blank; each line names the class of a label, from 0 on"),
    ],
)
def test_a_list_of_classes_that_cannot_be_is_named(root: Path, text: str, message: str) -> None:
    (root / "class_names.txt").write_text(text)
    with pytest.raises(DataError) as found:
        open_voc(root)
    assert str(found.value).startswith(f"{root / 'class_names.txt'}{message}") and "\n" not in str(found.value)


def test_lists_may_have_endings_and_names_may_have_dots(root: Path) -> None:
    lists = root / "ImageSets/Segmentation"
    for folder in ("JPEGImages", "SegmentationClass"):
        (root / folder / "p007.png").rename(root / folder / "p007.jpg.png")
    (lists / "val.txt").write_text("p005.png\np006.JPG\np007.jpg\n")
    assert stems(open_voc(root).test) == ["p005", "p006", "p007.jpg"]


@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (
            "SegmentationClass/p001.png",
            r"1 of the 5 images in train.txt have no mask NAME.png in SegmentationClass or .*: p001",
        ),
        ("JPEGImages/p006.png", r"1 of the 3 images in val.txt have no image in JPEGImages: p006"),
        ("ImageSets/Segmentation/val.txt", r"has no split 'val'; it has train"),
        ("ImageSets", r"has no split 'train'; it is not a VOC folder with masks"),
    ],
)
def test_what_is_missing_is_said_in_one_line(root: Path, lose: str, message: str) -> None:
    path = root / lose
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=message) as found:
        open_voc(root)
    assert "\n" not in str(found.value)


def test_every_broken_mask_is_named_by_data_check(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = root / "SegmentationClass"
    assert main(["data", "check", str(root), "--layout", "voc_seg"]) == 0
    assert "train: 5 images, 3 classes: background 7" in capsys.readouterr().out
    Image.open(masks / "p000.png").convert("RGB").save(masks / "p000.png")
    (masks / "p001.png").write_bytes(encode_index_mask(labels(1)[:, :-1]))
    beyond = labels(2)
    beyond[3, 4:9] = 7
    (masks / "p002.png").write_bytes(encode_index_mask(beyond))
    (masks / "p003.png").write_bytes(b"")
    for number in (5, 6, 7):
        (masks / f"p{number:03d}.png").write_bytes(encode_index_mask(np.full_like(labels(number), VOID)))
    (masks / "p006.png").write_bytes(encode_index_mask(np.full((48, 40), VOID, dtype=np.uint8)))
    assert main(["data", "check", str(root), "--layout", "voc_seg"]) == 2
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]
    wanted = [
        "p000.png: has colours in place of labels; a mask is a palette or 8-bit greyscale PNG whose pixels number",
        "p001.png: has 47x40 pixels, and its image",
        "p002.png: has the label 7 in 5 pixels; the 3 classes are 0 to 2, and 255 is void",
        "p003.png: not a readable image",
        "p005.png: has 48x40 pixels",
        "p006.png: has 40x48 pixels",
    ]
    found = "\n".join(problems)
    assert all(one in found for one in wanted[:4])


def test_a_split_of_void_alone_is_refused(root: Path) -> None:
    for number in (5, 6, 7):
        size = labels(number, (48, 40) if number % 3 else (40, 48)).shape
        path = root / f"SegmentationClass/p{number:03d}.png"
        path.write_bytes(encode_index_mask(np.full(size, VOID, dtype=np.uint8)))
    (problem,) = open_voc(root).problems
    assert problem.startswith(f"{root}/SegmentationClass: no pixel of the 3 masks of split 'val' has a class, all are ")


def test_a_mask_that_is_a_jpeg_or_empty_is_named(root: Path) -> None:
    masks = root / "SegmentationClass"
    Image.open(masks / "p005.png").convert("L").save(masks / "p005.png", "JPEG")
    (masks / "p006.png").write_bytes(b"")
    assert open_voc(root).problems == [
        f"{masks}/p005.png: is a JPEG, whose compression changes labels; a mask is a PNG, made from the labels",
        f"{masks}/p006.png: not a readable image (empty); replace or remove it",
    ]


def test_masks_of_one_bit_and_of_grey_values_number_classes_too(tmp_path: Path) -> None:
    numbers = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    for name, image in (
        ("grey", Image.fromarray(numbers)),
        ("bits", Image.fromarray(numbers.astype(bool))),
    ):
        path = tmp_path / f"{name}.png"
        image.save(path)
        assert decode_numbers(path.read_bytes(), path).tolist() == numbers.tolist()
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((2, 2), dtype=np.uint16)).save(deep)
    with pytest.raises(DataError, match="deep.png: has pixels of mode I"):
        decode_numbers(deep.read_bytes(), deep)


def test_the_fingerprint_follows_masks_classes_and_images_but_not_the_place(root: Path, tmp_path: Path) -> None:
    first = open_voc(root)
    shutil.copytree(root, tmp_path / "elsewhere")
    moved = open_voc(tmp_path / "elsewhere")
    assert (moved.fingerprint, moved.train_fingerprint) == (first.fingerprint, first.train_fingerprint)
    seen = {first.fingerprint, open_voc(root, classes=("a", "b", "c")).fingerprint}
    mask = labels(5)
    mask[0, 5] = 2 - mask[0, 5]
    (root / "SegmentationClass/p005.png").write_bytes(encode_index_mask(mask))
    mended = open_voc(root)
    assert mended.train_fingerprint == first.train_fingerprint and mended.fingerprint not in seen
    Image.new("RGB", (40, 48)).save(root / "JPEGImages/p000.png")
    assert open_voc(root).train_fingerprint != first.train_fingerprint


def test_what_was_seen_of_the_masks_is_kept_as_long_as_they_stay(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "settled", lambda state: True)  # the files are as new as a test's
    index = Index(tmp_path / "kept.index")
    first = open_voc(root, index=index)
    first.surveys  # noqa: B018
    index.save()
    with monkeypatch.context() as patch:
        patch.setattr(survey, "_look", lambda split: pytest.fail("looked again"))
        again = open_voc(root, index=Index.read(tmp_path / "kept.index"))
        assert again.surveys == first.surveys and again.fingerprint == first.fingerprint
    path = root / "SegmentationClass/p000.png"
    path.write_bytes(encode_index_mask(np.zeros((48, 40), dtype=np.uint8)))
    assert open_voc(root, index=Index.read(tmp_path / "kept.index")).fingerprint != first.fingerprint


def test_problems_are_looked_at_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "settled", lambda state: True)
    index, wrong = Index(tmp_path / "kept.index"), DataError("x.png: cannot be read (Input/output error)")
    with monkeypatch.context() as patch:
        patch.setattr(survey, "read_file", Mock(side_effect=wrong))
        assert open_voc(root, index=index).problems[0] == str(wrong)
    assert open_voc(root, index=index).problems == []
