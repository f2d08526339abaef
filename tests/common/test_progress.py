from __future__ import annotations

import subprocess
import sys


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
