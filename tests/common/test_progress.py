from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest

from mec_transfer.common import progress
from mec_transfer.common.progress import Meter, say, warn


def test_a_run_goes_on_where_nobody_reads_its_news() -> None:
    code = (
        "import sys; from mec_transfer.common.progress import say\n"
        "sys.stdin.read()\nfor i in range(3): say('news')\nprint('the result')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout and process.stderr
    process.stderr.close()
    process.stdin.close()
    assert (process.stdout.read(), process.wait(30)) == ("the result\n", 0)
    process.stdout.close()


def test_a_run_goes_on_where_the_disk_of_its_log_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w", buffering=1)  # noqa: PTH123, SIM115
    monkeypatch.setattr(sys, "stderr", full)
    say("news")
    warn("more")
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        full.close()


@pytest.mark.parametrize(("total", "days"), [(14_410, 0.0), (43_210, 3.0)])
def test_what_takes_days_is_told_once(
    total: int, days: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    meter = Meter("training", total, "steps")
    for _ in range(20):  # a step every six seconds
        now += 6
        meter.advance()
    told = [line for line in capsys.readouterr().err.splitlines() if "days" in line]
    assert told == ([f"warning: training: at the rate of its first minute it takes {days} days more"] if days else [])


def test_where_nobody_knows_how_many_there_are_no_time_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    for _ in progress.track(range(6), "unpacking x.tar", 0, "files"):
        now += 6
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == "unpacking x.tar [2 files]  0.167/s"
