"""Loading runs nothing of a file's, and says in one line what a file is when it is no checkpoint."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mec_transfer.backbone.safe_load import load_checkpoint
from mec_transfer.common.errors import CheckpointError
from mec_transfer.common.pickles import InertUnpickler, Placeholder

Weights = dict[str, torch.Tensor]
LEGACY = {"_use_new_zipfile_serialization": False}


class Call:
    """Pickles as a call of `function` with `args`, and then `state`."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.reduced


class Global:
    """A module and name that need not exist: written into a pickle by hand."""

    def __init__(self, module: str, name: str) -> None:
        self.opcodes = b"c" + f"{module}\n{name}\n".encode()


def marked(folder: Path) -> dict[str, Any]:
    """Objects that each leave the file `ran` if anything of them is run."""
    leave = f"open({str(folder / 'ran')!r}, 'w').close()"
    nested = io.BytesIO()
    torch.save(Call(eval, leave), nested)
    return {
        "os.system": Call(os.system, f"touch {folder / 'ran'}"),
        "eval": Call(eval, leave),
        "exec": Call(exec, leave),
        "nested torch file": Call(torch.storage._load_from_bytes, nested.getvalue()),
        "nested pickle": Call(pickle.loads, pickle.dumps(Call(eval, leave))),
        "getattr": Call(getattr, Call(__import__, "os"), "getcwd"),
        "torch.load": Call(torch.load, str(folder / "evil.pth")),
        "torch.jit": Call(torch.jit.load, str(folder / "evil.pth")),
        "rebuild gadget": Call(torch._utils._rebuild_wrapper_subclass, Call(eval, leave), 1, 2, 3, 4, 5, 6, 7),
        "rebuild from type": Call(torch._tensor._rebuild_from_type_v2, eval, torch.Tensor, (leave,), {}),
        "state": Call(OrderedDict, state={"__reduce__": Call(eval, leave), "items": eval}),
        "factory": Call(defaultdict, Call(eval, leave)),
        "open": Call(open, str(folder / "ran"), "w"),
        "memmap": Call(np.memmap, str(folder / "ran"), "uint8", "w+", 0, (3,)),
        "codecs": Call(__import__("codecs").encode, leave, "latin1"),
    }


KINDS = sorted(marked(Path("anywhere")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", ["zip", "legacy", "pickle"])
def test_nothing_is_run(tmp_path: Path, kind: str, container: str) -> None:
    torch.save({"x": Call(eval, f"open({str(tmp_path / 'ran')!r}, 'w').close()")}, tmp_path / "evil.pth")
    content = {"x": marked(tmp_path)[kind], "weight": torch.arange(3.0) if container != "pickle" else 1}
    path = tmp_path / "checkpoint.pth"
    if container == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, **(LEGACY if container == "legacy" else {}))
    loaded = load_checkpoint(path)
    assert not (tmp_path / "ran").exists()
    assert type(loaded["x"]) in (bytes, dict) or isinstance(loaded["x"], Placeholder | dict)
    if container != "pickle":
        assert torch.equal(loaded["weight"], torch.arange(3.0))


def test_the_marks_above_show_a_run(tmp_path: Path) -> None:
    for kind in ("eval", "exec", "nested pickle", "memmap"):
        pickle.loads(pickle.dumps(marked(tmp_path)[kind]))
        (tmp_path / "ran").unlink()


def test_state_cannot_change_the_reader(tmp_path: Path) -> None:
    """BUILD on a global sets attributes of what it names: there must be none to set."""
    for module, name in [
        ("torch._utils", "_rebuild_tensor_v2"),
        ("collections", "OrderedDict"),
        ("torch", "FloatStorage"),
        ("numpy", "dtype"),
        ("os", "system"),
    ]:
        pickled = b"\x80\x02" + Global(module, name).opcodes + b"N}X\x08\x00\x00\x00__call__K\x01s\x86b."
        (tmp_path / "x.pkl").write_bytes(pickled)
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            load_checkpoint(tmp_path / "x.pkl")


def test_unknown_names_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "antigravity_like.py").write_text("raise SystemExit('imported')")
    pickled = b"\x80\x04" + Global("antigravity_like", "Thing").opcodes + b")\x81}(X\x01\x00\x00\x00aK\x01ub."
    found = InertUnpickler(io.BytesIO(pickled)).load()
    assert isinstance(found, Placeholder)
    assert found.qualified == "antigravity_like.Thing"
    assert found.state == {"a": 1}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_scalars_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    content = {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "big endian": np.arange(4, dtype=">f4"),
        "half": np.ones((2, 0, 1), np.float16),
        "flag": np.array([True, False]),
        "float": np.float64(70.8),
        "int": np.int64(-3),
        "bytes": b"\x00\xff",
        "set": {1, 2},
    }
    expected = dict(content)
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    loaded = load_checkpoint(path)
    for name, value in expected.items():
        assert np.array_equal(loaded[name], value), name
    assert type(loaded["float"]) is float


@pytest.mark.parametrize("package", [b"numpy.core", b"numpy._core"])
def test_numpy_of_either_name(tmp_path: Path, package: bytes) -> None:
    pickled = pickle.dumps({"a": np.arange(3.0), "n": np.float32(2)}, protocol=2)
    (tmp_path / "x.pkl").write_bytes(pickled.replace(b"numpy._core", package).replace(b"numpy.core", package))
    loaded = load_checkpoint(tmp_path / "x.pkl")
    assert loaded["n"] == 2
    assert np.array_equal(loaded["a"], np.arange(3.0))


@pytest.mark.parametrize("options", [{}, LEGACY])
def test_tensors_as_torch_reads_them(tmp_path: Path, options: dict[str, bool]) -> None:
    base = torch.randn(4, 6)
    content = {
        "views": [base, base.T, base[1:, ::2], base[0, 0]],
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "kinds": [torch.ones(3, dtype=kind) for kind in (torch.float16, torch.bfloat16, torch.float64, torch.int64)],
        "flags": torch.tensor([True, False]),
    }
    torch.save(content, tmp_path / "x.pth", **options)
    torch.testing.assert_close(load_checkpoint(tmp_path / "x.pth"), content, rtol=0, atol=0)


def test_archives_without_or_with_other_compression(tmp_path: Path) -> None:
    content = {"a": torch.arange(50.0)}
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, tmp_path / "unchecked.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    with (
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
        zipfile.ZipFile(tmp_path / "unchecked.pth") as plain,
    ):
        raw = (tmp_path / "unchecked.pth").read_bytes()
        for info in plain.infolist():
            start = info.header_offset + 30 + sum(struct.unpack_from("<HH", raw, info.header_offset + 26))
            packed.writestr(info.filename, raw[start : start + info.file_size])
    for name in ("unchecked.pth", "packed.pth"):
        assert torch.equal(load_checkpoint(tmp_path / name)["a"], content["a"])


def test_nested_storage_pickles_stay_unread(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": {"conv1.weight": torch.ones(3)}}))
    found = load_checkpoint(tmp_path / "x.pkl")["model"]["conv1.weight"]
    assert isinstance(found, Placeholder)
    assert found.qualified == "torch.storage._load_from_bytes"


def saved(content: Any, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return buffer.getvalue()


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x")
    return buffer.getvalue()


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


TENSOR = {"a": torch.arange(1000.0)}
NO_CHECKPOINTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", r"empty \(0 bytes\)"),
    "html": (lambda: b"\n<!DOCTYPE html><html><head>", "a web page"),
    "drive": (lambda: b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>", "Google Drive's"),
    "xml": (lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
    "json": (lambda: b'{"error": "Repository not found"}', "JSON text"),
    "text": (lambda: b"Entry not found", "text .'Entry not found"),
    "gzip": (lambda: gzip.compress(b"x"), "compressed with gzip"),
    "tar": (tarred, "a tar archive"),
    "zip": (lambda: zipped("resnet50.pth"), "a zip archive but not one of torch.save .it holds resnet50.pth"),
    "npz": (lambda: zipped("arr_0.npy"), "a zip archive but not"),
    "TorchScript": (script, "a TorchScript archive"),
    "truncated zip": (lambda: saved(TENSOR)[:-1], "a truncated or damaged torch file"),
    "truncated legacy": (lambda: saved(TENSOR, **LEGACY)[:-1], "truncated at"),
    "truncated legacy pickle": (lambda: saved(TENSOR, **LEGACY)[:150], "truncated or damaged"),
    "truncated pickle": (lambda: pickle.dumps({"a": np.arange(9)})[:-3], "truncated or damaged"),
    "noise": (lambda: bytes(range(7, 256)), "not a checkpoint"),
    "safetensors": (lambda: (99).to_bytes(8, "little") + b'{"a": {"dtype"', "damaged .safetensors"),
    "beyond its storage": (
        lambda: saved(TENSOR, **LEGACY).replace(b"K\x00M\xe8\x03\x85", b"K\x01M\xe8\x03\x85"),
        "a tensor of shape .1000,. reaches beyond its storage",
    ),
}


@pytest.mark.parametrize("name", NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    make, says = NO_CHECKPOINTS[name]
    path = tmp_path / "model.pth"
    path.write_bytes(make())
    with pytest.raises(CheckpointError, match=says) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "resnet50.pth").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"no such file. Did you mean 'resnet50.pth'"):
        load_checkpoint(tmp_path / "resnet5.pth")
    with pytest.raises(CheckpointError, match=r"a folder, not a file; name a file in it, such as .*resnet50.pth"):
        load_checkpoint(tmp_path)
