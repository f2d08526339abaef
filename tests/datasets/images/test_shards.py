from __future__ import annotations

import io
import json
import pickle
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mec_transfer.common.errors import DataError, UserError
from mec_transfer.datasets.images import shards
from mec_transfer.datasets.images.folders import open_unlabelled, unlabelled_paths
from mec_transfer.datasets.images.shard_writer import parse_size, write_splits
from mec_transfer.datasets.images.shards import INDEX, ShardedImages, holds_shards, open_shards
from tests.datasets.reading import find_problems, summarise

MakeImages = Callable[..., Path]
NAMES = ["b/2.png", "b/1.jpeg", "a.png", "c/" + "long" * 40 + "/3.png", "c/\u00fc \u6f22\t.png", "B/1.PNG", "b.png"]


@pytest.fixture
def plain(make_images: MakeImages) -> Path:
    return make_images(*NAMES)


@pytest.fixture
def sharded(plain: Path, tmp_path: Path) -> Path:
    write_splits({"": open_unlabelled(plain)}, tmp_path / "shards", 5000)
    return tmp_path / "shards"


def write_tar(path: Path, files: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_shards_hold_the_same_images_in_the_same_order(plain: Path, sharded: Path) -> None:
    loose, packed = open_unlabelled(plain), open_unlabelled(sharded)
    assert isinstance(packed, ShardedImages) and len(list(sharded.glob("*.tar"))) > 2
    assert packed.paths == loose.paths == tuple(unlabelled_paths(sharded))
    assert [packed.read(i) for i in range(7)] == [loose.read(i) for i in range(7)]
    assert np.array_equal(packed.sizes(), loose.sizes()) and np.array_equal(packed.labels, loose.labels)
    assert summarise(sharded, "unlabelled") == summarise(plain, "unlabelled")
    assert find_problems(sharded, "unlabelled") == []
    assert packed.name(0) == f"{sharded / 'shard-000000.tar'}: {packed.paths[0]}"


def test_shards_are_tars_that_others_read(plain: Path, sharded: Path) -> None:
    found = {}
    for path in sorted(sharded.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert found == {path: (plain / path).read_bytes() for path in open_unlabelled(plain).paths}


def test_the_same_images_give_the_same_bytes(plain: Path, sharded: Path, tmp_path: Path) -> None:
    for path in plain.rglob("*.*"):
        path.touch()
    write_splits({"": open_unlabelled(plain)}, tmp_path / "again", 5000)
    files = sorted(path.name for path in sharded.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "again").iterdir())
    assert all((sharded / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)


def test_shards_are_as_large_as_asked(plain: Path, sharded: Path, tmp_path: Path) -> None:
    assert all(path.stat().st_size <= 5000 for path in sharded.glob("*.tar"))
    write_splits({"": open_unlabelled(plain)}, tmp_path / "each", 1)
    assert len(list((tmp_path / "each").glob("*.tar"))) == len(NAMES)
    assert parse_size("1.5gb") == 1_500_000_000 and parse_size("500 MB") == 500_000_000
    for wrong in ("500", "MB", "-1MB", "0MB"):
        with pytest.raises(UserError, match="--shard-size"):
            parse_size(wrong)


def test_tars_of_others_need_no_index(plain: Path, tmp_path: Path) -> None:
    data = {name: (plain / name).read_bytes() for name in NAMES}
    folder = tmp_path / "web"
    first = {NAMES[0]: data[NAMES[0]], "b/2.cls": b"7", "b/2.json": b"{}", NAMES[3]: data[NAMES[3]]}
    write_tar(folder / "1.tar", first, tarfile.PAX_FORMAT)
    write_tar(folder / "0.tar", {NAMES[0]: data[NAMES[2]]}, tarfile.GNU_FORMAT)
    (folder / "README.txt").write_text("not a shard")
    images = open_unlabelled(folder)
    assert images.paths == (f"0.tar/{NAMES[0]}", f"1.tar/{NAMES[0]}", f"1.tar/{NAMES[3]}")
    assert [images.read(i) for i in range(3)] == [data[NAMES[2]], data[NAMES[0]], data[NAMES[3]]]
    assert images.name(1) == f"{folder / '1.tar'}: {NAMES[0]}"
    (folder / "loose.png").write_bytes(data["a.png"])
    assert not holds_shards(folder) and open_unlabelled(folder).paths == ("loose.png",)


@pytest.mark.parametrize("cut", [1, 600, 1024, 1100, 1536, 2048, 2560])
def test_a_cut_tar_without_index_is_refused(plain: Path, tmp_path: Path, cut: int) -> None:
    data = {f"{i}.png": (plain / "a.png").read_bytes() for i in range(2)}
    path = write_tar(tmp_path / "web" / "0.tar", data)
    whole = path.read_bytes()[:3072]  # twice header and image, and the end
    assert not any(whole[2048:])
    path.write_bytes(whole[:-cut])
    if cut == 1:
        assert len(open_unlabelled(path.parent)) == 2  # one whole block of the end's zeros is there
    else:
        with pytest.raises(DataError, match=r"0.tar: not a whole tar file .*copy it again"):
            open_unlabelled(path.parent)


def _damage(sharded: Path, how: str) -> None:
    first, second = sorted(sharded.glob("*.tar"))[:2]
    index = sharded / INDEX
    if how == "truncated":
        first.write_bytes(first.read_bytes()[:-10])
    elif how == "missing":
        first.unlink()
    elif how == "other":
        first.write_bytes(bytes(first.stat().st_size))
    elif how == "renamed members":
        first.write_bytes(first.read_bytes().replace(b"B/1.PNG", b"B/2.PNG"))
    elif how == "extra":
        (sharded / "more.tar").write_bytes(second.read_bytes())
    elif how == "index cut":
        index.write_bytes(index.read_bytes()[:-20])
    elif how == "index changed":
        index.write_bytes(index.read_bytes().replace(b"b.png", b"c.png"))
    elif how == "index newer":
        header, _, rest = index.read_text().partition("\n")
        index.write_text(json.dumps({**json.loads(header), "version": 2}) + "\n" + rest)
    else:
        index.write_bytes(b"")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("truncated", "shard-000000.tar: truncated: "),
        ("missing", "shard-000000.tar: is in shards.index but not readable"),
        ("other", "shard-000000.tar: is not the one that shards.index lists"),
        ("renamed members", "shard-000000.tar: is not the one that shards.index lists"),
        ("extra", "more.tar: is not in shards.index"),
        ("index cut", "shards.index: is damaged"),
        ("index changed", "shards.index: is damaged"),
        ("index newer", "shards.index: of version 2"),
        ("index empty", "shards.index: is damaged"),
    ],
)
def test_what_is_wrong_with_a_folder_of_shards_is_one_line(sharded: Path, how: str, expected: str) -> None:
    _damage(sharded, how)
    with pytest.raises(DataError) as caught:
        open_unlabelled(sharded)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert find_problems(sharded, "unlabelled") == [str(caught.value)]


def test_a_shard_that_shrinks_while_it_is_read_is_a_data_error(sharded: Path) -> None:
    images = open_shards(sharded)
    assert images.read(0)
    path = sharded / "shard-000000.tar"
    path.write_bytes(path.read_bytes()[:520])
    with pytest.raises(DataError, match=r"shard-000000.tar: ends at byte 520"):
        images.read(0)


class _Bytes(Dataset[bytes]):
    def __init__(self, images: ShardedImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> bytes:
        return self.images.read(index)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loading_processes_read_from_what_was_read_before(plain: Path, sharded: Path, method: str) -> None:
    images, loose = open_shards(sharded), open_unlabelled(plain)
    expected = [loose.read(i) for i in range(7)]
    assert images.read(0) == expected[0]  # leaves a descriptor open
    context = torch.multiprocessing.get_context(method)
    loader = DataLoader(_Bytes(images), batch_size=None, num_workers=2, multiprocessing_context=context)
    assert list(loader) == expected


def test_threads_and_copies_and_many_shards(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_splits({"": open_unlabelled(plain)}, tmp_path / "each", 1)
    monkeypatch.setattr(shards, "_MOST_OPEN", 2)
    images = pickle.loads(pickle.dumps(open_shards(tmp_path / "each")))
    expected = [open_unlabelled(plain).read(i) for i in range(7)]
    wrong = []

    def read_all() -> None:
        for _ in range(20):
            wrong.extend(i for i in range(7) if images.read(i) != expected[i])

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(images.files._open) == 2


def test_nothing_is_left_of_shards_that_could_not_be_finished(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = open_unlabelled(plain), tmp_path / "shards"
    (plain / images.paths[-1]).unlink()
    with pytest.raises(DataError, match="No such file"):
        write_splits({"": images}, out, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    partial = tmp_path / ".shards.partial"  # as a killed run leaves it
    partial.mkdir()
    (partial / "shard-000099.tar").write_bytes(b"half")
    write_splits({"": open_unlabelled(plain)}, out, 10**6)
    assert sorted(path.name for path in out.iterdir()) == ["shard-000000.tar", INDEX]
    with pytest.raises(UserError, match="not an empty folder"):
        write_splits({"": images}, out, 10**6)
    assert not partial.exists()


def test_what_a_mac_packs_beside_the_images_is_no_image(plain: Path, tmp_path: Path) -> None:
    data = (plain / NAMES[0]).read_bytes()
    junk = dict.fromkeys((f"__MACOSX/{NAMES[0]}", "a/._1.png", "._2.png", "a/@eaDir/3.png"), b"\0\5\x16\7")
    write_tar(tmp_path / "web" / "0.tar", {**junk, f"./{NAMES[0]}": data}, tarfile.GNU_FORMAT)
    assert open_unlabelled(tmp_path / "web").paths == (f"0.tar/./{NAMES[0]}",)
