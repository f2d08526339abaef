"""Unpickling that runs nothing: every global becomes an inert placeholder or one of the few rebuilders below.

Real checkpoints hold argparse.Namespace, OmegaConf, Lightning and NumPy objects whose classes may not be installed,
and a pickle may name any function to call. So no name in a pickle is ever imported. While it is being read, even a
tensor or an array is only a description (`TensorRef`, `ArrayRef`): torch and NumPy are not reachable from it.
"""

from __future__ import annotations

import dataclasses
import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np


class Placeholder:
    """Stands for an object whose class is not imported: takes any arguments, state and items, and does nothing."""

    __slots__ = ("items", "state")
    qualified = "unknown"
    """Module and name of the class or function in the pickle."""

    items: dict[Any, Any]
    state: Any

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Placeholder:
        """Make an empty one, whatever the arguments."""
        made = super().__new__(cls)
        made.items = {}
        made.state = None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, _value: Any) -> None:
        """Ignore an item of what was a list."""

    def extend(self, _values: Any) -> None:
        """Ignore items of what was a list."""

    def add(self, _value: Any) -> None:
        """Ignore an item of what was a set."""


class _Sealed:
    """Takes no state: what was checked when it was made stays so."""

    __slots__ = ()

    def __setstate__(self, _state: Any) -> None:
        raise pickle.UnpicklingError("state for an object that has none")


@dataclasses.dataclass(slots=True)
class StorageRef(_Sealed):
    """A storage in the file: its key there, and which of its elements."""

    key: Any
    dtype: str
    numel: int
    offset: int = 0


@dataclasses.dataclass(slots=True)
class TensorRef(_Sealed):
    """A tensor in the file, not yet read. The fields come from the pickle: check before use."""

    storage: StorageRef
    offset: Any
    size: Any
    stride: Any


@dataclasses.dataclass(slots=True)
class ArrayRef:
    """A NumPy array whose bytes were in the pickle. The fields come from the pickle: check before use."""

    code: str = ""
    """NumPy's dtype code with its byte order, such as `<f4`; empty where the array holds no numbers."""
    shape: Any = ()
    fortran: bool = False
    data: Any = b""

    def __setstate__(self, state: Any) -> None:
        _version, self.shape, dtype, self.fortran, self.data = state
        self.code = dtype.code if isinstance(dtype, _Dtype) else ""


def to_array(ref: ArrayRef) -> np.ndarray:
    """Return the array that a pickle described. Raises ValueError or the like where it is damaged, or no numbers."""
    if not ref.code:
        raise ValueError("an array of something else than numbers")
    data = ref.data.encode("latin1") if isinstance(ref.data, str) else ref.data
    flat = np.frombuffer(data if isinstance(data, bytes) else bytes(memoryview(data)), dtype=ref.code).copy()
    return flat.reshape(tuple(map(count, ref.shape)), order="F" if ref.fortran else "C")


def count(value: Any) -> int:
    """Return a size that a pickle gives. Raises UnpicklingError where it is none."""
    if type(value) is not int or value < 0:
        raise pickle.UnpicklingError(f"{value!r:.40} where a size is expected")
    return value


def _refuse_sparse_memo(file: IO[bytes]) -> None:
    """Raise UnpicklingError where the pickle that begins here numbers an object higher than it can have objects.

    Unpickling makes room up to the highest number, which in a damaged file of a few bytes may be four billion.
    """
    begin = file.tell()
    try:
        for opcode, argument, position in pickletools.genops(file):
            if opcode.name in _NUMBERING and int(argument or 0) > (position or begin) - begin:
                raise pickle.UnpicklingError(f"object number {argument} at byte {position}")
    except (ValueError, IndexError, struct.error):  # malformed, which unpickling says better
        return
    finally:
        file.seek(begin)


_NUMBERING = ("PUT", "BINPUT", "LONG_BINPUT")


class InertUnpickler(pickle.Unpickler):
    """An unpickler that imports and calls nothing named by the pickle.

    The result holds dicts, lists, tuples, numbers and strings, with `TensorRef`, `ArrayRef` and `Placeholder`
    among them. Anything malformed raises one of many exceptions: catch Exception.

    Args:
        file: where the pickle is read from.
        persistent: makes a `StorageRef` from the id that torch wrote for a storage.
    """

    def __init__(self, file: IO[bytes], persistent: Callable[[Any], Any] | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._file = file
        self._persistent = persistent
        self._classes: dict[tuple[str, str], type[Placeholder]] = {}

    def load(self) -> Any:
        """Read the next pickle of the file."""
        _refuse_sparse_memo(self._file)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        """Return the rebuilder of this name, or a placeholder class. Nothing is imported."""
        if (module, name) in _REBUILDERS:
            return _REBUILDERS[module, name]
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGE_DTYPES:
            return StorageType(name)
        return self._classes.setdefault((module, name), placeholder_class(f"{module}.{name}"))

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage that a torch file names."""
        if self._persistent is None:
            raise pickle.UnpicklingError("a persistent id outside a torch file")
        return self._persistent(pid)


@dataclasses.dataclass(slots=True)
class StorageType(_Sealed):
    """A storage class named in a pickle, such as FloatStorage: only its name."""

    name: str


STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
"""Storage class to torch's dtype name."""


def placeholder_class(qualified: str) -> type[Placeholder]:
    """Return a new placeholder class that remembers the name it stands for."""
    return type("Placeholder", (Placeholder,), {"__slots__": (), "qualified": qualified})


class _Dict(dict[Any, Any]):
    """An OrderedDict's content; its attributes (torch's `_metadata`) are dropped."""

    __slots__ = ()

    def __setstate__(self, _state: Any) -> None:
        pass


class _Rebuilder(_Sealed):
    """A function that a pickle may call."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class _Dtype:
    """numpy.dtype: its code, and the byte order that arrives as state."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *_args: Any) -> None:
        self.code = f"<{code}" if code in _NUMBER_FORMATS else ""

    def __setstate__(self, state: Any) -> None:
        if state[1] == ">" and self.code:
            self.code = ">" + self.code[1:]


# numpy's code -> struct's
_NUMBER_FORMATS = {
    "f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q",
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "b1": "?",
}  # fmt: skip


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> Any:
    if isinstance(storage, StorageRef):
        return TensorRef(storage, offset, size, stride)
    # a storage that was itself a nested pickle (torch.storage._load_from_bytes) stays the placeholder it is
    return storage if isinstance(storage, Placeholder) else placeholder_class("a tensor of an unknown kind")()


def _first(value: Any, *_rest: Any) -> Any:
    return value


def _subclass_tensor(function: Any, _kind: Any, args: Any, _state: Any) -> Any:
    return function(*args) if isinstance(function, _Rebuilder) else placeholder_class("a tensor subclass")()


def _dict(*args: Any) -> _Dict:
    return _Dict(*args)


def _defaultdict(_factory: Any = None, *args: Any) -> _Dict:
    return _Dict(*args)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """What protocol 2 writes for bytes: `_codecs.encode(text, "latin1")`."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return str.encode(text, "latin1")


def _bytes(value: Any = b"", *rest: Any) -> bytes:
    return _encode(value, *rest) if isinstance(value, str) else bytes(memoryview(value))


def _array(*_args: Any) -> ArrayRef:
    return ArrayRef()


def _array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> ArrayRef:
    return ArrayRef(dtype.code if isinstance(dtype, _Dtype) else "", shape, order == "F", data)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """numpy.core.multiarray.scalar: a Python number, or a placeholder where it is no number."""
    if not (isinstance(dtype, _Dtype) and dtype.code):
        return placeholder_class("numpy scalar")()
    raw = data.encode("latin1") if isinstance(data, str) else data
    return struct.unpack(dtype.code[0] + _NUMBER_FORMATS[dtype.code[1:]], raw)[0]


_REBUILDERS: dict[tuple[str, str], _Rebuilder] = {
    ("collections", "OrderedDict"): _Rebuilder(_dict),
    ("collections", "defaultdict"): _Rebuilder(_defaultdict),
    ("_codecs", "encode"): _Rebuilder(_encode),
    ("torch", "Size"): _Rebuilder(tuple),
    ("torch._utils", "_rebuild_tensor"): _Rebuilder(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuilder(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Rebuilder(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): _Rebuilder(_first),
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): _Rebuilder(_first),
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _Rebuilder(_first),
    ("torch._utils", "_rebuild_xla_tensor"): _Rebuilder(_first),
    ("torch._tensor", "_rebuild_from_type_v2"): _Rebuilder(_subclass_tensor),
    ("numpy", "dtype"): _Rebuilder(_Dtype),
}
for _python in ("builtins", "__builtin__"):
    _REBUILDERS[_python, "set"] = _Rebuilder(set)
    _REBUILDERS[_python, "frozenset"] = _Rebuilder(frozenset)
    _REBUILDERS[_python, "bytes"] = _Rebuilder(_bytes)
    _REBUILDERS[_python, "bytearray"] = _Rebuilder(_bytes)
for _numpy in ("numpy.core", "numpy._core"):
    _REBUILDERS[f"{_numpy}.multiarray", "_reconstruct"] = _Rebuilder(_array)
    _REBUILDERS[f"{_numpy}.multiarray", "scalar"] = _Rebuilder(_scalar)
    _REBUILDERS[f"{_numpy}.numeric", "_frombuffer"] = _Rebuilder(_array_from_buffer)
