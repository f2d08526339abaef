"""A GPU played in Python: real commands run on it, and what would fail on CUDA for its device fails here.

torch lets Python play a backend (PrivateUse1). A tensor "on" it wraps a CPU tensor, which computes. As on CUDA, an
operation that mixes it with CPU tensors raises (but for numbers without dimensions, and for indices into a device's
tensor), `numpy()` and `pin_memory()` refuse it, and autocast picks dtypes by CUDA's lists. What it cannot show:
kernels, their rounding, streams, memory, speed, and a generator of the CPU that is given to the GPU.

Several processes have a played GPU each (`tests.rehearsal_processes`). A process that has begun to play cannot stop:
tests play in forks (`tests/test_on_a_gpu.py`). By hand, any command:

    python -m tests.rehearsal mec_transfer.cli.main knn random:resnet18 --device cuda ...
"""

from __future__ import annotations

import functools
import os
import runpy
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from mec_transfer.common import device as devices
from tests.rehearsal_processes import KERNELS, play_processes, refuse_cpu

NAME = "played"
MEMORY = 1 << 34
CROSSING = ("aten._to_copy", "aten.copy_", "aten._copy_from")
"""Operations that take a tensor from one device to another."""
MOVING = ("aten.to.", "aten.type_as")
TAKE_CPU_INDICES = ("aten.index.", "aten.index_put", "aten._index_put_impl_", "aten._unsafe_index")
NEED_ALL_THERE = ("aten.cat", "aten.stack")
"""Operations that do not even take a number from the CPU."""
LOWER = (
    *("conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear", "matmul", "mm", "mv", "bmm", "addmm", "addmv"),
    *("baddbmm", "addbmm", "einsum", "scaled_dot_product_attention"),
)
"""What CUDA's autocast computes in the lower precision."""
FULL = (
    *("exp", "expm1", "log", "log10", "log1p", "log2", "pow", "reciprocal", "rsqrt", "softplus", "layer_norm"),
    *("group_norm", "cosine_similarity", "nll_loss", "l1_loss", "smooth_l1_loss", "mse_loss", "kl_div", "cdist"),
    *("binary_cross_entropy_with_logits", "logsumexp", "softmax.int", "log_softmax.int", "cumsum", "cumprod", "prod"),
    *("sum", "sum.dim_IntList", "norm.Scalar", "linalg_vector_norm"),
)
"""What it computes in float32."""


class Tensor(torch.Tensor):
    """Says that it lies on the played GPU; `held` is the CPU tensor behind it."""

    held: torch.Tensor
    __torch_function__: ClassVar[Any] = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Tensor:
        with torch.inference_mode(held.is_inference()):  # a view is what its tensor is, wherever it is made
            made = torch.Tensor._make_wrapper_subclass(
                cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=_device()
            )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(function, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def pin_memory(self, *_: Any) -> Any:
        raise RuntimeError(f"cannot pin a tensor on {self.device}: only those of the CPU")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)

    def __repr__(self, **_: Any) -> str:
        return f"{self.held!r} on {self.device}"


class Generator(torch.Generator):
    """One of the CPU's, whatever the device."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]
        return cls.__base__.__new__(cls.__base__, "cpu")  # type: ignore[union-attr]


class Playing(TorchDispatchMode):
    """Sees the operations that make tensors out of none, and those on tensors of the CPU."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # who would have it skipped waits three seconds for its import

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(function, args, kwargs or {})


class Module(backend_registration._DummyBackendModule):
    """What `torch.cuda` is for CUDA."""

    get_device_name = staticmethod(lambda index=0: "a played GPU")
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16, torch.float16])
    is_bf16_supported = staticmethod(lambda including_emulation=True: True)
    mem_get_info = staticmethod(lambda device=None: (MEMORY, MEMORY))
    max_memory_reserved = staticmethod(lambda device=None: MEMORY // 2)
    set_device = staticmethod(lambda device: None)
    synchronize = staticmethod(lambda device=None: None)
    device_count = staticmethod(lambda: int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    current_device = staticmethod(lambda: int(os.environ.get("LOCAL_RANK", "0")))
    get_rng_state = staticmethod(lambda device=None: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, device=None: torch.set_rng_state(state))


def _device() -> torch.device:
    return torch.device(NAME, Module.current_device())


def compute(function: Any, args: Any, kwargs: Any) -> Any:
    """Do an operation on the CPU tensors that the tensors hold; wrap what comes out where it belongs on the GPU."""
    name = str(function)
    if name.startswith(MOVING):  # made of others, and whole in inference mode alone: their device is not called so
        return function.decompose(*args, **kwargs)
    tensors = [*_tensors(args), *_tensors(kwargs.values())]
    there = [tensor for tensor in tensors if isinstance(tensor, Tensor)]
    if name.startswith("aten.copy_"):
        _held(args[0]).copy_(_held(args[1]))
        return args[0]
    if there and len(there) < len(tensors) and not name.startswith(CROSSING):
        _refuse_mixtures(function, name, args, kwargs)
    on_gpu = bool(there)
    if kwargs.get("device") is not None:
        on_gpu = torch.device(kwargs["device"]).type == NAME
        kwargs = {**kwargs, "device": torch.device("cpu")}
    kwargs.pop("pin_memory", None)
    refuse_cpu(name, on_gpu, tensors)
    kernel = KERNELS.get(name, function)
    result = kernel(*_mapped(_held, args), **{key: _mapped(_held, value) for key, value in kwargs.items()})
    if there and torch.Tag.inplace_view in function.tags:  # such as unsqueeze_: the wrapper's own shape changes too
        with no_dispatch():
            function(*args, **kwargs)
    if not on_gpu or name.startswith("aten._local_scalar_dense"):
        return result
    known = {id(tensor.held): tensor for tensor in there}

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else Tensor(value)

    return _mapped(wrap, result)


def _refuse_mixtures(function: Any, name: str, args: Any, kwargs: Any) -> None:
    tensors = [*_tensors(args), *_tensors(kwargs.values())]
    if name.startswith(TAKE_CPU_INDICES) and isinstance(args[0], Tensor):
        tensors = [args[0], *_tensors(args[2:])]
    on_cpu = [tensor for tensor in tensors if not isinstance(tensor, Tensor)]
    arguments = function._schema.arguments
    values = dict(zip((argument.name for argument in arguments), args)) | kwargs
    written = [argument.name for argument in arguments if argument.alias_info and argument.alias_info.is_write]
    changed = _tensors([values.get(name) for name in written])
    dimensions = any(tensor.dim() for tensor in on_cpu) or (on_cpu and name.startswith(NEED_ALL_THERE))
    if dimensions or any(not isinstance(tensor, Tensor) for tensor in changed):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {NAME} and cpu")


def _tensors(values: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)([_mapped(change, item) for item in value])
    return change(value)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Tensor) else value


def play() -> None:
    """Make the GPU that this process sees a played one."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    devices.GPU = NAME
    play_processes(NAME)
    for name, make in (("empty.memory_format", torch.empty), ("empty_strided", torch.empty_strided)):
        _register(name, "PrivateUse1", functools.partial(_empty, make))
    _register("_copy_from", "PrivateUse1", lambda source, target, *_: (_held(target).copy_(_held(source)), target)[1])
    _library("_").fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for names, dtype in ((LOWER, None), (FULL, torch.float32)):
        for name in names:
            _register(name, "AutocastPrivateUse1", functools.partial(_autocast, name, dtype))
    torch.Tensor.pin_memory = torch.Tensor.clone  # type: ignore[method-assign]
    torch.Generator = Generator  # type: ignore[misc]
    torch.__future__.set_swap_module_params_on_conversion(True)
    torch.autograd.set_multithreading_enabled(False)
    Playing().__enter__()


@functools.cache
def _library(namespace: str) -> torch.library.Library:
    return torch.library.Library(namespace, "IMPL")


def _register(name: str, key: str, kernel: Callable[..., Any]) -> None:
    _library("aten").impl(name, kernel, key)


def _empty(make: Callable[..., torch.Tensor], *sizes: Any, dtype: Any = None, **_: Any) -> Tensor:
    return Tensor(make(*sizes, dtype=dtype))


def _autocast(name: str, dtype: torch.dtype | None, *args: Any, **kwargs: Any) -> Any:
    """Do an operation on floats of `dtype`, or of autocast's own."""
    wanted = dtype or torch.get_autocast_dtype(NAME)

    def cast(value: Any) -> Any:
        fits = isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64
        return value.to(wanted) if fits else value

    operation = functools.reduce(getattr, name.split("."), torch.ops.aten)
    with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
        return operation(*_mapped(cast, args), **{key: _mapped(cast, value) for key, value in kwargs.items()})


if __name__ == "__main__":
    play()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
