"""checkpoint_last.pth: everything that a run needs to go on, and that evaluation needs to read the encoder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from mec_transfer.common.errors import CheckpointError
from mec_transfer.common.files import save_torch
from pretrain.config import PretrainConfig
from pretrain.identity import RunIdentity, require_same

FORMAT = "mec-transfer/1"


def save_checkpoint(
    path: Path, config: PretrainConfig, identity: RunIdentity, epoch: int, step: int, states: dict[str, Any]
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: where to.
        config: of the run.
        identity: of the run; a later command must have the same to continue.
        epoch: epochs done.
        step: iterations done.
        states: `state_dict` (`encoder.*`, `teacher.*`, `predictor.*`) and `optimizer`.

    Raises:
        RunError: the disk is full or the folder cannot be written; the previous checkpoint is kept.
    """
    preprocessing = dataclasses.asdict(config.preprocessing)
    about = {"format": FORMAT, "epoch": epoch, "step": step, "arch": config.arch, "stem": config.stem}
    run = {"preprocessing": preprocessing, "config": config.model_dump(mode="json"), "run": identity.as_dict()}
    save_torch(path, {**about, **run, **states})


def load_checkpoint(path: Path, identity: RunIdentity) -> dict[str, Any]:
    """Read a checkpoint of this very run; tensors on the CPU.

    Raises:
        CheckpointError: the file is damaged or not a pretraining checkpoint of this program.
        UserError: it is of another run (config, seed or images); each difference is named.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read ({reason}); remove it to start anew") from None
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT or "run" not in checkpoint:
        raise CheckpointError(f"{path}: is not a checkpoint of mec-pretrain; give another --out")
    require_same(identity, checkpoint["run"], path)
    return checkpoint
