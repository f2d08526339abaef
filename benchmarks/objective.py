"""The MEC objective, forward and backward, against the published formula written plainly and against slogdet.

    python benchmarks/objective.py                    a few sizes on the CPU, about three minutes
    python benchmarks/objective.py --full --device cuda
    python benchmarks/objective.py --sizes 8192x2048 --repeats 1 --one-thread    on a CPU that others use too

Gradient to the online side only, as in training. They take turns, so that a noisy machine slows them alike. `products`
is the lower limit: the matrix products that the method cannot do without, and nothing else. Memory is the peak of one
forward and backward pass above its inputs (on a CPU: of all tensors that are alive, by storage); that pass warms up,
and is the one that counts with `--repeats 0`. `--one-thread` takes processor time on one thread, which leaves out the
waiting for a core.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain.objective import exact_logdet, taylor_trace

SIZES = [(256, 2048), (1024, 512), (1024, 2048), (4096, 512), (4096, 2048)]
FULL = [(m, d) for m in (256, 512, 1024, 2048, 4096, 8192) for d in (512, 1024, 2048, 4096, 8192)]
LAMDA_INV = 64.0


def published(p: torch.Tensor, z: torch.Tensor, lamda_inv: float = LAMDA_INV) -> torch.Tensor:
    """As published: always M x M, every power formed, the trace of their sum."""
    c = F.normalize(p) @ F.normalize(z).T / lamda_inv
    square = c @ c
    cube = square @ c
    fourth = cube @ c
    return torch.trace(c - square / 2 + cube / 3 - fourth / 4)


def slogdet(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    c = F.normalize(p) @ F.normalize(z).T / LAMDA_INV
    return torch.linalg.slogdet(torch.eye(len(c), device=c.device) + c).logabsdet


def products_alone(p: torch.Tensor, z: torch.Tensor) -> None:
    """Forming C's smaller form, two of its powers, and one product for the gradient."""
    with torch.no_grad():
        c = p @ z.T if len(p) <= p.shape[1] else z.T @ p
        gradient = (c @ c) @ c
        _ = gradient @ p if len(p) <= p.shape[1] else p @ gradient


Objective = Callable[[torch.Tensor, torch.Tensor], Any]
OBJECTIVES: dict[str, Objective] = {
    "published": published,
    "slogdet": slogdet,
    "ours": lambda p, z: taylor_trace(p, z, LAMDA_INV),
    "ours exact": lambda p, z: exact_logdet(p, z, LAMDA_INV),
    "products": products_alone,
}


def run(objective: Objective, p: torch.Tensor, z: torch.Tensor) -> None:
    z.grad = None
    value = objective(p, z)
    if value is not None:
        value.backward()
    if p.is_cuda:
        torch.cuda.synchronize()


class _Alive(TorchDispatchMode):
    """Sums the bytes of the storages that operations make while they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {leaf.untyped_storage()._cdata for leaf in _tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.seen | inputs:
                self.seen.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _freed(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def peak_mib(objective: Objective, p: torch.Tensor, z: torch.Tensor) -> float:
    z.grad = None
    if p.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(objective, p, z)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with _Alive() as alive:
        run(objective, p, z)
    return alive.peak / 2**20


def measure(m: int, d: int, repeats: int, device: str, clock: Callable[[], float]) -> str:
    generator = torch.Generator(device).manual_seed(0)
    p, z = (torch.randn(m, d, generator=generator, device=device) for _ in range(2))
    z.requires_grad_()
    seconds: dict[str, list[float]] = {name: [] for name in OBJECTIVES}
    peak: dict[str, float] = {}
    for repeat in range(repeats + 1):
        for name, objective in OBJECTIVES.items():
            began = clock()
            if repeat:
                run(objective, p, z)
            else:
                peak[name] = peak_mib(objective, p, z)
            seconds[name].append(clock() - began)
    took = {name: statistics.median(times[1:] or times) for name, times in seconds.items()}
    cells = [f"{m} x {d}", *(f"{1000 * took[name]:.1f}" for name in OBJECTIVES)]
    cells += [f"{took['published'] / took['ours']:.2f}x", f"{took['ours'] / took['products']:.2f}x"]
    cells += [f"{peak[name]:.0f}" for name in peak if name != "products"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--full", action="store_true", help="m from 256 to 8192 and d from 512 to 8192")
    sizes.add_argument("--sizes", nargs="+", metavar="MxD", help="these alone")
    parser.add_argument("--one-thread", action="store_true", help="processor time on one thread of a CPU")
    args = parser.parse_args()
    clock = time.process_time if args.one_thread else time.perf_counter
    if args.one_thread:
        torch.set_num_threads(1)
    asked = [tuple(map(int, size.split("x"))) for size in args.sizes or ()]
    times = " | ".join(f"{name}, ms" for name in OBJECTIVES)
    memory = " | ".join(f"{name}, MiB" for name in OBJECTIVES if name != "products")
    columns = 1 + len(OBJECTIVES) + 2 + len(OBJECTIVES) - 1
    print(f"| m x d | {times} | published / ours | ours / products | {memory} |")
    print(f"| --- |{' ---: |' * (columns - 1)}", flush=True)
    for m, d in asked or (FULL if args.full else SIZES):
        with contextlib.suppress(torch.OutOfMemoryError):
            print(measure(m, d, args.repeats, args.device, clock), flush=True)


if __name__ == "__main__":
    main()
