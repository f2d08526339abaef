"""Errors as torch words them, and what a user reads."""

from __future__ import annotations

import pytest
import torch

from mec_transfer.common.command import exit_status
from mec_transfer.common.exhaustion import what_ran_out

SHARED = (
    "CUDA out of memory. Tried to allocate 392.00 MiB. GPU 0 has a total capacity of 79.18 GiB of which 297.44 MiB "
    "is free. Process 491 has 2.41 GiB memory in use. Process 660 has 518.00 MiB memory in use. Process 1730 has "
    "71.52 GiB memory in use. Including non-PyTorch memory, this process has 4.43 GiB memory in use."
)
ALONE = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 23.64 GiB of which 1.02 GiB is "
    "free. Including non-PyTorch memory, this process has 22.60 GiB memory in use."
)


def test_a_gpu_that_others_fill_is_told_with_who_fills_it():
    line = what_ran_out(torch.OutOfMemoryError(SHARED), "take more GPUs")
    assert line == (
        "GPU 0's memory of 79.18 GiB is full: other processes hold 74.4 GiB of it, most of that process 1730; "
        "end them, or take more GPUs"
    )


def test_a_gpu_that_this_process_fills():
    assert what_ran_out(torch.OutOfMemoryError(ALONE), "--set a=1") == "GPU 1's memory of 23.64 GiB is full; --set a=1"
    assert "take a GPU with more" in what_ran_out(torch.OutOfMemoryError(ALONE))
    assert what_ran_out(torch.OutOfMemoryError("out of memory")) == "the GPU's memory is full; take a GPU with more"


def test_the_machines_own_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert what_ran_out(caught.value).startswith("this machine's memory is full (1152921504606846976 bytes more")
    assert what_ran_out(MemoryError()).startswith("this machine's memory is full; end what else runs here")


def test_a_gpu_that_fails():
    error = torch.AcceleratorError(
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be ..."
    )
    assert what_ran_out(error).startswith(
        "the GPU failed: CUDA error: an illegal memory access was encountered; nvidia"
    )
    assert "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED;" in what_ran_out(
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    )


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("shapes do not fit"), KeyError("CUDA error")])
def test_other_errors_are_none_of_the_machines(error: Exception):
    assert what_ran_out(error) == ""


def test_every_command_tells_it_in_a_line_and_fails(capsys: pytest.CaptureFixture[str]):
    def command() -> int:
        raise torch.OutOfMemoryError(ALONE)

    assert exit_status("mec-transfer", command) == 1
    assert (
        capsys.readouterr().err == "mec-transfer: failed: GPU 1's memory of 23.64 GiB is full; take a GPU with more\n"
    )


def test_other_errors_keep_their_traceback():
    def command() -> int:
        raise RuntimeError("a fault of the program")

    with pytest.raises(RuntimeError, match="a fault of the program"):
        exit_status("mec-transfer", command)
