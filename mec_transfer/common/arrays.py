"""Arrays in .npz files: predictions that metrics are recomputed from, and the progress of interrupted jobs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from mec_transfer.common.errors import UserError
from mec_transfer.common.files import atomic_writer
from mec_transfer.common.progress import warn

PREDICTIONS_NAME = "predictions.npz"
Arrays = dict[str, np.ndarray]
T = TypeVar("T")


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write a file atomically. Raises RunError where the disk is full or the folder cannot be written."""
    with atomic_writer(path) as handle:
        np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]  # its one named argument has another name


def measure_saved(folder: Path, measure: Callable[[Arrays], T], needed: Iterable[str] = ()) -> T:
    """Return `measure` of the arrays in `folder`/predictions.npz, which must hold those that are `needed`.

    Raises:
        UserError: the file is missing or damaged, or `measure` failed on it.
    """
    path = folder / PREDICTIONS_NAME
    try:
        saved = read_arrays(path)
        if missing := set(needed) - set(saved):
            raise ValueError(f"it has no '{min(missing)}'")
        return measure(saved)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the job left no predictions") from None
    except Exception as error:  # zipfile, zlib and numpy each have their own way of saying "damaged"
        raise UserError(
            f"{path}: not readable as predictions ({error}); delete the folder and run the job again"
        ) from None


def kept_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Arrays | None:
    """Return what an earlier attempt left; None if there is nothing, or, with a warning, if the file is damaged.

    Args:
        path: the file.
        shapes: the shapes of the arrays that it must hold, by name.
    """
    try:
        arrays = read_arrays(path)
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"'{name}' is of shape {arrays[name].shape}, not {shape}")
    except FileNotFoundError:
        return None
    except Exception as error:
        warn(f"{path}: not readable ({error}); it is computed again")
        return None
    return arrays


def read_arrays(path: Path) -> Arrays:
    """Return what a file holds. Raises FileNotFoundError if there is none, and any other exception if it is damaged."""
    if path.exists() and not zipfile.is_zipfile(path):
        raise ValueError("not a .npz file")  # numpy would take it for a pickle, and say so
    with np.load(path, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}
