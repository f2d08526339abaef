"""What an interrupted training by epochs goes on from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mec_transfer.common.progress import is_main_process
from mec_transfer.common.resumable import ResumableState

STATE_NAME = "training_state.pt"


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


_FIELDS = tuple(field.name for field in dataclasses.fields(TrainingState))
_ARRAYS = ("best", "last")
"""Kept as tensors: what holds tensors and plain values alone can be read without running any of it."""


def save_state(folder: Path, state: TrainingState) -> None:
    """Replace the state in `folder`, on rank 0; the one before it stays until training is over.

    Raises:
        RunError: the disk is full or the folder cannot be written, or a value is not finite. What is there stays.
    """
    values = {name: getattr(state, name) for name in _FIELDS}
    arrays = {name: torch.from_numpy(values[name]) for name in _ARRAYS if values[name] is not None}
    file = _StateFile(folder, state.key)
    file.save(values | arrays)
    if state.optimizer is None and is_main_process():
        file.previous.unlink(missing_ok=True)


def load_state(folder: Path, key: str) -> TrainingState:
    """Return the state that lies in `folder`, or a fresh one where there is none.

    Raises:
        UserError: it belongs to another job or is damaged, or the processes of a torchrun find different states.
    """
    values = _StateFile(folder, key).load()
    if values is None:
        return TrainingState(key=key)
    arrays = {name: values[name].numpy() for name in _ARRAYS if values[name] is not None}
    return TrainingState(**{name: values[name] for name in _FIELDS} | arrays)


class _StateFile(ResumableState):
    NAME = STATE_NAME
    PREVIOUS = "training_state_previous.pt"
    FORMAT = "mec-transfer/training-state/1"
    TITLE = "training state of a probe or a finetuning"
    RUN_KEY = "key"
    KEYS = frozenset(_FIELDS)
    PROGRESS = ("epoch", "step")
    CURE = "Training diverged: check the checkpoint with `mec-transfer inspect`, or lower the learning rate"

    def difference(self, there: Any) -> str:
        """The key of a job stands for all that its training depends on."""
        return (
            "" if there == self.run else f"left by another job ({there}, this one is {self.run}); choose another --out"
        )
