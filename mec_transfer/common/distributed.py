"""The same code for one process and for many (torchrun): with one process, these functions do nothing."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from mec_transfer.common import device as devices
from mec_transfer.common.errors import RunError, UserError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_SIGNS_OF_A_LOST_PARTNER = ("closed by peer", "reset by peer", "remote process exited")


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return how many processes share the run (torchrun's WORLD_SIZE; 1 without it)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes of a torchrun (nccl on GPUs, gloo on CPUs) and leave them at the end.

    Objects that hold the group, such as DistributedDataParallel, must be gone by then: if one of them is the last to
    release it, gloo's threads and Python's lock can deadlock. The frames of an exception are therefore cleared here.

    Raises:
        RunError: another process ended while this one waited for it.
    """
    import torch.distributed as dist

    if world_size() == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group(devices.take(device), timeout=timedelta(minutes=60))
    try:
        yield
    except BaseException as error:
        _empty_frames(error)
        if lost_partner(error):
            raise RunError("another process of this run has ended; what it said is the reason") from None
        raise
    finally:
        gc.collect()
        dist.destroy_process_group()


def lost_partner(error: BaseException) -> bool:
    """Whether `error` only says that another process has ended, as gloo and nccl put it."""
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS_OF_A_LOST_PARTNER)


def _empty_frames(error: BaseException | None) -> None:
    """Drop the local variables that the traceback of `error`, and of those it was raised from, would keep alive."""
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def barrier() -> None:
    """Wait until every process is here."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def gather_objects(value: Any) -> list[Any]:
    """Return every process's `value`, in order of rank, on every process."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def on_first(work: Callable[[], T]) -> T:
    """Do `work` on rank 0 alone; return its value, or raise its UserError or RunError, on every process."""
    if world_size() == 1:
        return work()
    value: T | UserError | RunError | None = None
    if rank() == 0:
        try:
            value = work()
        except (UserError, RunError) as error:
            value = error
    shared: Any = gather_objects(value)[0]
    if isinstance(shared, UserError | RunError):
        raise shared
    return shared


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Add `tensor` up over the processes, in place, and return it."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def sum_gradients(loss: torch.Tensor, parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """Add gradients, in place, and a loss, a scalar, up over the processes, in one message; return that loss."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        return loss
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = all_reduce_sum(torch.cat([loss.reshape(1), *(gradient.reshape(-1) for gradient in gradients)]))
    sums = flat[1:].split([gradient.numel() for gradient in gradients])
    for gradient, total in zip(gradients, sums, strict=True):
        gradient.copy_(total.view_as(gradient))
    return flat[0]


def copy_from_first(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrite every process's `tensors` with those of the first process."""
    import torch.distributed as dist

    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, 0)
