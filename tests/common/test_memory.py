from __future__ import annotations

import platform
import resource

import pytest
import torch

from mec_transfer.common.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_a_large_block_is_not_mapped_anew_each_time() -> None:
    keep_freed_memory()
    torch.ones(1 << 24)  # 64 MiB, twice glibc's limit
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(1 << 24)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1 << 14  # of 4 x 2**14 pages
