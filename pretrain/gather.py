"""All processes' embeddings in one batch, with gradients that flow back to where each row came from."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


def gather_batch(local: torch.Tensor) -> torch.Tensor:
    """Return the rows of every process, in order of rank: (n, d) -> (world size * n, d).

    Every process has the same number of rows, and each computes the same loss from the result. The backward pass
    adds up the processes' gradients and takes this one's rows; the mean that DistributedDataParallel then takes over
    the processes cancels that sum, so that the parameters' gradients are those of one process with the whole batch.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    gathered: torch.Tensor = _Gather.apply(local)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(local, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
