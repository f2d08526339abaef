from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mec_transfer.common.errors import DataError, RunError
from mec_transfer.datasets.images import simclr
from mec_transfer.datasets.images.simclr import PUBLISHED, PublishedList, fetch_published

LISTS = {"1percent.txt": b"a_1.JPEG\n", "10percent.txt": b"a_1.JPEG\na_2.JPEG\n"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that serves two small lists by file:// in place of the published ones."""
    folder = tmp_path / "server"
    folder.mkdir()
    for labels, (name, text) in zip(("1%", "10%"), LISTS.items()):
        (folder / name).write_bytes(text)
        entry = PublishedList(name, text.count(b"\n"), hashlib.sha256(text).hexdigest())
        monkeypatch.setitem(simclr.PUBLISHED, labels, entry)
    return folder


def test_published_facts() -> None:
    assert {labels: entry.count for labels, entry in PUBLISHED.items()} == {"1%": 12_811, "10%": 128_116}
    assert [entry.sha256[:8] for entry in PUBLISHED.values()] == ["71e82a48", "6d09de11"]


def test_fetch_writes_both_lists_and_keeps_right_ones(server: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep/out"
    paths = fetch_published(out, server.as_uri())
    assert {path.name: path.read_bytes() for path in paths} == LISTS
    (out / "10percent.txt").write_bytes(b"spoilt")
    (server / "1percent.txt").unlink()  # not asked for again
    fetch_published(out, server.as_uri())
    assert (out / "10percent.txt").read_bytes() == LISTS["10percent.txt"]
    assert sorted(path.name for path in out.iterdir()) == sorted(LISTS)


def test_what_is_not_the_list_is_refused_and_nothing_written(server: Path, tmp_path: Path) -> None:
    (server / "1percent.txt").write_text("<html>log in to this network</html>")
    with pytest.raises(DataError, match=r"1percent.txt: is not SimCLR's list"):
        fetch_published(tmp_path / "out", server.as_uri())
    assert not (tmp_path / "out").exists()


def test_offline_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        fetch_published(tmp_path / "out", "http://127.0.0.1:9/lists")
    message = str(caught.value)
    assert "cannot be fetched" in message and "put it in" in message and "\n" not in message


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfa_1.JPEG\r\n", b"a_1.JPEG\r\n"])
def test_a_list_that_went_through_an_editor_is_the_published_one(server: Path, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "1percent.txt").write_bytes(text)
    assert simclr.read_published("1%", tmp_path) == ["a_1.JPEG"]
    (tmp_path / "1percent.txt").write_bytes(text + b"a_2.JPEG\n")
    with pytest.raises(DataError, match="is not SimCLR's list"):
        simclr.read_published("1%", tmp_path)
