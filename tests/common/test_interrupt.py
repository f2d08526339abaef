"""Signals: raised, held, blocked, and not heeded where the user said so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mec_transfer.common.command import exit_status
from mec_transfer.common.interrupt import STOP_SIGNALS, Interrupted, held_signals, raised_signals


def send(number: int) -> int:
    signal.raise_signal(number)
    return 0


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_command_that_is_signalled_exits_by_the_convention(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    assert exit_status("program", lambda: send(number)) == 128 + number
    assert capsys.readouterr().err == f"program: interrupted ({number.name}); the same command goes on from here\n"
    assert signal.getsignal(number) == before


def test_what_a_library_makes_of_an_interruption_is_one_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    def leave_a_mode() -> int:
        try:
            return send(signal.SIGTERM)
        finally:
            raise RuntimeError("trying to pop from empty mode stack")

    assert exit_status("program", leave_a_mode) == 128 + signal.SIGTERM
    assert "interrupted (SIGTERM)" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="of its own"):
        exit_status("program", lambda: (_ for _ in ()).throw(RuntimeError("of its own")))


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_held_signal_is_obeyed_at_the_end_of_the_block_at_the_latest(number: signal.Signals) -> None:
    done = []
    with raised_signals(), pytest.raises(Interrupted) as stopped:
        with held_signals() as stop:
            send(number)
            done.append(stop.number)
        done.append("after")
    assert done == [number] and stopped.value.number == number


def test_a_signal_that_is_obeyed_within_the_block_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with held_signals() as stop:
        send(signal.SIGTERM)
        stop.number = 0


def test_an_error_within_the_block_is_not_covered_up() -> None:
    with pytest.raises(ZeroDivisionError), held_signals():
        send(signal.SIGTERM)
        raise ZeroDivisionError


def test_what_the_user_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it runs in its background
    try:
        with raised_signals(), held_signals() as stop:
            send(signal.SIGINT)
        assert stop.number == 0
    finally:
        signal.signal(signal.SIGINT, before)


BLOCKED = """
import os, signal, subprocess, sys, threading, time
from mec_transfer.common.interrupt import Interrupted, blocked_signals, raised_signals
for _ in range(int(sys.argv[1])):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
try:
    with raised_signals(), blocked_signals():
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        print("goes on")
except Interrupted:
    print("is stopped")
child.send_signal(signal.SIGTERM)
child.communicate()
print(child.returncode)
"""


@pytest.mark.parametrize("threads", [0, 2])
def test_blocked_signals_come_afterwards_and_never_to_a_child_that_was_started_meanwhile(threads: int) -> None:
    """Where there are other threads, as torch's, one of those takes the signal, and Python hands it to this one."""
    command = [sys.executable, "-c", BLOCKED, str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "goes on\nis stopped\n0\n"


def test_beside_the_main_thread_nothing_changes() -> None:
    found: list[int] = []

    def work() -> None:
        with raised_signals(), held_signals() as stop:
            found.append(stop.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0]


@pytest.mark.parametrize("length", [1, 100_000])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_where_nobody_reads_on_a_command_ends_quietly(stream: str, length: int) -> None:
    code = (
        "import sys; from mec_transfer.common.command import exit_status\n"
        f"sys.exit(exit_status('program', lambda: print('x' * {length}, file=sys.{stream}) or 0))"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=write if stream == "stdout" else subprocess.PIPE,
        stderr=write if stream == "stderr" else subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert done.returncode == 141 and not done.stdout and not done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_does_no_harm(closed: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m mec_transfer.cli.main ls suites {closed}"
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr
