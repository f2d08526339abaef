"""The index: a folder is listed once, and again only where it has changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.index import Index

OLD = time.time_ns() - 3_600_000_000_000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes of two images, made an hour ago."""
    root = tmp_path / "train"
    for name in ("a/1.jpg", "a/2.PNG", "b/deep/3.jpeg", "b/4.jpg", "b/notes.txt", "b/.hidden.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * len(name))
    settle(root)
    return root


def settle(root: Path) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        os.utime(folder, ns=(OLD, OLD))


def reopened(index: Index, file: Path) -> Index:
    index.save()
    return Index(file)


def test_it_lists_as_the_disk_does(tree: Path) -> None:
    index = Index()
    assert index.list_folder(tree) == (["a", "b"], [])
    assert index.list_folder(tree / "b") == (["deep"], ["4.jpg", "notes.txt"])
    assert index.list_images(tree) == ["a/1.jpg", "a/2.PNG", "b/4.jpg", "b/deep/3.jpeg"]
    assert index.file_sizes(tree, ["b/4.jpg", "gone", "a/1.jpg"]).tolist() == [7, -1, 7]


def test_another_process_lists_nothing_again(tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.json"
    first = Index(file)
    images = first.list_images(tree)
    sizes = first.file_sizes(tree, images)
    assert first.listed == 4
    second = reopened(first, file)
    assert second.list_images(tree) == images and np.array_equal(second.file_sizes(tree, images), sizes)
    assert second.listed == 0


@pytest.mark.parametrize("change", ["add", "remove", "rename"])
def test_a_changed_folder_alone_is_listed_again(tree: Path, tmp_path: Path, change: str) -> None:
    file = tmp_path / "index.json"
    first = Index(file)
    first.list_images(tree)
    if change == "add":
        (tree / "a/0.jpg").write_bytes(b"new")
    elif change == "remove":
        (tree / "a/1.jpg").unlink()
    else:
        (tree / "a/1.jpg").rename(tree / "a/0.jpg")
    second = reopened(first, file)
    assert second.list_images(tree) == Index().list_images(tree)
    assert second.listed == 1


def test_a_folder_that_changed_just_now_is_not_trusted(tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.json"
    os.utime(tree / "a")
    first = Index(file)
    first.list_images(tree)
    second = reopened(first, file)
    second.list_images(tree)
    assert second.listed == 1


def test_a_file_of_another_size_is_found_among_the_sampled(tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.json"
    first = Index(file)
    first.file_sizes(tree, ["a/1.jpg", "b/4.jpg"])
    (tree / "a/1.jpg").write_bytes(b"overwritten in place")
    settle(tree)
    assert reopened(first, file).file_sizes(tree, ["a/1.jpg", "b/4.jpg"]).tolist() == [20, 7]


def test_results_hold_for_their_stamp(tmp_path: Path) -> None:
    file = tmp_path / "index.json"
    first = Index(file)
    first.keep("fingerprint", "one", {"sha": "abc"})
    second = reopened(first, file)
    assert second.recall("fingerprint", "one") == {"sha": "abc"}
    assert second.recall("fingerprint", "two") is None and second.recall("other", "one") is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": "mec-transfer index 0"}', b'{"format": 1}', b"\xff"]
)
def test_a_damaged_file_loses_time_alone(tree: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "index.json"
    file.write_bytes(content)
    assert Index(file).list_images(tree) == Index().list_images(tree)


def test_names_of_any_bytes_survive(tree: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tree / "a" / name).touch()
    settle(tree)
    file = tmp_path / "index.json"
    first = Index(file)
    images = first.list_images(tree)
    assert f"a/{name}" in images and reopened(first, file).list_images(tree) == images


def test_what_cannot_be_listed_says_why(tree: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        Index().list_folder(tree / "c")
    with pytest.raises(DataError, match="is a file"):
        Index().list_folder(tree / "a/1.jpg")
    (tree / "b/deep/back").symlink_to(tree)
    with pytest.raises(DataError, match="links back"):
        Index().list_images(tree)
