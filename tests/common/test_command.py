from __future__ import annotations

import errno
import os
import subprocess
import sys

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
    launcher = subprocess.Popen(
        ["bash", "-c", '"$0" -c "$1" & wait', sys.executable, code],
        env={**os.environ, "TORCHELASTIC_RUN_ID": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout and launcher.stdout.readline() == "begun\n"
    launcher.kill()
    launcher.communicate(timeout=30)  # which waits for the end of all that could write
