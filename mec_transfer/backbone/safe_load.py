"""Any checkpoint file to plain Python containers with tensors in them, without running a line of the file's."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from mec_transfer.backbone import torch_files
from mec_transfer.common.errors import CheckpointError, did_you_mean, one_line

AGAIN = "copy or download it again"

# first bytes -> what the file is and what to do
_FOREIGN = {
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"BZh": "compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "compressed with xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"\x89HDF": "an HDF5 file (Keras?); convert it to a torch state_dict first",
    b"\x93NUMPY": "a single NumPy array, not a checkpoint",
    b"PK\x05\x06": "an empty zip archive; " + AGAIN,
}


def load_checkpoint(path: Path | str) -> Any:
    """Read a checkpoint of torch (zip and older), a plain pickle (.pkl) or .safetensors; the content decides which.

    Returns dicts, lists, tuples, numbers and strings with torch tensors (on the CPU, mapped from the file where that
    is possible: clone what is to be kept) and NumPy arrays in them. Objects of any other class are inert
    `Placeholder`s: nothing that the file names is imported or called.

    Raises:
        CheckpointError: missing, empty, truncated, damaged, or no checkpoint at all: one line says which.
    """
    path = Path(path)
    size, start = _open(path)
    try:
        if start.startswith(b"PK\x03\x04"):
            return torch_files.read_zip(path)
        if start.startswith(torch_files.LEGACY_START):
            return torch_files.read_legacy(path)
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100 << 20:
            return _read_safetensors(path)
        _refuse_foreign(path, start)
        return torch_files.read_pickle(path)
    except CheckpointError:
        raise
    except zipfile.BadZipFile:
        raise CheckpointError(f"{path}: a truncated or damaged torch file ({size} bytes); {AGAIN}") from None
    except RecursionError:
        raise CheckpointError(f"{path}: nested too deeply to be a checkpoint; {AGAIN}") from None
    except MemoryError:
        raise CheckpointError(f"{path}: asks for more memory than there is; {AGAIN}") from None
    except Exception as error:
        # a damaged pickle can raise nearly anything, and all of it means the same
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        what = "truncated or damaged" if start[:1] in (b"\x80", b"P") else "not a checkpoint, or a damaged one"
        raise CheckpointError(f"{path}: {what} ({reason}); {AGAIN}") from None


def _open(path: Path) -> tuple[int, bytes]:
    """Return the file's size and first bytes."""
    try:
        with path.open("rb") as handle:
            start = handle.read(1024)
        size = path.stat().st_size
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        raise CheckpointError(f"{path}: no such file.{did_you_mean(path.name, beside)}") from None
    except IsADirectoryError:
        inside = sorted(
            p.name for p in path.iterdir() if p.suffix in (".pth", ".pt", ".tar", ".ckpt", ".pkl", ".safetensors")
        )
        hint = f"name a file in it, such as {path / inside[-1]}" if inside else "and it holds no checkpoint"
        raise CheckpointError(f"{path}: a folder, not a file; {hint}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    if size == 0:
        raise CheckpointError(f"{path}: empty (0 bytes); {AGAIN}")
    return size, start


def _refuse_foreign(path: Path, start: bytes) -> None:
    """Raise CheckpointError for what is plainly something else."""
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise CheckpointError(f"{path}: {what}")
    if start[257:262] == b"ustar":
        raise CheckpointError(
            f"{path}: a tar archive (or a checkpoint of torch 0.1); unpack it first and name the file in it"
        )
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = text[:600].lower()
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: a git-lfs pointer, not the file itself; run `git lfs pull` there")
    if text.startswith(b"<"):
        page = "Google Drive's warning page" if b"google drive" in lower else "a web page (HTML or XML)"
        raise CheckpointError(f"{path}: {page}, not a checkpoint; download the file itself again")
    if text.startswith((b"{", b'["', b"[{")):
        raise CheckpointError(f"{path}: JSON text, not a checkpoint; name the file that holds the weights")
    # a pickle of protocol 0 is text too, and of a dict it begins with a bracket
    if all(32 <= byte < 127 or byte in b"\t\n\r" for byte in start) and not start.startswith(b"("):
        raise CheckpointError(f"{path}: text ('{' '.join(start[:30].decode().split())}...'), not a checkpoint")


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: a truncated or damaged .safetensors file ({one_line(error)}); {AGAIN}"
        ) from None
