from __future__ import annotations

import hashlib
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mec_transfer.common import files
from mec_transfer.common.errors import RunError, UserError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "one")
    files.write_text(path, "two")
    assert path.read_text() == "two"
    assert leftovers(path.parent) == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~files._umask()


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(ValueError, match="mine"), files.atomic_writer(path) as handle:
        handle.write(b"half")
        raise ValueError("mine")
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"a\.txt: cannot be written \(No space left on device\)"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_torch_save_on_a_full_disk_is_a_run_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None: ...

    path = tmp_path / "a.pth"
    files.save_torch(path, {"x": torch.zeros(2)})
    real = torch.save
    monkeypatch.setattr(torch, "save", lambda value, handle: real(value, Full()))
    with pytest.raises(RunError, match=r"a\.pth: cannot be written"):
        files.save_torch(path, {"x": torch.zeros(300_000)})
    assert torch.load(path)["x"].shape == (2,)


def test_a_kill_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    code = (
        "import os, pathlib, signal, sys\n"
        "from mec_transfer.common.files import atomic_writer\n"
        "with atomic_writer(pathlib.Path(sys.argv[1])) as handle:\n"
        "    handle.write(b'half'); handle.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.read_text() == "old"


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be written"):
        files.write_text(tmp_path / "file" / "a.txt", "x")


def test_json_refuses_nan_and_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": math.nan})
    assert leftovers(tmp_path) == []
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(UserError, match=r"b\.json: not readable as JSON"):
        files.read_json(tmp_path / "b.json")
    with pytest.raises(UserError, match=r"c\.json: no such file"):
        files.read_json(tmp_path / "c.json")


def test_sha256_file(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "a").write_bytes(data)
    seen: list[int] = []
    assert files.sha256_file(tmp_path / "a", seen.append) == hashlib.sha256(data).hexdigest()
    assert sum(seen) == len(data)


def test_the_name_of_a_half_written_file_is_known(tmp_path: Path) -> None:
    with pytest.raises(RunError), files.atomic_writer(tmp_path / "state.pt"):
        assert len(leftovers(tmp_path)) == 1
        files.remove_leftovers(tmp_path)
        assert leftovers(tmp_path) == []


def test_a_torch_file_that_does_not_fit_names_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(RunError, match="enforce fail"):
        files.save_torch(tmp_path / "a.pt", {})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(RunError, match=r"a\.pt: cannot be written \(No space left on device\)"):
        files.save_torch(tmp_path / "a.pt", {})
    assert leftovers(tmp_path) == []


def test_a_file_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    files.write_text(tmp_path / "list.txt", os.fsdecode(b"b\xfcll/1.png"))
    assert (tmp_path / "list.txt").read_bytes() == b"b\xfcll/1.png"
