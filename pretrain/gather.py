"""All processes' rows in one batch, and which of them are this process's."""

from __future__ import annotations

import torch
import torch.distributed as dist


def gather_rows(local: torch.Tensor) -> torch.Tensor:
    """Return the rows of every process, in order of rank: (n, D) -> (world size * n, D), without gradients.

    Every process must give the same number of rows. With one process the result is `local` itself, detached.
    """
    local = local.detach()
    if not _several():
        return local
    local = local.contiguous()
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, local)
    return torch.cat(parts)


def own_rows(count: int) -> slice:
    """Where in the gathered batch the `count` rows of this process are."""
    rank = dist.get_rank() if _several() else 0
    return slice(rank * count, (rank + 1) * count)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
