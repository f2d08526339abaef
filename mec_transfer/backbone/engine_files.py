"""The files that engines read: a pickle of NumPy arrays, torch.save, safetensors."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mec_transfer import __version__
from mec_transfer.common.errors import RunError

if TYPE_CHECKING:
    import torch

AUTHOR = f"mec-transfer {__version__}"

_ARRAY_GLOBALS = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


def encode(layout: str, suffix: str, tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the bytes of the file in which `layout`'s engine looks for `tensors`."""
    import torch

    if layout == "detectron2":
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        # `matching_heuristics` lets Detectron2 find `stem.conv1.weight` under `backbone.bottom_up.` and the like.
        return _portable_pickle({"model": arrays, "__author__": AUTHOR, "matching_heuristics": True})
    if suffix == ".safetensors":
        from safetensors.torch import save

        return save(dict(tensors), metadata={"format": "pt"})
    wrap = layout.startswith("openmmlab")
    buffer = io.BytesIO()
    torch.save({"state_dict": dict(tensors), "meta": {"author": AUTHOR}} if wrap else dict(tensors), buffer)
    return buffer.getvalue()


def decode(layout: str, path: Path, suffix: str) -> dict[str, torch.Tensor]:
    """Read a written file as its engine does, without running code. Raises RunError if it is not what it should be."""
    import torch

    try:
        if layout == "detectron2":
            with path.open("rb") as handle:
                arrays = _ArrayUnpickler(handle).load()["model"]
            return {name: torch.from_numpy(array) for name, array in arrays.items()}
        if suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return dict(content["state_dict"] if layout.startswith("openmmlab") else content)
    except Exception as error:  # whatever keeps this reader from its tensors keeps the engine from them too
        raise RunError(f"{path.name}: the written file cannot be read back ({error})") from None


class _ArrayUnpickler(pickle.Unpickler):
    """Admits what an array is made of, under the names that NumPy 1 and 2 both know, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_GLOBALS:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array that NumPy 1.23 reads")
        return super().find_class(module, name)


def _portable_pickle(value: Any) -> bytes:
    """Pickle plain arrays so that NumPy 1.23 and 2 both read them.

    NumPy 2 pickles under `numpy._core`, which NumPy 1 lacks; `numpy.core` is known to both. Protocol 3 writes such
    a name as a line of text, without a length or a frame around it, so that it can be replaced in place.
    """
    data = pickle.dumps(value, protocol=3)
    pieces, end = [], 0
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name == "GLOBAL" and str(argument).startswith("numpy._core."):
            module, name = str(argument).split(" ")
            position = int(position or 0)
            written = f"c{module}\n{name}\n".encode()
            pieces += [data[end:position], written.replace(b"numpy._core.", b"numpy.core.")]
            end = position + len(written)
    return b"".join([*pieces, data[end:]])
