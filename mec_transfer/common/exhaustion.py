"""Failures of the machine itself, each in one line: a GPU's memory, the machine's memory, a broken GPU."""

from __future__ import annotations

import re
import sys

_GPU_FAULTS = ("CUDA error", "CUDA driver error", "cuDNN error", "cuBLAS", "CUBLAS_STATUS", "NCCL error", "HIP error")
_FULL = re.compile(r"(GPU \d+) has a total capacity of ([\d.]+ \w+) of which [\d.]+ \w+ is free")
_ASKED = re.compile(r"(?:Tried to allocate|you tried to allocate) ([\d.]+ \w+)")
_OTHER = re.compile(r"Process (\d+) has ([\d.]+) (\w+) memory in use")
_UNITS = {"bytes": 2.0**-30, "KiB": 2.0**-20, "MiB": 2.0**-10, "GiB": 1.0, "TiB": 2.0**10}
_NOTABLE = 1.0
"""GiB that other processes must hold to be worth mentioning: a CUDA context alone takes half of one."""


def what_ran_out(error: BaseException, advice: str = "") -> str:
    """Return in one line which part of the machine failed, and what to do; empty for any other kind of error.

    Args:
        error: any error; this does not import torch.
        advice: how to make this work smaller, as the end of a sentence; by default it advises a larger machine.
    """
    torch, text = sys.modules.get("torch"), " ".join(str(error).split())
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return _full_gpu(text, advice)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        asked = _ASKED.search(text)
        wanted = f" ({asked[1]} more were asked for)" if asked else ""
        smaller = advice or "end what else runs here, or take a machine with more"
        return f"this machine's memory is full{wanted}; {smaller}"
    failed = isinstance(error, RuntimeError) and text.startswith(_GPU_FAULTS)
    if failed or (torch is not None and isinstance(error, torch.AcceleratorError)):
        first = str(error).strip().splitlines()[0] if text else type(error).__name__
        return f"the GPU failed: {first}; nvidia-smi shows its state, and the same command goes on from what is saved"
    return ""


def _full_gpu(text: str, advice: str) -> str:
    smaller = advice or "take a GPU with more"
    place = _FULL.search(text)
    if place is None:
        return f"the GPU's memory is full; {smaller}"
    line = f"{place[1]}'s memory of {place[2]} is full"
    others = [(float(number) * _UNITS.get(unit, 0.0), process) for process, number, unit in _OTHER.findall(text)]
    if (held := sum(size for size, _ in others)) >= _NOTABLE:
        line += f": other processes hold {held:.1f} GiB of it, most of that process {max(others)[1]}"
        smaller = f"end them, or {smaller}"
    return f"{line}; {smaller}"
