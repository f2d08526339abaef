"""The objective of a whole batch with the memory of a few images, by cached gradients (Gao et al. 2021, GradCache).

The objective needs all embeddings of a batch at once, but not the networks' activations: embed chunk by chunk without a
graph, take the objective's gradients at the embeddings, then embed each chunk again and go back from there. The sum
over the chunks is the gradient of the whole batch, exactly, but for batch norm, whose statistics are a chunk's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch

from pretrain.model import MecModel

Views = tuple[torch.Tensor, torch.Tensor]


def embed_chunks(
    online: MecModel, chunks: Sequence[Callable[[], Views]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embed the chunks without a graph: z1, z2 (leaves that collect gradients), p1, p2; (N, dim) each, N over all.

    Args:
        online: the networks; their running statistics move once a chunk.
        chunks: each makes the two views of some images, (n, 3, H, W) each, when called.
    """
    parts: list[tuple[torch.Tensor, ...]] = []
    with torch.no_grad():
        for chunk in chunks:
            views = chunk()
            parts.append((*online(*views), *online.targets(*views)))
    z1, z2, p1, p2 = (torch.cat(part) for part in zip(*parts, strict=True))
    return z1.requires_grad_(), z2.requires_grad_(), p1, p2


def backward_chunks(
    network: torch.nn.Module,
    online: MecModel,
    chunks: Sequence[Callable[[], Views]],
    z1: torch.Tensor,
    z2: torch.Tensor,
) -> None:
    """Add the gradients at `z1` and `z2` (their `.grad`), as `embed_chunks` gave them, up in the parameters.

    Args:
        network: what to call: `online`, or it wrapped in DistributedDataParallel, which then exchanges gradients once.
        online: the networks; their running statistics are left alone this time.
        chunks: the same as before.
        z1: embeddings of view 1, (N, dim), after the objective's backward pass.
        z2: embeddings of view 2.
    """
    assert z1.grad is not None and z2.grad is not None
    first = 0
    with _kept(list(online.buffers())):
        for number, chunk in enumerate(chunks):
            exchanged = number == len(chunks) - 1
            with contextlib.nullcontext() if exchanged else _no_exchange(network):
                embedded = network(*chunk())
                mine = slice(first, first + len(embedded[0]))
                torch.autograd.backward(embedded, [z1.grad[mine], z2.grad[mine]])
            first = mine.stop


@contextlib.contextmanager
def _kept(buffers: list[torch.Tensor]) -> Iterator[None]:
    """Give the buffers their values back at the end."""
    before = [buffer.clone() for buffer in buffers]
    yield
    with torch.no_grad():
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)


def _no_exchange(network: torch.nn.Module) -> contextlib.AbstractContextManager[None]:
    if isinstance(network, torch.nn.parallel.DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()
