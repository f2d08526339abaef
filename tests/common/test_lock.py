from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.lock import folder_lock


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_the_folders_place_is_the_users_mistake(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file, or lies below one"), folder_lock(tmp_path / name, "x"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(RunError, match="No space left"), folder_lock(tmp_path, "x"):
        pass


def test_removes_what_a_killed_writer_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".state.pt.ab_12xyz.tmp").write_text("half")
    kept = [".mine.tmp", "state.pt", "notes.tmp", ".state.pt.ABCDEFGH.tmp"]
    for name in kept:
        (tmp_path / name).write_text("whole")
    with folder_lock(tmp_path, "x"):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, ".lock"])
