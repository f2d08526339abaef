"""Batch norm over the images of all processes: torch's own on GPUs, one for CPUs, where torch has none.

What both compute in training, for a channel with the values x of all processes together (n of them):
y = w (x - mean) / sqrt(var + eps) + b, var the biased variance. With g = dL/dy, xhat = (x - mean) / sqrt(var + eps)
and means over all processes, dL/dx = w / sqrt(var + eps) (g - mean(g) - xhat mean(g xhat)) (Ioffe and Szegedy 2015,
section 3). L is the sum of the processes' losses. The gradients of w and b are each process's own share, as every
other parameter's: who trains adds them up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mec_transfer.common import device as devices
from mec_transfer.common import distributed


def convert(module: nn.Module, device: torch.device, kind: type[_BatchNorm] = _BatchNorm) -> nn.Module:
    """Return `module` with every batch norm in it, of class `kind`, taking its statistics over all processes.

    Parameters and buffers are the same objects under the same names; on one process `module` is returned as it is.
    """
    if distributed.world_size() == 1:
        return module
    make = nn.SyncBatchNorm.convert_sync_batchnorm if devices.has_own_syncbn(device) else _CpuSyncBatchNorm.of
    return _convert(module, kind, make)


def _convert(module: nn.Module, kind: type[_BatchNorm], make: Callable[[Any], nn.Module]) -> nn.Module:
    if isinstance(module, kind):
        return make(module)
    for name, child in module.named_children():
        setattr(module, name, _convert(child, kind, make))
    return module


class _CpuSyncBatchNorm(nn.BatchNorm2d):
    """For any backend that reduces CPU tensors; processes may have different numbers of images, none without.

    Of any number of dimensions, but a BatchNorm2d by its class: PreciseBN knows a batch norm by that.
    """

    @classmethod
    def of(cls, norm: _BatchNorm) -> _CpuSyncBatchNorm:
        same = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(same, name, getattr(norm, name))
        same.train(norm.training)
        return same

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"at least 2 dimensions are needed, (N, C, ...); found {input.dim()}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, ...) -> the same shape; N may differ between the processes, not so C."""
        self._check_input_dim(input)
        if not self.training and self.running_mean is not None:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        mean, var, count = _statistics(input.detach())
        if self.training and self.track_running_stats:
            self._follow(mean, var * (count / (count - 1)))
        normalised: torch.Tensor = _Normalise.apply(input, self.weight, self.bias, mean, var, count, self.eps)
        return normalised

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, unbiased_var: torch.Tensor) -> None:
        """Move the running statistics; with momentum None they are the mean of all batches so far."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased_var.to(self.running_var.dtype), share)


def _statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return mean and biased variance, (C,) each, and the values a channel, of all processes together.

    Squares are taken of differences from the mean: of the values themselves, float32 would lose small variances.
    """
    x = x if x.dtype == torch.float64 else x.float()
    axes = [axis for axis in range(x.dim()) if axis != 1]
    count = x.numel() // x.shape[1]
    total = _sum_over_processes(torch.cat([x.sum(axes), x.new_tensor([count])]))
    everyone = int(total[-1])
    if everyone < 2:
        raise ValueError("batch norm needs more than one value a channel in training")
    mean = total[:-1] / everyone
    var = x.var(axes, correction=0) + (x.mean(axes) - mean).square()  # about the mean of all
    return mean, _sum_over_processes(var * count) / everyone, everyone


def _sum_over_processes(x: torch.Tensor) -> torch.Tensor:
    dist.all_reduce(x)
    return x


class _Normalise(torch.autograd.Function):
    """Batch norm with the statistics given, and a gradient that knows of what they are the statistics.

    Torch's kernels for constant statistics do the work; backward adds what comes through mean and variance.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor,
        var: torch.Tensor,
        count: int,
        eps: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.count, ctx.eps = count, eps
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        scale = torch.ones_like(mean) if weight is None else weight
        direct, weight_gradient, bias_gradient = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(memory_format=_layout(x)), x, scale, mean, var, None, None, False, ctx.eps, [True] * 3
        )
        both = torch.cat([bias_gradient, weight_gradient]).to(mean.dtype)  # sums of g, and of g xhat
        of_g, of_g_xhat = (_sum_over_processes(both) / ctx.count).chunk(2)
        inverse_std = (var + ctx.eps).rsqrt()
        slope = scale * inverse_std.square() * of_g_xhat
        shape = [1, -1] + [1] * (x.dim() - 2)
        offset = (scale * inverse_std * of_g - slope * mean).view(shape)
        through_statistics = torch.addcmul(offset, x.to(mean.dtype), slope.view(shape))
        x_gradient = (direct - through_statistics).to(x.dtype)
        affine = (None, None) if weight is None else (weight_gradient, bias_gradient)
        return x_gradient, *affine, None, None, None, None


def _layout(x: torch.Tensor) -> torch.memory_format:
    plain = x.dim() != 4 or not x.is_contiguous(memory_format=torch.channels_last)
    return torch.contiguous_format if plain else torch.channels_last
