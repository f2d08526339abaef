from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision

from mec_transfer.common.errors import DataError
from mec_transfer.datasets import scan
from mec_transfer.datasets.images.folders import open_split, open_unlabelled
from tests.datasets.reading import find_problems

Make = Callable[..., Path]


def error_of(root: Path, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        open_split(root, split)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_same_images_labels_and_classes_as_torchvision(make_images: Make) -> None:
    root = make_images(
        "train/b/2.JPEG", "train/b/10.jpg", "train/b/x.PNG", "train/B/1.webp", "train/a/deep/er/1.bmp", "train/a/z.Jpg",
        "val/b/1.png", "val/B/1.png", "val/a/1.png",
    )  # fmt: skip
    (root / "train/a/notes.txt").write_text("not an image")
    ours = open_split(root, "train")
    theirs = torchvision.datasets.ImageFolder(str(root / "train"))
    assert list(ours.classes) == theirs.classes
    pairs = {(str(ours.root / path), label) for path, label in zip(ours.paths, ours.labels.tolist())}
    assert pairs == set(theirs.samples)
    assert len(ours) == len(theirs.samples) == 6
    assert ours.labels.dtype == np.int64


def test_order_is_by_name_and_hidden_files_are_left_out(folder_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder_set / "train/.DS_Store").write_bytes(b"x")
    (folder_set / "train/cat/._cat_0.JPEG").write_bytes(b"x")
    (folder_set / "train/.cache/a").mkdir(parents=True)
    before = open_split(folder_set, "train")
    assert before.paths == tuple(f"{c}/{c}_{i}.JPEG" for c in ("cat", "dog") for i in range(3))
    assert before.labels.tolist() == [0, 0, 0, 1, 1, 1]
    real = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):  # type: ignore[no-untyped-def]
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(scan.os, "scandir", Backwards)
    assert open_split(folder_set, "train").paths == before.paths


def test_linked_class_folders_are_followed_and_a_loop_is_refused(folder_set: Path, make_images: Make) -> None:
    elsewhere = make_images("1.png", folder="elsewhere")
    (folder_set / "train/cat/more").symlink_to(elsewhere)
    assert "cat/more/1.png" in open_split(folder_set, "train").paths
    (folder_set / "train/cat/loop").symlink_to(folder_set / "train/cat")
    assert "loop: links back" in error_of(folder_set)


def test_missing_and_misplaced_roots(folder_set: Path, tmp_path: Path) -> None:
    assert "no such folder" in error_of(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    assert "is a file" in error_of(tmp_path / "file")
    assert f"did you mean {folder_set}?" in error_of(folder_set.parent)
    assert f"did you mean {folder_set}?" in error_of(folder_set / "train")
    assert f"did you mean {folder_set}?" in error_of(folder_set / "train/cat")
    shutil.move(folder_set / "val", folder_set / "validation")
    assert "no folder 'val' in it, but 'validation'; rename or link it to 'val'" in error_of(folder_set, "val")
    shutil.rmtree(folder_set / "validation")
    assert error_of(folder_set, "val") == f"{folder_set}: no folder 'val' in it; val/<class>/* is needed"


def test_kaggle_root_is_pointed_down(folder_set: Path, tmp_path: Path) -> None:
    deep = tmp_path / "kaggle/ILSVRC/Data/CLS-LOC"
    deep.parent.mkdir(parents=True)
    folder_set.rename(deep)
    assert f"did you mean {deep}?" in error_of(tmp_path / "kaggle")


def test_class_folders_that_do_not_fit(folder_set: Path) -> None:
    (folder_set / "train/eel").mkdir()
    assert "no image in class folder eel" in error_of(folder_set)
    message = error_of(folder_set, "val")
    assert "different classes (only in train: eel)" in message
    shutil.move(folder_set / "train/eel", folder_set / "val/ant")
    assert "different classes (only in val: ant)" in error_of(folder_set, "val")


def test_splits_without_class_folders(folder_set: Path, make_images: Make) -> None:
    make_images("train/loose.png")
    assert "1 images lie beside 2 class folders (loose.png)" in error_of(folder_set)
    for name in ("cat", "dog"):
        shutil.rmtree(folder_set / "train" / name)
    assert "1 images without class folders; train/<class>/* is needed" in error_of(folder_set)
    (folder_set / "train/loose.png").unlink()
    assert "neither class folders nor images" in error_of(folder_set)
    (folder_set / "train/n01440764.tar").write_bytes(b"")
    assert "holds 1 .tar files and no shards.index; unpack" in error_of(folder_set)


def test_unknown_layout_is_suggested(folder_set: Path) -> None:
    with pytest.raises(DataError, match=r"Did you mean 'imagefolder'\?"):
        find_problems(folder_set, "image_folder")


def test_unreadable_folder(folder_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def refuse(path: Path):  # type: ignore[no-untyped-def]
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(scan.os, "scandir", refuse)
    assert error_of(folder_set).endswith("dog: cannot be read (Permission denied)")


def test_unlabelled_takes_every_image_below(make_images: Make, tmp_path: Path) -> None:
    images = open_unlabelled(make_images("b/1.png", "a.png", "c/d/e.jpg"))
    assert images.paths == ("a.png", "b/1.png", "c/d/e.jpg")
    assert images.labels.tolist() == [-1, -1, -1]
    assert images.classes == ()
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no image"):
        open_unlabelled(tmp_path / "bare")
    assert find_problems(images.root, "unlabelled") == []


def test_find_problems_reads_sizes_and_decodes(folder_set: Path) -> None:
    assert find_problems(folder_set, "imagefolder") == []
    (folder_set / "train/cat/cat_1.JPEG").write_bytes(b"")
    (folder_set / "train/dog/dog_0.JPEG").write_text("<html>404</html>")
    (folder_set / "val/dog/gone.JPEG").symlink_to(folder_set / "nowhere.JPEG")
    problems = find_problems(folder_set, "imagefolder")
    assert len(problems) == 3
    assert "1 of 6 images are empty (zero bytes): cat/cat_1.JPEG" in problems[0]
    assert "1 of 5 images tried are broken" in problems[1] and "dog_0.JPEG: not a readable image" in problems[1]
    assert "1 of 5 images are missing or a broken link: dog/gone.JPEG" in problems[2]


def test_find_problems_tells_of_a_single_class(make_images: Make) -> None:
    root = make_images("train/cat/1.png", "val/cat/1.png")
    assert find_problems(root, "imagefolder") == [f"{root}: only one class; at least two are needed to tell apart"]


def test_find_problems_tells_of_both_splits(folder_set: Path) -> None:
    (folder_set / "train/eel").mkdir()
    problems = find_problems(folder_set, "imagefolder")
    assert len(problems) == 2
    assert "no image in class folder eel" in problems[0] and "only in train: eel" in problems[1]
    assert len(find_problems(folder_set / "nowhere", "imagefolder")) == 1


def test_what_unpackers_and_systems_leave_is_no_data(folder_set: Path) -> None:
    sound = {split: open_split(folder_set, split).paths for split in ("train", "val")}
    for junk in ("__MACOSX/cat", "val/__MACOSX", "train/@eaDir", "train/cat/__MACOSX", "train/dog/@eaDir", "train/.x"):
        (folder_set / junk).mkdir(parents=True)
        for name in ("a.JPEG", "._cat_0.JPEG"):
            (folder_set / junk / name).write_bytes(b"\0\5\x16\7")
    for name in (
        "train/cat/._cat_0.JPEG",
        "train/cat/.DS_Store",
        "train/cat/Thumbs.db",
        "val/desktop.ini",
        "train/Thumbs.db",
    ):
        (folder_set / name).write_bytes(b"junk")
    assert {split: open_split(folder_set, split).paths for split in ("train", "val")} == sound
    assert find_problems(folder_set, "imagefolder") == []
    assert len(open_unlabelled(folder_set).paths) == sum(map(len, sound.values()))
