"""How processes end."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import atexit, concurrent.futures, sys, threading, time
from mec_transfer.common.processes import end_process

def late():
    time.sleep(0.2)
    print("thread")

class Loaded:
    def __del__(self):
        print("taken apart", flush=True)

kept = Loaded()
pool = concurrent.futures.ThreadPoolExecutor(1)
pool.submit(str)
threading.Thread(target=late).start()
atexit.register(print, "exit handler", end="")
end_process(7)
"""


def test_an_end_keeps_its_promises_and_takes_nothing_apart() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (7, "thread\nexit handler", "")


def test_an_end_that_nobody_reads_keeps_its_status() -> None:
    program = "from mec_transfer.common.processes import end_process; print('x'); end_process(3)"
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=buffered, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 3
    process.stderr.close()
