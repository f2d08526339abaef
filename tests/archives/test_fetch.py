"""Fetching data sets from a server on this machine, up to a folder that a layout opens."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest

from mec_transfer.archives import catalogue
from mec_transfer.archives.catalogue import PublicSet
from mec_transfer.archives.fetch import fetch_set
from mec_transfer.cli.main import main
from mec_transfer.common import download
from mec_transfer.common.errors import RunError
from tests.datasets.images.test_cifar import write_batches
from tests.datasets.images.test_listed import caltech101, dtd
from tests.models.conftest import Shop, shop  # noqa: F401


def packed(folder: Path, name: str, inside: str, ending: str) -> bytes:
    """An archive of what lies in `folder`, under the folder `inside`."""
    if ending == "zip":
        staged = folder.parent / f"stage-{name}"
        shutil.copytree(folder, staged / inside)
        return Path(shutil.make_archive(str(folder.parent / name), "zip", staged)).read_bytes()
    path = folder.parent / f"{name}.{ending}"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, inside)
    return path.read_bytes()


@pytest.fixture
def sets(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, PublicSet]:  # noqa: F811
    """DTD, CIFAR-10 and Caltech 101 as they are published, but small and at this machine's address."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    made = tmp_path / "made"
    for name, write in (("dtd", dtd), ("caltech", caltech101)):
        (made / name).mkdir(parents=True)
        write(made / name)
    write_batches(made / "cifar")
    inner = packed(made / "caltech/101_ObjectCategories", "101_ObjectCategories", "101_ObjectCategories", "tar.gz")
    (made / "outer").mkdir()
    (made / "outer/101_ObjectCategories.tar.gz").write_bytes(inner)
    shop.bodies = {
        "/dtd-r1.0.1.tar.gz": packed(made / "dtd", "dtd", "dtd", "tar.gz"),
        "/cifar-10-python.tar.gz": packed(
            made / "cifar/cifar-10-batches-py", "batches", "cifar-10-batches-py", "tar.gz"
        ),
        "/caltech-101.zip": packed(made / "outer", "caltech-101", "caltech-101", "zip"),
        "/train.txt": (made / "caltech/train.txt").read_bytes(),
        "/test.txt": (made / "caltech/test.txt").read_bytes(),
    }
    base = shop.url.removesuffix("/models/weights.pth")
    moved = {}
    for name in ("dtd", "cifar10", "caltech101"):
        one = catalogue.load_sets()[name]
        files = []
        for file in one.files:
            body = shop.bodies[f"/{file.name}"]
            digits = {"md5": hashlib.md5(body).hexdigest(), "sha256": hashlib.sha256(body).hexdigest()}
            new = {"url": f"{base}/{file.name}", "bytes": len(body), "md5": None, "sha256": None}
            kind = "md5" if file.md5 else "sha256"
            files.append(file.model_copy(update=new | {kind: digits[kind]}))
        moved[name] = one.model_copy(update={"files": files})
    real = catalogue.load_sets()
    monkeypatch.setattr(catalogue, "load_sets", lambda: {**real, **moved})
    monkeypatch.setattr(download, "_BLOCK", 1 << 8)
    return moved


@pytest.mark.parametrize(
    ("name", "splits"),
    [("dtd", "train: 8 images, 2 classes"), ("cifar10", "train: 20 images"), ("caltech101", "train: 4 images")],
)
def test_what_came_is_opened_by_its_layout(
    sets: dict[str, PublicSet], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, splits: str
) -> None:
    root = tmp_path / "data"
    assert main(["data", "fetch", name, "--to", str(root), "--yes"]) == 0
    printed = capsys.readouterr()
    assert splits in printed.out and printed.out.endswith("no problems found\n")
    checked = "md5" if name != "caltech101" else "sha256"
    assert f"checked: {checked}" in printed.err
    assert [path.name for path in root.iterdir()] == [sets[name].place]


def test_without_yes_nothing_is_asked_of_the_server(
    sets: dict[str, PublicSet],
    shop: Shop,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["data", "fetch", "dtd", "--to", str(tmp_path / "data")]) == 2
    printed = capsys.readouterr()
    assert "size     0.0 MB" in printed.out and "licence  not known here" in printed.out
    assert f"place    {tmp_path / 'data/dtd'}" in printed.out
    assert "nothing was fetched; the same with --yes does it" in printed.err
    assert not shop.asked and not (tmp_path / "data").exists()
    assert main(["data", "fetch", "dtd"]) == 2 and "--to DIR" in capsys.readouterr().err
    assert main(["data", "fetch"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in catalogue.load_sets())


def test_a_broken_download_goes_on_and_what_is_there_is_not_fetched_again(
    sets: dict[str, PublicSet],
    shop: Shop,  # noqa: F811
    tmp_path: Path,
) -> None:
    root = tmp_path / "data"
    shop.stop_after = 150
    with pytest.raises(RunError, match=r"caltech101, caltech-101.zip: broke off after .*; the same command goes on"):
        fetch_set("caltech101", sets["caltech101"], root)
    shop.stop_after = None
    place = fetch_set("caltech101", sets["caltech101"], root)
    assert [request.get("range") for request in shop.asked] == [None, "bytes=150-", None, None]
    assert fetch_set("caltech101", sets["caltech101"], root) == place and len(shop.asked) == 4


def test_an_archive_that_is_not_the_published_one_leaves_nothing(
    sets: dict[str, PublicSet],
    shop: Shop,  # noqa: F811
    tmp_path: Path,
) -> None:
    shop.bodies["/dtd-r1.0.1.tar.gz"] += b"more"
    with pytest.raises(RunError, match=r"dtd, dtd-r1.0.1.tar.gz: not the published file: its md5 is .*; nothing of it"):
        fetch_set("dtd", sets["dtd"], tmp_path / "data")
    assert not (tmp_path / "data/dtd").exists()


def test_an_archive_of_something_else_is_told(
    sets: dict[str, PublicSet],
    shop: Shop,  # noqa: F811
    tmp_path: Path,
) -> None:
    elsewhere = sets["dtd"].model_copy(update={"place": "textures"})
    with pytest.raises(RunError, match="no such folder in what came"):
        fetch_set("dtd", elsewhere, tmp_path / "data")
    inner = sets["caltech101"].files[0].model_copy(update={"inner": "caltech-101/other.tar.gz"})
    with pytest.raises(RunError, match=r"holds no caltech-101/other.tar.gz"):
        other = sets["caltech101"].model_copy(update={"files": [inner]})
        fetch_set("caltech101", other, tmp_path / "data")
