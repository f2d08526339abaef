"""The state that a training goes on from: what a kill, a full disk, a bad disk or a wrong folder does to it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mec_transfer.common import resumable
from mec_transfer.common.errors import CheckpointError, RunError, UserError
from mec_transfer.common.interrupt import Interrupted
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.resumable import SAVE_SECONDS, ResumableState


class State(ResumableState):
    NAME, PREVIOUS, FORMAT = "last.pt", "previous.pt", "mec-transfer/test/2"
    OLDER_FORMATS = ("mec-transfer/test/1",)
    TITLE = "state of a test"
    KEYS = frozenset({"step", "weights"})
    PROGRESS = ("step",)
    CURE = "Lower the rate"

    def difference(self, there: Any) -> str:
        return "" if there == self.run else f"is of run {there}, this is {self.run}"

    def older(self) -> list[Path]:
        return sorted(self.folder.glob("kept*.pt"), reverse=True)


def values(step: int) -> dict[str, Any]:
    return {"step": step, "weights": {"layer": torch.full((1000,), float(step))}}


def step_of(folder: Path, run: str = "mine") -> int | None:
    found = State(folder, run).load()
    if found is None:
        return None
    assert bool((found["weights"]["layer"] == found["step"]).all())
    return int(found["step"])


@pytest.fixture
def state(tmp_path: Path) -> State:
    """Two states, of steps 1 and 2."""
    state = State(tmp_path, "mine")
    state.save(values(1))
    state.save(values(2))
    return state


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "a folder":
        path.unlink()
        path.mkdir()
    elif how == "a flipped bit":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    else:
        path.write_bytes({"empty": b"", "cut short": content[:-200], "a web page": b"<html>not found</html>"}[how])


def test_a_state_comes_back_whole_and_the_one_before_it_is_kept(state: State, tmp_path: Path) -> None:
    assert step_of(tmp_path) == 2
    before = torch.load(state.previous, weights_only=True)
    assert (before["format"], before["run"], before["step"]) == ("mec-transfer/test/2", "mine", 1)
    state.save(values(3))
    assert step_of(tmp_path) == 3 and torch.load(state.previous, weights_only=True)["step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "previous.pt"]
    state.discard()
    assert not list(tmp_path.iterdir()) and step_of(tmp_path) is None


@pytest.mark.parametrize("how", ["empty", "cut short", "a flipped bit", "a web page"])
def test_a_damaged_state_gives_way_to_the_one_before_it(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    damage(state.path, how)
    assert step_of(tmp_path) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {state.path}: cannot be read (") and said.count("\n") == 1
    assert said.endswith("); going on from previous.pt instead, step 1\n")
    assert step_of(tmp_path) == 1 and not capsys.readouterr().err  # it has taken the damaged one's place
    state.save(values(2))
    assert torch.load(state.previous, weights_only=True)["step"] == 1


@pytest.mark.parametrize("how", ["empty", "cut short", "a flipped bit", "a web page", "a folder"])
def test_where_none_can_be_read_one_line_names_them_all(state: State, tmp_path: Path, how: str) -> None:
    damage(state.path, how)
    damage(state.previous, how)
    (tmp_path / "kept1.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError) as caught:
        step_of(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{state.path}: cannot be read (") and "\n" not in said
    assert said.endswith("delete it and previous.pt and kept1.pt to train from the beginning")


def test_an_older_one_serves_where_the_last_two_are_damaged_and_no_other_time(state: State, tmp_path: Path) -> None:
    (tmp_path / "kept1.pt").write_bytes(state.previous.read_bytes())
    damage(state.path, "empty")
    damage(state.previous, "empty")
    assert step_of(tmp_path) == 1
    state.discard()
    assert step_of(tmp_path) is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_while_writing_it_leaves_the_state_before(state: State, tmp_path: Path, number: int) -> None:
    """Half of the new file lies under a temporary name, which the next holder of the folder removes."""
    program = """
import os, sys, torch
from pathlib import Path
from tests.common.test_resumable import State, values

def die(value, handle):
    handle.write(b"half of it")
    handle.flush()
    os.kill(os.getpid(), int(sys.argv[2]))

torch.save = die
State(Path(sys.argv[1]), "mine").save(values(3))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), str(int(number))],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
    )
    assert done.returncode == -number, done.stderr
    assert [path.read_bytes() for path in tmp_path.glob(".*.tmp")] == [b"half of it"]
    assert step_of(tmp_path) == 2
    with folder_lock(tmp_path, "testing"):
        assert not list(tmp_path.glob(".*.tmp"))
    state.save(values(3))
    assert step_of(tmp_path) == 3


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("where", ["copy", "write", "flush"])
def test_a_full_disk_is_one_line_and_leaves_the_state_before(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, links: bool
) -> None:
    """Wherever it becomes full: while the last is given its second name, while the new one is written or flushed."""

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def half(value: Any, handle: Any) -> None:
        handle.write(b"half of it")
        full()

    def no_links(*args: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        if not links:
            patch.setattr(os, "link", no_links)
        if where == "copy" and not links:
            patch.setattr("mec_transfer.common.files.shutil.copyfileobj", full)
        elif where == "flush" and links:
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(torch, "save", half)
        with pytest.raises(RunError, match=r"\.pt: cannot be written \(No space left on device\)") as caught:
            state.save(values(3))
    assert "\n" not in str(caught.value) and not list(tmp_path.glob(".*.tmp"))
    assert step_of(tmp_path) == 2
    state.save(values(4))  # space was made
    assert step_of(tmp_path) == 4


def test_another_runs_state_is_refused_and_stays(state: State, tmp_path: Path) -> None:
    before = state.path.read_bytes()
    with pytest.raises(UserError, match=r"last\.pt: is of run mine, this is other"):
        step_of(tmp_path, "other")
    damage(state.path, "cut short")
    with pytest.raises(UserError, match=r"previous\.pt: is of run mine, this is other"):
        step_of(tmp_path, "other")
    state.path.write_bytes(before)
    assert step_of(tmp_path) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": "mec-transfer/test/3"}, r"another version .*\(mec-transfer/test/3; this one reads .*test/2\)"),
        ({"format": "mec-transfer/1"}, "is not a state of a test; "),
        ({"state_dict": {}}, "is not a state of a test; "),
        ([1, 2], "is not a state of a test; "),
        (
            {"format": "mec-transfer/test/2", "run": "mine", "step": 1},
            "not a whole state of a test: it has no 'weights'",
        ),
    ],
)
def test_other_versions_and_other_files_are_refused(state: State, tmp_path: Path, content: Any, message: str) -> None:
    """They are sound, so they are not damage that an older state stands in for."""
    torch.save(content, state.path)
    with pytest.raises(CheckpointError, match=rf"last\.pt: .*{message}") as caught:
        step_of(tmp_path)
    assert "\n" not in str(caught.value) and "delete it to train from the beginning" in str(caught.value)


def test_an_earlier_version_is_read(tmp_path: Path) -> None:
    torch.save({"format": "mec-transfer/test/1", "run": "mine", **values(5)}, tmp_path / "last.pt")
    assert step_of(tmp_path) == 5


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_the_file_is_executed(tmp_path: Path) -> None:
    content = {"format": State.FORMAT, "run": "mine", **values(1), "more": Bomb(tmp_path / "hacked")}
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt: cannot be read") as caught:
        step_of(tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), MemoryError()])
def test_what_only_this_process_cannot_read_is_not_damage(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Else the older state would take its place, and hours be lost."""

    def fail(*args: Any, **options: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        with pytest.raises(RunError, match=r"last\.pt: cannot be read \((Permission denied|MemoryError)\)"):
            step_of(tmp_path)
    assert step_of(tmp_path) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_never_saved(state: State, tmp_path: Path, value: float) -> None:
    broken = {**values(3), "optimizer": {"state": [{"momentum": torch.tensor([1.0, value])}]}}
    with pytest.raises(RunError, match=r"'optimizer\.state\.0\.momentum' is no longer finite at step 3; .*Lower the"):
        state.save(broken)
    assert step_of(tmp_path) == 2


def test_what_does_not_fit_is_one_line(state: State) -> None:
    layer = torch.nn.Linear(2, 2)

    def apply(found: dict[str, Any]) -> None:
        layer.load_state_dict(found["weights"])

    with pytest.raises(CheckpointError, match=r"last\.pt: does not fit this run \(Error\(s\) in .*layer") as caught:
        state.restore(apply)
    assert "\n" not in str(caught.value)


def test_restore_says_whether_there_was_a_state(state: State, tmp_path: Path) -> None:
    found: list[int] = []
    assert state.restore(lambda values: found.append(values["step"]))
    assert not State(tmp_path / "empty", "mine").restore(lambda values: found.append(values["step"]))
    assert found == [2]


def test_rank_0_alone_writes(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state.path.read_bytes()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(resumable.time, "monotonic", lambda: float("inf"))
    state.save(values(3))
    assert state.path.read_bytes() == before and not state.is_due
    monkeypatch.setenv("RANK", "0")
    assert state.is_due


def test_processes_that_find_different_states_are_told(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable.distributed, "gather_objects", lambda seen: [seen, ("mine", [1])])
    with pytest.raises(UserError, match="the processes do not find the same images and the same checkpoint"):
        step_of(tmp_path)


def test_the_next_state_is_due_ten_minutes_after_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(resumable.time, "monotonic", lambda: now)
    state = State(tmp_path, "mine")
    now += SAVE_SECONDS - 1
    assert not state.is_due
    now += 1
    assert state.is_due
    state.save(values(1))
    assert not state.is_due


def test_at_a_signal_it_saves_and_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Interrupted) as stopped:
        State(tmp_path, "mine").save_and_stop(values(7), signal.SIGUSR1)
    assert stopped.value.number == signal.SIGUSR1 and step_of(tmp_path) == 7
    assert capsys.readouterr().err == f"{tmp_path / 'last.pt'}: saved at step 7\n"
