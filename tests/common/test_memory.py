"""What the C library does with freed memory, in a process of its own: it is for good."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from mec_transfer.common.memory import keep_freed_memory

keep_freed_memory()
faults = []
for _ in range(5):
    np.zeros(1 << 26, dtype=np.uint8).fill(1)  # 64 MiB, twice glibc's limit
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[0])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_a_large_block_is_not_mapped_anew_each_time() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60)
    assert int(done.stdout) < 64  # of 4 x 2**14 pages of 4 KiB, or 4 x 32 of 2 MiB
