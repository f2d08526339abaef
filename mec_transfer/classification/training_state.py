"""The one file that an interrupted training goes on from: replaced as a whole after each epoch, and at a signal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mec_transfer.common.distributed import gather_objects
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import save_torch

STATE_NAME = "training_state.pt"
_FORMAT = "mec-transfer/training-state/1"


@dataclasses.dataclass(kw_only=True)
class TrainingState:
    """How far a training has come. Epochs are counted from 1 here: `epoch` of them are done."""

    key: str
    """The job's: a state of another job is refused."""
    epoch: int = 0
    step: int = 0
    """Steps done of the epoch after these; all of them where it has only not been judged yet."""
    loss: float = 0.0
    """Sum of those steps' losses."""
    seconds: float = 0.0
    """Spent so far, over all attempts."""
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """One entry an epoch: epoch, loss, top1 (percent), lr."""
    best_epoch: int = 0
    best: np.ndarray | None = None
    """(N, K) classes predicted for the val images after the best epoch, best guess first."""
    last: np.ndarray | None = None
    """The same after the last epoch done."""
    modules: dict[str, Any] = dataclasses.field(default_factory=dict)
    """State dicts by name."""
    optimizer: dict[str, Any] | None = None
    """None when training is over."""


def save_state(folder: Path, state: TrainingState) -> None:
    """Write `state` to `folder` atomically. Raises RunError when the disk is full."""
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    for name in ("best", "last"):
        if values[name] is not None:  # none before the end of the first epoch
            values[name] = torch.from_numpy(values[name])
    save_torch(folder / STATE_NAME, {"format": _FORMAT, **values})


def load_state(folder: Path, key: str) -> TrainingState:
    """Return the state that lies in `folder`, or a fresh one where there is none.

    Raises:
        UserError: it belongs to another job, or is damaged.
        RunError: the processes of a torchrun find different states.
    """
    path = folder / STATE_NAME
    state = _read(path, key) if path.exists() else TrainingState(key=key)
    found = gather_objects((state.epoch, state.step))
    if len(set(found)) > 1:
        raise RunError(
            f"{path}: the processes find different states (epoch, step: {found}); --out must be a shared folder"
        )
    return state


def _read(path: Path, key: str) -> TrainingState:
    again = "delete it to train from the beginning"
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have their own way of saying "damaged"
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: not readable ({reason}); {again}") from None
    if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
        raise UserError(f"{path}: not a training state of this version; {again}")
    if values["key"] != key:
        raise UserError(f"{path}: left by another job ({values['key']}, this one is {key}); choose another --out")
    for name in ("best", "last"):
        if values[name] is not None:
            values[name] = values[name].numpy()
    return TrainingState(**values)
