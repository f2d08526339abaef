"""Everything that is done differently on a GPU: one function for each choice, named after its reason."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

GPU = "cuda"
"""The type of device that is a GPU. On a machine without one, the tests replace it by a simulated device."""


def is_gpu(device: torch.device) -> bool:
    """Whether `device` computes beside the CPU, in memory of its own."""
    return device.type == GPU


def gpu_module() -> Any:
    """Return torch's module for GPUs, `torch.cuda`."""
    import torch

    return torch.get_device_module(GPU)


def prefers_large_operations(device: torch.device) -> bool:
    """Whether starting an operation costs more than computing a few superfluous numbers."""
    return is_gpu(device)


def prefers_channels_last(device: torch.device) -> bool:
    """Whether every convolution is faster in channels-last layout; on a CPU that depends on the network."""
    return is_gpu(device)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 without emulation."""
    return is_gpu(device) and bool(gpu_module().is_bf16_supported(including_emulation=False))


def multiplies_by_onednn(device: torch.device) -> bool:
    """Whether oneDNN can multiply matrices on the device."""
    import torch

    return device.type == "cpu" and torch.backends.mkldnn.is_available()


def leaves_cores_free(device: torch.device) -> bool:
    """Whether loading processes may go on while a network computes: on a CPU they would fight for the cores."""
    return is_gpu(device)


def copies_pinned_memory(device: torch.device) -> bool:
    """Whether copies to the device are faster, and do not wait, from memory that is pinned."""
    return is_gpu(device)


def maps_cost_more_than_reading(device: torch.device) -> bool:
    """Whether it takes longer to compute a video frame's features than to read them from a disk."""
    return not is_gpu(device)


def free_memory(device: torch.device) -> int:
    """Return how many bytes of the device's own memory are free; 0 for a CPU, which has none of its own."""
    return int(gpu_module().mem_get_info(device)[0]) if is_gpu(device) else 0


def set_convolutions(device: torch.device, *, tf32: bool) -> None:
    """On a GPU, let cuDNN search for the fastest convolutions; with `tf32` they may keep 10 of 23 mantissa bits."""
    import torch

    if is_gpu(device):
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = tf32


def kept_generators(device: torch.device) -> AbstractContextManager[Any]:
    """Restore the states of torch's global generators, on the CPU and on the device, at the end."""
    import torch

    return torch.random.fork_rng([device] if is_gpu(device) else [], device_type=device.type)


def take(device: torch.device) -> str:
    """Select `device` for this process; return the backend by which processes on such devices talk (nccl, gloo)."""
    from torch.distributed import get_default_backend_for_device

    if is_gpu(device):
        gpu_module().set_device(device)
    return get_default_backend_for_device(device)


def has_own_syncbn(device: torch.device) -> bool:
    """Whether torch's SyncBatchNorm has kernels for the device."""
    return is_gpu(device)


def ddp_devices(device: torch.device) -> list[int | None] | None:
    """Return what DistributedDataParallel wants as `device_ids`."""
    return [device.index] if is_gpu(device) else None
