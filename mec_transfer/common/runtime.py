"""The machine a run is on: device, seeds, versions, hardware."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
import random
import re
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.common import control_groups
from mec_transfer.common import device as devices
from mec_transfer.common.errors import UserError

if TYPE_CHECKING:
    import torch

_MOVE_NUMBERS = (
    *("mec-transfer", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow"),
    # One of them is installed; all of them are the same cv2.
    *("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    # Training and measuring of detectors, measuring of tracks.
    *("detectron2", "fvcore", "pycocotools", "faster-coco-eval", "trackeval"),
)


def pick_device(name: str) -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:N` names.

    Under torchrun, `cuda` and `auto` are the GPU of this process's LOCAL_RANK.

    Raises:
        UserError: CUDA is asked for but not available, or the name is not one of these.
    """
    import torch

    if not (asked := re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", name, re.ASCII)):
        raise UserError(f"--device {name}: must be auto, cpu, cuda or cuda:N, N from 0 on")
    gpus = devices.gpu_module()
    count = gpus.device_count() if gpus.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return torch.device("cpu")
    if not count:
        raise UserError(f"--device {name}: this torch ({torch.__version__}) sees no GPU; use --device cpu")
    index = int(asked[1] or os.environ.get("LOCAL_RANK", "0"))
    if index >= count:
        whose = f"--device {name}" if asked[1] else f"--device {name}: process {index} on this machine"
        raise UserError(f"{whose}: has no GPU; there are {count}, counted from 0. One process a GPU at the most")
    return torch.device(devices.GPU, index)


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed that depends on every one of `parts` (by their text), and on nothing else.

    Every random stream of a run is seeded from (seed, what it is for, epoch), so that an interrupted run
    resumed at an epoch draws what an undisturbed one would have drawn.
    """
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed libraries that can move a number, by distribution name."""
    found = {"python": platform.python_version()}
    for name in _MOVE_NUMBERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def hardware() -> dict[str, str | int]:
    """Return the processor, the cores this process may use, torch's number of threads, and the GPU if there is one."""
    import torch

    gpus = devices.gpu_module()
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": gpus.get_device_name(0) if gpus.is_available() else "none",
        "gpus": gpus.device_count(),
    }


def usable_cores() -> int:
    """Return how many cores this process may use; where a container has a share of the machine, that share."""
    cores = _visible_cores()
    quota = control_groups.cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def limit_threads() -> None:
    """Have torch and BLAS start as many threads as there are usable cores; takes effect before they are loaded.

    They would start one for each core that they see, and in a container that may use two of 64, 64 threads wait for
    each other. OMP_NUM_THREADS of the user's own stays.
    """
    cores = usable_cores()
    if cores < _visible_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def _visible_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held, or any process that it has waited for."""
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most if sys.platform == "darwin" else most * 1024


def peak_gpu_memory() -> int:
    """Return the most bytes that this process has taken of a GPU's memory; 0 where it has computed on none."""
    gpu = devices.gpu_module() if "torch" in sys.modules else None
    return int(gpu.max_memory_reserved()) if gpu is not None and gpu.is_initialized() else 0


def available_memory() -> int | None:
    """Return how many bytes processes can still take, of the machine and of each control group they are in.

    None where neither the machine nor a group says.
    """
    known = [size for size in (_meminfo_available(), control_groups.memory_left()) if size is not None]
    return max(0, min(known)) if known else None


def _meminfo_available() -> int | None:
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def visible_gpus() -> list[str]:
    """Return this machine's GPUs as CUDA_VISIBLE_DEVICES names them, without starting CUDA in this process."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [name.strip() for name in named.split(",")] if named else [str(index) for index in range(count)]
    return names[:count]


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
