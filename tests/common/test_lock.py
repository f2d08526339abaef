from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mec_transfer.common import lock
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


HOLD = """
import sys
from pathlib import Path
from mec_transfer.common.lock import folder_lock
with folder_lock(Path(sys.argv[1]), "holding it"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_nothing_is_removed_where_others_write_without_the_lock(tmp_path: Path) -> None:
    (tmp_path / ".state.pt.ab_12xyz.tmp").write_text("half")
    old = tmp_path / ".state.pt.01234567.tmp"
    old.write_text("of a process that was killed long ago")
    os.utime(old, (time.time() - 4000,) * 2)
    with folder_lock(tmp_path, "x", sole_writer=False):
        assert (tmp_path / ".state.pt.ab_12xyz.tmp").exists() and not old.exists()


def test_a_holder_on_another_machine_is_named_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD.replace("import sys", "import sys, platform\nplatform.node = lambda: 'n7'")]
    with subprocess.Popen([*command, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout and other.stdout.readline() == "held\n"
        named = pytest.raises(UserError, match=rf"another process \({other.pid} on n7\) is doing")
        with named, folder_lock(tmp_path, "doing the same", patience=0):
            pass
        other.stdin.close()


def test_who_waits_for_ever_says_so_again_and_again_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_SAY_SECONDS", 0.3)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout and other.stdout.readline() == "held\n"
        threading.Timer(0.8, other.stdin.close).start()
        with folder_lock(tmp_path, "doing the same", patience=None):
            pass
    line = f"{tmp_path}: another process ({other.pid}) is doing the same; waiting for it"
    said = capsys.readouterr().err.splitlines()
    assert set(said) == {line} and 2 <= len(said) <= 4
