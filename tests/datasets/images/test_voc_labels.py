from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import DatasetConfig, LabelsDatasetConfig
from mec_transfer.datasets.images.voc_labels import VocClasses, VocLabels, VocLabelsLayout
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.registry import open_data

SPLITS = {"train": "trainval", "test": "test"}
SHOWN = {
    "trainval": {"b1": ["cat"], "a2": ["dog", "cat?"], "a1": ["dog?"]},
    "test": {"t1": ["cat", "cat?"], "t2": []},
}
"""Split -> photo -> the classes of its objects; a difficult one has a question mark."""
LABELS = {"trainval": [[0, -1], [-1, 1], [1, 0]], "test": [[1, 0], [0, 0]]}
"""Labels of the photos in the order of their names, for cat and dog."""


def config(splits: Mapping[str, str] = SPLITS) -> LabelsDatasetConfig:
    return LabelsDatasetConfig(name="tiny", layout="voc_labels", splits=dict(splits))  # type: ignore[arg-type]


def write_voc(root: Path, lists: bool = False) -> Path:
    """A VOC folder; with `lists` VOC's own words for the same labels."""
    words = {1: " 1", 0: "-1", -1: " 0"}
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    main = root / "ImageSets" / "Main"
    for split, photos in SHOWN.items():
        (main / f"{split}.txt").write_text("".join(f"{name}\n" for name in photos))
        for name, things in photos.items():
            Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{name}.jpg")
            objects = "".join(
                f"<object><name>{thing.rstrip('?')}</name><difficult>{int('?' in thing)}</difficult>"
                "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
                for thing in things
            )
            size = "<size><width>40</width><height>30</height></size>"
            (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
        for number, label in enumerate(("cat", "dog")) if lists else ():
            rows = zip(sorted(photos), LABELS[split])
            text = "".join(f"{name} {words[row[number]]}\n" for name, row in rows)
            (main / f"{label}_{split}.txt").write_text(text)
    return root


@pytest.mark.parametrize("lists", [False, True])
def test_labels_are_those_of_the_lists_or_follow_from_the_objects(tmp_path: Path, lists: bool) -> None:
    data = open_data(config(), write_voc(tmp_path / "voc", lists))
    assert isinstance(data, VocLabels) and data.splits == {"train": 3, "test": 2} and data.classes == 2
    train, test = data.labelled("train"), data.labelled("test")
    assert train.classes == test.classes == ("cat", "dog")
    assert train.paths == ("a1.jpg", "a2.jpg", "b1.jpg") and train.load(0).size == (40, 30)
    np.testing.assert_array_equal(train.labels, LABELS["trainval"])
    np.testing.assert_array_equal(test.labels, LABELS["test"])
    assert data.labels_from == ("the class lists in ImageSets/Main" if lists else "the objects in Annotations")
    assert data.problems == []


def test_lists_have_the_last_word_over_annotations(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", lists=True)
    (root / "ImageSets/Main/dog_test.txt").write_text("t1  1\nt2 -1\n")
    np.testing.assert_array_equal(open_data(config(), root).labelled("test").labels, [[1, 1], [0, 0]])  # type: ignore[attr-defined]


def test_a_fingerprint_changes_with_a_label(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", lists=True)
    before = open_data(config(), root)
    before_train, before_all = before.train_fingerprint, before.fingerprint
    (root / "ImageSets/Main/dog_test.txt").write_text("t1  1\nt2 -1\n")
    after = open_data(config(), root)
    assert after.fingerprint != before_all and after.train_fingerprint == before_train


def test_a_devkit_is_opened_by_year(tmp_path: Path) -> None:
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", lists=True)
    data = open_data(config({"train": "2007_trainval", "test": "2007_test"}), tmp_path / "VOCdevkit")
    assert data.splits == {"train": 3, "test": 2}


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        (
            "cat_test.txt",
            "t1 1\nt2 2\n",
            "cat_test.txt:2: 'IMAGE 1', '-1' or '0' is needed, each image once, found 't2 2'",
        ),
        ("cat_test.txt", "t1 1\nt1 1\n", "cat_test.txt:2: 'IMAGE 1'"),
        ("dog_test.txt", "t1 1\nt2 1\nt3 1\n", "dog_test.txt: has other images than cat_test.txt, such as t3"),
        ("cow_test.txt", "t1 1\nt2 1\n", "the class lists of trainval and test are of different classes: cow"),
    ],
)
def test_what_is_wrong_with_a_list_is_told_with_its_place(tmp_path: Path, file: str, text: str, told: str) -> None:
    root = write_voc(tmp_path / "voc", lists=True)
    (root / "ImageSets/Main" / file).write_text(text)
    with pytest.raises(DataError) as error:
        open_data(config(), root)
    assert told in str(error.value)


def test_a_missing_photo_is_told(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", lists=True)
    (root / "JPEGImages/t2.jpg").unlink()
    with pytest.raises(DataError, match="test.txt: 1 of 2 images are not in JPEGImages: t2"):
        open_data(config(), root)


def test_broken_annotations_are_told(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc")
    (root / "Annotations/t1.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=r"t1\.xml.*mend"):
        open_data(config(), root)


def test_splits_of_own_data_are_found_by_their_usual_names(tmp_path: Path) -> None:
    root, layout = write_voc(tmp_path / "voc"), VocLabelsLayout("voc_labels")
    published = config({"train": "2007_trainval", "test": "2007_test"})
    assert layout.adapt(published, root, {}) == {"splits": SPLITS}
    assert layout.adapt(config(), root, {}) == {}
    chosen = config({"train": "2007_trainval", "test": "tset"})  # a slip of the user's is not guessed away
    assert layout.adapt(chosen, root, {}) == {"splits": {"train": "trainval", "test": "tset"}}
    (root / "ImageSets/Main/test.txt").rename(root / "ImageSets/Main/other.txt")
    with pytest.raises(
        DataError, match="no split of a usual name to test on; it has other, trainval: name one with --set"
    ):
        layout.adapt(published, root, {})
    for name in ("train", "val"):
        (root / f"ImageSets/Main/{name}.txt").write_text("a1\n")
    assert layout.adapt(published, root, {}) == {"splits": {"train": "train", "test": "val"}}  # trainval holds val
    with pytest.raises(DataError, match="name 1 of the images more than once"):
        layout.open(config({"train": "trainval", "test": "val"}), root, Index())
    with pytest.raises(DataError, match="has no split 'tset'"):
        layout.open(config({"train": "trainval", "test": "tset"}), root, Index())


def write_parts(root: Path) -> Path:
    """VOC 2007 in its three parts, with files that are no images: only what decodes them would tell."""
    names = [f"{number:06d}" for number in range(1, 10)]
    rows = {"cat": "1 -1 0 1 -1 1 -1 1 0", "aeroplane": "-1 1 1 -1 1 -1 1 -1 1"}
    main = root / "VOC2007/ImageSets/Main"
    main.mkdir(parents=True)
    (root / "VOC2007/JPEGImages").mkdir()
    for name in names:
        (root / f"VOC2007/JPEGImages/{name}.jpg").write_bytes(name.encode())
    for label, flags in rows.items():
        lines = [f"{name} {flag:>2}\n" for name, flag in zip(names, flags.split(), strict=True)]
        for number, part in enumerate(("train", "val", "test")):
            (main / f"{label}_{part}.txt").write_text("".join(lines[number::3]))
    return root


def open_parts(root: Path) -> VocClasses:
    data = open_data(DatasetConfig(name="x", layout="voc2007_classes"), root)
    assert isinstance(data, VocClasses)
    return data


def test_the_three_parts_of_voc2007(tmp_path: Path) -> None:
    data = open_parts(write_parts(tmp_path))
    train, val = data.labelled("train"), data.labelled("val")
    assert train.classes == val.classes == ("aeroplane", "cat")
    assert train.paths == tuple(f"VOC2007/JPEGImages/00000{number}.jpg" for number in "147258")
    assert train.labels.tolist() == [[0, 1], [0, 1], [1, 0], [1, 0], [1, 0], [0, 1]]
    assert val.labels.tolist() == [[1, -1], [0, 1], [1, -1]]
    assert data.held_out is not None and data.held_out.tolist() == [False] * 3 + [True] * 3


def test_fingerprints_of_voc2007_are_those_of_earlier_records(tmp_path: Path) -> None:
    data = open_parts(write_parts(tmp_path))
    assert data.fingerprint == "37988375cfd0a7a2b41fb1bada206fdf1d1ab65916d858283e9757d6f0053328"
    assert data.train_fingerprint == "9c65517c4bf42b0555f635696a27d6444a7124adea33f4b0defe17b597a5072a"
    file = tmp_path / "VOC2007/ImageSets/Main/cat_test.txt"
    file.write_text(file.read_text().replace(" 0", " 1"))
    after = open_parts(tmp_path)
    assert after.fingerprint != data.fingerprint and after.train_fingerprint == data.train_fingerprint


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("cat_val.txt", "000002 1\n", "cat_val.txt: has other images than aeroplane_val.txt, such as 000005"),
        ("cat_val.txt", "000002 2\n", "cat_val.txt:1: 'IMAGE 1', '-1' or '0' is needed"),
        ("aeroplane_test.txt", None, "aeroplane_test.txt"),
        ("cat_train.txt", None, "cat_train.txt: cannot be read (No such file"),  # and not one class less
        ("cat_test.txt", "000003 1\n000006 1\n000001 1\n", "has other images than aeroplane_test.txt, such as 000001"),
    ],
)
def test_what_is_wrong_with_a_part_is_told(tmp_path: Path, file: str, text: str | None, told: str) -> None:
    path = write_parts(tmp_path) / "VOC2007/ImageSets/Main" / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError) as error:
        open_parts(tmp_path)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_lists_of_one_class_are_none(tmp_path: Path) -> None:
    main = write_parts(tmp_path) / "VOC2007/ImageSets/Main"
    for path in main.glob("cat_*.txt"):
        path.unlink()
    with pytest.raises(DataError, match="no lists of classes, such as aeroplane_train.txt"):
        open_parts(tmp_path)


def test_a_folder_without_voc2007_or_one_of_its_photos_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        open_parts(tmp_path / "nowhere")
    write_parts(tmp_path)
    (tmp_path / "VOC2007/JPEGImages/000003.jpg").unlink()
    assert any("1 of 3 images are missing or a broken link" in problem for problem in open_parts(tmp_path).problems)
