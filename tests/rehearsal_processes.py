"""Several processes on played GPUs: gloo carries what NCCL would, and refuses the CPU's tensors as NCCL does.

And the kernels of torch's SyncBatchNorm, which a CPU lacks: sums over all but the channels, as CUDA has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import distributed as dist


def stats(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    var, mean = torch.var_mean(x.float(), _axes(x), correction=0)
    return mean, (var + eps).rsqrt()


def gather_stats(
    x: torch.Tensor, means: torch.Tensor, inverses: torch.Tensor, running_mean: Any, running_var: Any, momentum: float,
    eps: float, counts: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    share = (counts / counts.sum())[:, None]
    mean = (means * share).sum(0)
    var = ((inverses.square().reciprocal() - eps + means.square()) * share).sum(0) - mean.square()
    if running_mean is not None:
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * counts.sum() / (counts.sum() - 1), momentum)
    return mean, (var + eps).rsqrt()


def normalise(
    x: torch.Tensor, weight: Any, bias: Any, mean: torch.Tensor, inverse: torch.Tensor, eps: float
) -> torch.Tensor:
    normal = (x - _wide(mean, x)) * _wide(inverse, x)
    return (normal if weight is None else normal * _wide(weight, x) + _wide(bias, x)).to(x.dtype)


def reduce(
    dy: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, inverse: torch.Tensor, weight: Any, *wanted: bool
) -> tuple[torch.Tensor, ...]:
    of_dy, of_both = dy.float().sum(_axes(x)), (dy.float() * (x - _wide(mean, x))).sum(_axes(x))
    return of_dy, of_both, of_both * inverse, of_dy.clone()


def gradient(
    dy: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, inverse: torch.Tensor, weight: Any, of_dy: torch.Tensor,
    of_both: torch.Tensor, counts: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    along = (x - _wide(mean, x)) * _wide(inverse.square() * of_both / counts.sum(), x)
    scale = inverse if weight is None else inverse * weight
    return ((dy - _wide(of_dy / counts.sum(), x) - along) * _wide(scale, x)).to(x.dtype)


KERNELS: dict[str, Callable[..., Any]] = {
    "aten.batch_norm_stats.default": stats,
    "aten.batch_norm_gather_stats_with_counts.default": gather_stats,
    "aten.batch_norm_elemt.default": normalise,
    "aten.batch_norm_backward_reduce.default": reduce,
    "aten.batch_norm_backward_elemt.default": gradient,
}


def _axes(x: torch.Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


def _wide(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))


_travelling: list[Any] = []
"""Objects on their way: NCCL's are copied to a GPU and back by torch itself, gloo's stay on the CPU."""


def play_processes(kind: str) -> None:
    """Let processes on devices of this type find each other."""
    dist.Backend.default_device_backend_map[kind] = "gloo"
    exchange = dist.all_gather_object

    def all_gather_object(values: list[Any], value: Any, group: Any = None) -> None:
        _travelling.append(value)
        exchange(values, value, group)
        _travelling.pop()

    dist.all_gather_object = all_gather_object


def refuse_cpu(name: str, on_gpu: bool, tensors: list[torch.Tensor]) -> None:
    """Raise as NCCL does where a process sends a tensor of the CPU."""
    if name.startswith("c10d.") and tensors and not on_gpu and not _travelling and "barrier" not in name:
        raise RuntimeError(f"{name}: No backend type associated with device type cpu")
