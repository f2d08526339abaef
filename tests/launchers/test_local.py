"""Tasks as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mec_transfer.common.errors import RunError
from mec_transfer.launchers import local, warm
from mec_transfer.launchers.local import Ended, LocalLauncher, Task
from tests import warm as warm_tests

WORKER = "tests.launchers.worker"


class Runs:
    """Tasks in a folder, and what they print."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[tuple[str, str]] = []

    def task(self, title: str, *arguments: str, **options: Any) -> Task:
        return Task(title=title, module=WORKER, arguments=arguments, log=self.folder / title / "log.txt", **options)

    def show(self, task: Task, line: str) -> None:
        self.lines.append((task.title, line))

    def one(self, launcher: LocalLauncher, *arguments: str, **options: Any) -> Ended:
        launcher.start(self.task("one", *arguments, **options))
        return launcher.wait()


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


@pytest.mark.parametrize("own_python", [False, True])
def test_a_task_ends_with_its_status_its_log_and_its_lines(runs: Runs, own_python: bool) -> None:
    with LocalLauncher(runs.show) as launcher:
        assert runs.one(launcher, "say", "hello", own_python=own_python).status == 0
        assert runs.one(launcher, "fail", own_python=own_python).status == 1
        assert runs.one(launcher, "die", own_python=own_python).status == -signal.SIGKILL
    log = (runs.folder / "one/log.txt").read_text()
    assert log.startswith("hello None") and log.endswith("error: broken\n")
    assert runs.lines == [("one", line) for line in log.splitlines()]


def test_as_many_at_once_as_there_are_slots(runs: Runs) -> None:
    with LocalLauncher(runs.show, slots=2, threads=1) as launcher:
        first = runs.task("first", "meet", str(runs.folder), "a", "b")
        second = runs.task("second", "meet", str(runs.folder), "b", "a")
        launcher.start(first)
        assert launcher.has_room(second)
        launcher.start(second)
        assert not launcher.has_room(first) and launcher.busy
        ended = {launcher.wait().task.title, launcher.wait().task.title}
        assert ended == {"first", "second"} and not launcher.busy and launcher.has_room(first)
        assert runs.one(launcher, "say", "threads").status == 0
    assert runs.lines[-1] == ("one", "threads None 1")


def test_a_task_alone_takes_every_core_of_a_machine_without_gpus(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with LocalLauncher(runs.show, slots=2, threads=1) as launcher:
        alone = runs.task("alone", "say", "threads", alone=True)
        launcher.start(runs.task("first", "meet", str(runs.folder), "a", "b"))
        assert not launcher.has_room(alone)
        launcher.start(runs.task("second", "meet", str(runs.folder), "b", "a"))
        launcher.wait(), launcher.wait()
        launcher.start(alone)
        assert not launcher.has_room(runs.task("x", "say"))
        assert launcher.wait().status == 0 and runs.lines[-1] == ("alone", "threads None None")
    with LocalLauncher(runs.show, gpus=["0", "1"]) as launcher:
        launcher.start(alone)
        assert launcher.has_room(runs.task("x", "say"))
        assert launcher.wait().status == 0 and runs.lines[-1] == ("alone", "threads 0 None")


def test_what_is_known_not_to_fit_into_memory_beside_the_others_waits(runs: Runs) -> None:
    with LocalLauncher(runs.show, slots=3, memory=10) as launcher:
        large = runs.task("large", "say", memory_bytes=11)
        assert launcher.has_room(large)  # alone it may try
        launcher.start(runs.task("first", "meet", str(runs.folder), "a", "b", memory_bytes=6))
        assert not launcher.has_room(large) and not launcher.has_room(runs.task("x", "say", memory_bytes=5))
        assert launcher.has_room(runs.task("x", "say", memory_bytes=4)) and launcher.has_room(runs.task("x", "say"))
        launcher.start(runs.task("second", "meet", str(runs.folder), "b", "a", memory_bytes=4))
        launcher.wait(), launcher.wait()
        assert launcher.has_room(large)


def test_each_task_sees_its_own_gpus(runs: Runs) -> None:
    with LocalLauncher(runs.show, gpus=["3", "5", "7"]) as launcher:
        tasks = [
            runs.task(name, "say", name, gpus=count, own_python=count == 1) for name, count in (("x", 1), ("y", 1))
        ]
        for task in tasks:
            launcher.start(task)
        assert not launcher.has_room(runs.task("z", "say", gpus=2))
        launcher.start(runs.task("z", "say", "z"))
        for _ in range(3):
            launcher.wait()
    assert {line.rpartition(" ")[0] for _, line in runs.lines} == {"x 3", "y 5", "z 7"}


def test_a_task_of_several_gpus_is_as_many_processes(runs: Runs) -> None:
    with LocalLauncher(runs.show, gpus=["0", "1"]) as launcher:
        assert runs.one(launcher, "rank", gpus=8).status == 0
    assert sorted(line for _, line in runs.lines) == ["rank 0 of 2", "rank 1 of 2"]


def test_several_processes_end_as_the_first_that_failed_and_say_no_more_than_that(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spawn(command: list[str], log: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
        out = os.open(log, os.O_WRONLY | os.O_APPEND)  # together.py from a process that has torch already
        streams: Any = {"stdout": out, "stderr": subprocess.STDOUT}
        return warm_tests.Popen(command, **streams, env={**os.environ, **env}, start_new_session=True)

    monkeypatch.setattr(local, "_spawn", spawn)
    with LocalLauncher(runs.show, gpus=["0", "1"]) as launcher:
        assert runs.one(launcher, "die", gpus=2).status == -signal.SIGKILL and not runs.lines
        assert runs.one(launcher, "save", str(runs.folder), gpus=2).status == 128 + signal.SIGUSR1
    assert sorted(line for _, line in runs.lines) == ["saved 0", "saved 1"]


@pytest.mark.parametrize("own_python", [False, True])
def test_a_process_leads_a_session_and_reads_nothing(runs: Runs, own_python: bool) -> None:
    with LocalLauncher(runs.show) as launcher:
        runs.one(launcher, "session", own_python=own_python)
    leads, parent, reads_nothing = runs.lines[0][1].split()
    assert (leads, reads_nothing) == ("True", "True") and (int(parent) == os.getpid()) == own_python


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"limit_seconds": 0.3}, "ended after its time limit of 0.3 s"),
        ({"silence_seconds": 0.3}, "ended because it printed nothing for 0.3 s"),
    ],
)
@pytest.mark.parametrize("what", ["hang", "deaf"])
def test_a_task_beyond_its_limits_is_ended(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, options: dict[str, float], reason: str, what: str
) -> None:
    monkeypatch.setattr(local, "_GRACE_SECONDS", 0.3)
    with LocalLauncher(runs.show) as launcher:
        runs.one(launcher, "say")  # the imports are no part of the time
        ended = runs.one(launcher, what, **options)
    assert ended.reason == reason
    assert ended.status == (-signal.SIGKILL if what == "deaf" else -signal.SIGTERM)


def test_a_warm_process_that_dies_is_started_again(runs: Runs) -> None:
    with LocalLauncher(runs.show, slots=2) as launcher:
        assert runs.one(launcher, "kill warm").status == -signal.SIGKILL
        assert runs.one(launcher, "say", "again").status == 0


def test_a_warm_process_that_dies_takes_all_its_tasks_and_none_is_waited_for(runs: Runs) -> None:
    with LocalLauncher(runs.show, slots=3) as launcher:
        for title in ("a", "b"):
            launcher.start(runs.task(title, "hang"))
        launcher.start(runs.task("c", "kill warm"))
        assert [launcher.wait().status for _ in range(2)] == [-signal.SIGKILL] * 2
        assert runs.one(launcher, "say", "again").status in (0, -signal.SIGKILL)  # whichever has ended first
        launcher.wait()
    assert ("one", "again None None") in [(title, line.replace(" 1", " None")) for title, line in runs.lines]


def test_a_process_that_cannot_be_forked_is_an_error_and_the_others_work_on(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs.folder / "nofork.py").write_text(
        "import errno, os\nfork = os.fork\n"
        "def once():\n    os.fork = fork\n    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\nos.fork = once\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{runs.folder}{os.pathsep}{Path.cwd()}")
    with LocalLauncher(runs.show, slots=2, preload=["nofork"]) as launcher:
        with pytest.raises(RunError, match="no process could be started: Resource temporarily unavailable"):
            launcher.start(runs.task("a", "say"))
        assert launcher.has_room(runs.task("a", "say", gpus=2)) and runs.one(launcher, "say").status == 0


def test_slow_imports_do_not_run_a_task_twice(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs.folder / "slow.py").write_text("import time\ntime.sleep(1.5)\n")
    monkeypatch.setenv("PYTHONPATH", f"{runs.folder}{os.pathsep}{Path.cwd()}")
    monkeypatch.setattr(warm, "_START_SECONDS", 0.5)
    with LocalLauncher(runs.show, preload=["slow"]) as launcher, pytest.raises(RunError, match="started within"):
        launcher.start(runs.task("one", "say", "once"))
    assert "once" not in (runs.folder / "one/log.txt").read_text()


def test_a_task_is_stopped_from_its_first_moment_on(runs: Runs) -> None:
    for _ in range(5):
        with LocalLauncher(runs.show) as launcher:
            runs.one(launcher, "say")
            launcher.start(runs.task("one", "hang"))
            began = time.monotonic()
        assert time.monotonic() - began < 30


def test_a_log_that_cannot_be_written_is_an_error(runs: Runs) -> None:
    (runs.folder / "one").write_text("a file in the folder's place")
    with LocalLauncher(runs.show) as launcher, pytest.raises(RunError, match="one.*no process could be started"):
        launcher.start(runs.task("one", "say"))


def test_a_module_that_cannot_be_imported_early_fails_only_who_needs_it(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs.folder / "broken_module.py").write_text("raise RuntimeError('half installed')")
    monkeypatch.setenv("PYTHONPATH", f"{runs.folder}{os.pathsep}{Path.cwd()}")
    with LocalLauncher(runs.show, preload=["no_such_module", "broken_module"]) as launcher:
        assert runs.one(launcher, "say", "hello").status == 0
        launcher.start(Task(title="x", module="no_such_module", arguments=(), log=runs.folder / "x"))
        assert launcher.wait().status == 1
    assert "No module named 'no_such_module'" in (runs.folder / "x").read_text()


def test_a_signal_to_every_process_reaches_forks_and_leaves_the_warm_process(runs: Runs) -> None:
    with LocalLauncher(runs.show) as launcher:
        launcher.start(runs.task("one", "parent"))
        while not runs.lines:
            time.sleep(0.01)
            for running in launcher._running:
                running.show(runs.show)
        warm, fork = map(int, runs.lines[0][1].split())
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            os.kill(warm, number)
        os.kill(fork, signal.SIGUSR1)
        assert launcher.wait().status == -signal.SIGUSR1
        assert runs.one(launcher, "parent").status == 0 and runs.lines[-1][1].startswith(f"{warm} ")


def test_leaving_stops_what_still_works(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_GRACE_SECONDS", 0.3)
    with LocalLauncher(runs.show, slots=3) as launcher:
        for title, options in (("a", {}), ("b", {"own_python": True}), ("c", {})):
            launcher.start(runs.task(title, "deaf" if title == "c" else "hang", **options))
        while len([*runs.folder.glob("*/log.txt")]) < 3 or any(
            "hanging" not in log.read_text() for log in runs.folder.glob("*/log.txt")
        ):
            time.sleep(0.01)
    assert not launcher.busy and not any(_workers(runs.folder / title / "log.txt") for title in "abc")


def test_tasks_die_with_a_launcher_that_is_killed(runs: Runs) -> None:
    program = f"""
import sys, time
from pathlib import Path
from mec_transfer.launchers.local import LocalLauncher, Task
launcher = LocalLauncher(lambda task, line: print(line, flush=True), slots=2)
for title, own in (("a", False), ("b", True)):
    log = Path({str(runs.folder)!r}) / title
    launcher.start(Task(title=title, module={WORKER!r}, arguments=("hang",), log=log, own_python=own))
launcher.wait()
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["hanging\n"] * 2
    assert _workers(runs.folder / "a") and _workers(runs.folder / "b")
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while (left := [pid for title in "ab" for pid in _workers(runs.folder / title)]) and time.monotonic() < until:
        time.sleep(0.02)
    assert not left


def _workers(log: Path) -> list[int]:
    """Return the processes that write to `log`, which are the task there and, if it made the log, the warm one."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/[12]"):
        try:
            if link.readlink() == log:
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


def test_a_task_that_cannot_start_gives_its_slots_back(runs: Runs) -> None:
    (runs.folder / "file").touch()
    with LocalLauncher(runs.show, slots=2) as launcher:
        lost = Task(title="lost", module=WORKER, arguments=(), log=runs.folder / "file/log.txt")
        for _ in range(2):
            with pytest.raises(RunError, match="file: no process could be started"):
                launcher.start(lost)
        assert launcher.has_room(runs.task("x", "say", gpus=2))


def test_a_line_that_is_written_in_parts_is_shown_once_and_whole(runs: Runs) -> None:
    with LocalLauncher(runs.show) as launcher:
        assert runs.one(launcher, "in parts").status == 0
    assert runs.lines == [("one", "the first half and the second"), ("one", "no end")]
