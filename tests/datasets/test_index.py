"""The index: a folder is listed once, and again only where it has changed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets import index as index_module
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.scan import file_names, file_sizes


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of two images; every change counts as long ago, since nobody can set a ctime back."""
    monkeypatch.setattr(index_module, "_SETTLED_NS", -(10**18))
    root = tmp_path / "train"
    for name in ("a/1.jpg", "a/2.PNG", "b/deep/3.jpeg", "b/4.jpg", "b/notes.txt", "b/.hidden.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * len(name))
    return root


def reopened(index: Index, file: Path) -> Index:
    index.save()
    return Index.read(file)


def test_it_lists_as_the_disk_does(tree: Path) -> None:
    index = Index()
    assert index.list_folder(tree) == (["a", "b"], [])
    assert index.list_folder(tree / "b") == (["deep"], ["4.jpg", "notes.txt"])
    assert index.list_images(tree) == ["a/1.jpg", "a/2.PNG", "b/4.jpg", "b/deep/3.jpeg"]
    assert index.file_sizes(tree, ["b/4.jpg", "gone", "a/1.jpg"]).tolist() == [7, -1, 7]


def test_another_process_lists_nothing_again(tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.json"
    first = Index.read(file)
    images = first.list_images(tree)
    sizes = first.file_sizes(tree, images)
    assert first.listed == 4
    second = reopened(first, file)
    assert second.list_images(tree) == images and np.array_equal(second.file_sizes(tree, images), sizes)
    assert second.listed == 0


@pytest.mark.parametrize("change", ["add", "remove", "rename"])
def test_a_changed_folder_alone_is_listed_again(tree: Path, tmp_path: Path, change: str) -> None:
    file = tmp_path / "index.json"
    first = Index.read(file)
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


def test_a_folder_that_changed_just_now_is_not_trusted(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_SETTLED_NS", 2_000_000_000)
    file = tmp_path / "index.json"
    first = Index.read(file)
    first.list_images(tree)
    second = reopened(first, file)
    second.list_images(tree)
    assert second.listed == 4


def test_a_folder_whose_time_was_set_back_is_listed_again(tree: Path, tmp_path: Path) -> None:
    file, before = tmp_path / "index.json", (tree / "a").stat()
    first = Index.read(file)
    first.list_images(tree)
    (tree / "a/0.jpg").write_bytes(b"unpacked")
    os.utime(tree / "a", ns=(before.st_atime_ns, before.st_mtime_ns))  # as tar and rsync do
    assert "a/0.jpg" in reopened(first, file).list_images(tree)


def test_a_link_whose_target_comes_later_is_seen(tree: Path, tmp_path: Path) -> None:
    file, disk = tmp_path / "index.json", tmp_path / "disk"
    (tree / "c").symlink_to(disk)
    first = Index.read(file)
    assert first.list_folder(tree)[0] == ["a", "b"]
    disk.mkdir()
    assert reopened(first, file).list_folder(tree)[0] == ["a", "b", "c"]


def test_what_was_empty_is_looked_at_every_time(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_SAMPLED_SIZES", 0)
    file = tmp_path / "index.json"
    (tree / "a/1.jpg").write_bytes(b"")
    first = Index.read(file)
    assert first.file_sizes(tree, ["a/1.jpg", "b/4.jpg"]).tolist() == [0, 7]
    (tree / "a/1.jpg").write_bytes(b"mended")
    assert reopened(first, file).file_sizes(tree, ["a/1.jpg", "b/4.jpg"]).tolist() == [6, 7]


def test_a_file_of_another_size_is_found_among_the_sampled(tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.json"
    first = Index.read(file)
    first.file_sizes(tree, ["a/1.jpg", "b/4.jpg"])
    (tree / "a/1.jpg").write_bytes(b"overwritten in place")
    assert reopened(first, file).file_sizes(tree, ["a/1.jpg", "b/4.jpg"]).tolist() == [20, 7]


def test_results_hold_for_their_stamp(tmp_path: Path) -> None:
    file = tmp_path / "index.json"
    first = Index.read(file)
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
    assert Index.read(file).list_images(tree) == Index().list_images(tree)


def test_names_of_any_bytes_survive(tree: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tree / "a" / name).touch()
    file = tmp_path / "index.json"
    first = Index.read(file)
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


def test_a_disk_that_does_not_answer_is_not_taken_for_a_missing_file(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a read error would leave images out, and the number would be one of fewer images."""

    def fail(path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(DataError, match=r"a/1\.jpg: cannot be read \(Input/output error\)"):
        file_sizes(tree, ["a/1.jpg"])
    monkeypatch.undo()
    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(DataError, match=r"a: cannot be read \(Input/output error\)"):
        file_names(tree / "a")
