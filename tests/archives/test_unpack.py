"""Archives that are sound, damaged, and meant to write elsewhere."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from mec_transfer.archives.unpack import unpack
from mec_transfer.common.errors import RunError

CONTENT = {"a/one.txt": b"one", "./a/b/two.txt": b"two"}


def write_tar(path: Path, content: dict[str, bytes], *links: tuple[str, str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o4777
            tar.addfile(member, io.BytesIO(data))
        for name, target, kind in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    return path


def write_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.zip"])
def test_all_files_come_out_and_none_may_be_run(tmp_path: Path, name: str) -> None:
    archive = (write_zip if name.endswith("zip") else write_tar)(tmp_path / name, CONTENT)
    unpack(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {"a/one.txt": b"one", "a/b/two.txt": b"two"}
    assert all(not path.stat().st_mode & 0o7111 for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize("member", ["../evil", "/tmp/evil-by-absolute-path", "a/../../evil", "a\\..\\evil"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_outside_the_folder_is_refused(tmp_path: Path, kind: str, member: str) -> None:
    write = write_zip if kind == "zip" else write_tar
    with pytest.raises(RunError, match="would lie outside the folder"):
        unpack(write(tmp_path / f"x.{kind}", {member: b"evil"}), tmp_path / "deep/out")
    assert not list(tmp_path.rglob("evil*")) and not Path("/tmp/evil-by-absolute-path").exists()


def test_links_and_devices_are_left_out_and_second_names_are_files(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    links = [
        ("door", str(outside), tarfile.SYMTYPE),
        ("again", "a/one.txt", tarfile.LNKTYPE),
        ("pipe", "", tarfile.FIFOTYPE),
    ]
    archive = write_tar(tmp_path / "x.tar", {"a/one.txt": b"one"}, *links)
    with tarfile.open(archive, "a") as tar:
        member = tarfile.TarInfo("door/evil.txt")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    unpack(archive, tmp_path / "out")
    assert not list(outside.iterdir())
    assert files(tmp_path / "out") == {"a/one.txt": b"one", "again": b"one", "door/evil.txt": b"evil"}
    assert not any(path.is_symlink() or path.is_fifo() for path in (tmp_path / "out").rglob("*"))


def test_a_link_in_a_zip_is_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("door")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(tmp_path))
        archive.writestr("one", b"1")
    unpack(tmp_path / "x.zip", tmp_path / "out")
    assert files(tmp_path / "out") == {"one": b"1"} and not (tmp_path / "out/door").is_symlink()


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.zip"])
def test_a_damaged_archive_is_one_line(tmp_path: Path, name: str) -> None:
    content = {f"{number}.bin": os.urandom(4000) for number in range(4)}
    archive = (write_zip if name.endswith("zip") else write_tar)(tmp_path / name, content)
    whole = archive.read_bytes()
    for broken in (whole[: len(whole) // 2], b"rubbish" * 999, b""):
        archive.write_bytes(broken)
        with pytest.raises(RunError, match=r"damaged, or no archive .*; delete it and fetch it again$"):
            unpack(archive, tmp_path / "out")


def test_an_inner_hard_link_to_nothing_is_damage(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "x.tar", {}, ("again", "nowhere", tarfile.LNKTYPE))
    with pytest.raises(RunError, match="damaged, or no archive"):
        unpack(archive, tmp_path / "out")
