from __future__ import annotations

import os
import subprocess
import sys


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
