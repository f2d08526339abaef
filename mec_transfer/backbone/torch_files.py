"""The containers that torch.save writes: a zip archive (since torch 1.6), and a row of pickles before that.

Read here and not by torch.load, which can dispatch to TorchScript, unpack a tar or write a patch file for what a
pickle says. Storages are mapped from the file, not copied, and the zip archive's own checksums are compared.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mec_transfer.common.errors import CheckpointError
from mec_transfer.common.pickles import (
    STORAGE_DTYPES,
    ArrayRef,
    InertUnpickler,
    Placeholder,
    StorageRef,
    StorageType,
    TensorRef,
    count,
    placeholder_class,
    to_array,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")
"""How a file that torch < 1.6 wrote begins (protocol 2, which torch.save used)."""

Span = tuple[int, int]
"""First byte and number of bytes in the file."""


def read_zip(path: Path) -> Any:
    """Read what torch.save writes since 1.6.

    Raises:
        CheckpointError: a damaged archive, a TorchScript archive, or a zip of something else.
    """
    with zipfile.ZipFile(path) as archive, path.open("rb") as handle:
        records = {info.filename: info for info in archive.infolist()}
        root = _archive_root(path, list(records))
        mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)

        def find(name: str) -> Span | bytes:
            info = records[root + name]
            if info.compress_type != zipfile.ZIP_STORED:
                return archive.read(info)  # repacked by another tool; zipfile compares the checksum itself
            name_size, extra_size = struct.unpack_from("<HH", mapped, info.header_offset + 26)
            start = info.header_offset + 30 + name_size + extra_size
            # torch can be told to skip checksums, and writes 0 then
            if info.CRC and zlib.crc32(memoryview(mapped)[start : start + info.file_size]) != info.CRC:
                raise CheckpointError(f"{path}: damaged, '{info.filename}' fails its checksum; copy the file again")
            return start, info.file_size

        def read(name: str) -> bytes:
            found = find(name)
            return found if isinstance(found, bytes) else mapped[found[0] : sum(found)]

        if f"{root}byteorder" in records and read("byteorder") != b"little":
            raise CheckpointError(f"{path}: saved on a big-endian machine; save it again on a little-endian one")
        loaded = InertUnpickler(io.BytesIO(read("data.pkl")), _zip_storage).load()
        return _Materialiser(path, mapped, lambda storage: find(f"data/{storage.key}")).convert(loaded)


def _archive_root(path: Path, names: list[str]) -> str:
    roots = [name.removesuffix("data.pkl") for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    top = {name.split("/")[0] for name in names}
    if any(name.endswith("constants.pkl") for name in names):
        raise CheckpointError(f"{path}: a TorchScript archive, not a checkpoint; save the model's state_dict() instead")
    if len(roots) == 1:
        return roots[0]
    inner = ", ".join(sorted(top)[:3]) or "nothing"
    raise CheckpointError(f"{path}: a zip archive but not one of torch.save (it holds {inner}); unpack it first")


def _zip_storage(pid: Any) -> StorageRef:
    kind, storage_type, key, _location, numel = pid
    return _storage_ref(kind, storage_type, key, numel)


def _storage_ref(kind: Any, storage_type: Any, key: Any, numel: Any) -> StorageRef:
    if kind != "storage" or not isinstance(storage_type, StorageType):
        raise pickle.UnpicklingError("a storage of an unknown kind")
    return StorageRef(key, STORAGE_DTYPES[storage_type.name], count(numel))


def read_legacy(path: Path) -> Any:
    """Read what torch.save wrote before 1.6: magic number, version, system, content, keys, then the raw storages.

    The format has no checksums: only what its own sizes or the weights' values give away is noticed.

    Raises:
        CheckpointError: the file ends before its last storage.
    """
    with path.open("rb") as handle:
        mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
        magic, version, system = (InertUnpickler(handle).load() for _ in range(3))
        if magic != LEGACY_MAGIC or version != 1001 or not system.get("little_endian", True):
            raise CheckpointError(f"{path}: a torch file of an unknown version or byte order; save it again")
        sizes: dict[Any, int] = {}
        loaded = InertUnpickler(handle, lambda pid: _legacy_storage(pid, sizes)).load()
        keys = InertUnpickler(handle).load()
        spans: dict[Any, Span] = {}
        position = handle.tell()
    for key in keys:
        (numel,) = struct.unpack_from("<q", mapped, position)  # the storage's own count of elements, then they
        spans[key] = (position + 8, numel * sizes[key])
        position += 8 + numel * sizes[key]
        if numel < 0 or position > len(mapped):
            raise CheckpointError(f"{path}: truncated at {len(mapped)} bytes; copy or download it again")
    return _Materialiser(path, mapped, lambda storage: spans[storage.key]).convert(loaded)


def _legacy_storage(pid: Any, sizes: dict[Any, int]) -> Any:
    if pid[0] == "module":  # a pickled nn.Module's class with its source text
        return pid[1]
    kind, storage_type, key, _location, numel, view = pid
    storage = _storage_ref(kind, storage_type, key, numel)
    sizes[key] = _dtype(storage.dtype).itemsize
    if view is not None:
        _view_key, offset, size = view
        if count(offset) + count(size) > storage.numel:
            raise pickle.UnpicklingError("a storage view beyond its storage")
        storage.offset, storage.numel = offset, size
    return storage


def read_pickle(path: Path) -> Any:
    """Read a plain pickle, such as Detectron2's .pkl of a dict with NumPy arrays."""
    with path.open("rb") as handle:
        loaded = InertUnpickler(handle).load()

    def refuse(_storage: StorageRef) -> Span:
        raise pickle.UnpicklingError("a torch storage in a plain pickle")

    return _Materialiser(path, b"", refuse).convert(loaded)


class _Materialiser:
    """Turns the descriptions in an unpickled object into tensors and arrays, each checked against its storage."""

    def __init__(self, path: Path, mapped: mmap.mmap | bytes, find: Callable[[StorageRef], Span | bytes]) -> None:
        self._path = path
        self._mapped = mapped
        self._find = find
        self._storages: dict[tuple[Any, str], torch.Tensor] = {}
        self._seen: set[int] = set()

    def convert(self, value: Any) -> Any:
        """Return `value` with its descriptions replaced; dicts and lists are changed in place."""
        if isinstance(value, TensorRef):
            return self._tensor(value)
        if isinstance(value, ArrayRef):
            return self._array(value)
        if isinstance(value, tuple):
            return tuple(map(self.convert, value))
        if isinstance(value, dict | list | Placeholder) and id(value) not in self._seen:
            self._seen.add(id(value))
            if isinstance(value, list):
                value[:] = map(self.convert, value)
            else:
                items = value if isinstance(value, dict) else value.items
                for key in items:
                    items[key] = self.convert(items[key])
        return value

    def _tensor(self, ref: TensorRef) -> torch.Tensor:
        size, stride, offset = tuple(map(count, ref.size)), tuple(map(count, ref.stride)), count(ref.offset)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        storage = self._storage(ref.storage)
        if math.prod(size) and last >= ref.storage.numel:
            raise CheckpointError(f"{self._path}: damaged, a tensor of shape {size} reaches beyond its storage")
        return torch.as_strided(storage, size, stride, ref.storage.offset + offset)

    def _storage(self, ref: StorageRef) -> torch.Tensor:
        known = self._storages.get((ref.key, ref.dtype))
        if known is not None:
            return known
        found = self._find(ref)
        dtype = _dtype(ref.dtype)
        start, size = (0, len(found)) if isinstance(found, bytes) else found
        numel = ref.offset + ref.numel
        if size < numel * dtype.itemsize:
            raise CheckpointError(f"{self._path}: damaged, storage {ref.key} has {size} bytes, fewer than it declares")
        count = size // dtype.itemsize
        if numel == 0:
            storage = torch.empty(0, dtype=dtype)
        elif isinstance(found, bytes):
            storage = torch.frombuffer(bytearray(found), dtype=dtype, count=count)
        elif start % dtype.itemsize:  # old files do not align their storages
            storage = torch.frombuffer(bytearray(self._mapped[start : start + size]), dtype=dtype, count=count)
        else:
            storage = torch.frombuffer(self._mapped, dtype=dtype, count=count, offset=start)
        return self._storages.setdefault((ref.key, ref.dtype), storage)

    def _array(self, ref: ArrayRef) -> Any:
        if not ref.code:
            return placeholder_class("numpy array of objects")()
        return to_array(ref)


def _dtype(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    return dtype
