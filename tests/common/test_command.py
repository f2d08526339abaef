from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mec_transfer.common.command import exit_status


def test_a_name_outside_the_terminals_encoding_is_printed_all_the_same() -> None:
    code = (
        "import sys; from mec_transfer.common.command import exit_status\n"
        "sys.exit(exit_status('x', lambda: print('b\\u00fc \\u2191 \\udcff') or 0))"
    )
    for encoding, shown in (("ascii", r"b\xfc \u2191 \udcff"), ("utf-8", r"bü ↑ \udcff")):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True
        )
        assert (done.returncode, done.stdout.decode().strip()) == (0, shown)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOSPC])
def test_a_disk_that_fails_is_one_line_with_the_files_name(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise OSError(number, os.strerror(number), "data/train")

    assert exit_status("x", command) == 1
    assert capsys.readouterr().err == f"x: failed: data/train: {os.strerror(number)}\n"


def test_what_a_launcher_of_several_processes_started_dies_with_it() -> None:
    """torch.distributed.run, killed outright, would leave them training, and holding their folder."""
    code = "import time; from mec_transfer.common.command import exit_status\n"
    code += "exit_status('x', lambda: print('begun', flush=True) or time.sleep(60))"
    launch = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    env = {**os.environ, "TORCHELASTIC_RUN_ID": "1"}
    launcher = subprocess.Popen([sys.executable, "-c", launch, code], env=env, stdout=subprocess.PIPE, text=True)
    assert launcher.stdout and launcher.stdout.readline() == "begun\n"
    launcher.kill()
    launcher.communicate(timeout=30)  # which waits for the end of all that could write
    orphan = ["bash", "-c", 'sleep 0.1; exec "$0" -c "$1" &', sys.executable, code]
    assert subprocess.run(orphan, env=env, capture_output=True, timeout=30, check=False).stdout == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("where", "command", "status", "told"),
    [
        (">/dev/full", "--version", 1, "mec-transfer: failed: No space left on device"),
        (">/dev/full", "inspect absent.pth", 2, "mec-transfer: error: absent.pth: no such file."),
        ("2>/dev/full", "inspect absent.pth", 2, ""),
        ("2>&-", "inspect absent.pth", 2, ""),
        (">&- 2>&-", "inspect absent.pth", 2, ""),
    ],
)
def test_a_stream_that_is_full_or_closed_changes_no_exit_status(
    where: str, command: str, status: int, told: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    environment.pop("PYTHONUNBUFFERED", None)  # else every print is written at once
    words = f"{sys.executable} -m mec_transfer.cli.main {command} {where}"
    done = subprocess.run(["bash", "-c", words], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (status, "", told)
