"""checkpoint_last.pth: everything that a run needs to go on, and that evaluation needs to read the encoder.

The one before it is kept as checkpoint_previous.pth, for when the last turns out to be damaged.
"""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import torch

from mec_transfer.common.errors import CheckpointError
from mec_transfer.common.files import replace_with_copy, save_torch
from mec_transfer.common.progress import warn
from pretrain.config import PretrainConfig
from pretrain.identity import CHECKPOINT, MILESTONE, PREVIOUS, RunIdentity, require_same

FORMAT = "mec-transfer/1"


def save_checkpoint(
    path: Path, config: PretrainConfig, identity: RunIdentity, epoch: int, step: int, states: dict[str, Any]
) -> None:
    """Write a checkpoint atomically; the one that was there becomes the previous one.

    At no moment is there less than one whole file under either name.

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
    if path.exists():
        replace_with_copy(path, path.with_name(PREVIOUS))
    save_torch(path, {**about, **run, **states})


def newest_checkpoint(out: Path, identity: RunIdentity) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest intact checkpoint in `out`; return it with its path, or None where there is none at all.

    Where the last two are damaged, the newest milestone serves.

    Raises:
        CheckpointError: none can be read, or one is not of this program.
        UserError: it is of another run.
    """
    last_two = [path for path in (out / CHECKPOINT, out / PREVIOUS) if path.exists()]
    milestones = sorted(out.glob(MILESTONE), reverse=True) if last_two else []
    damage: list[DamagedError] = []
    for path in (*last_two, *milestones):
        try:
            checkpoint = load_checkpoint(path, identity)
        except DamagedError as error:
            damage.append(error)
            continue
        if damage:
            warn(f"{damage[0].what}; going on from {path.name} instead, step {checkpoint['step']}")
        return path, checkpoint
    if damage:
        raise damage[0]
    return None


class DamagedError(CheckpointError):
    """A file that was cut short or changed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; remove it to start anew")
        self.what = what


def load_checkpoint(path: Path, identity: RunIdentity) -> dict[str, Any]:
    """Read a checkpoint of this very run; tensors on the CPU.

    Raises:
        DamagedError: the file cannot be read, or a byte of it has changed.
        CheckpointError: it is not a pretraining checkpoint of this program.
        UserError: it is of another run (config, seed or images); each difference is named.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():  # torch itself does not look at the checksums
                raise ValueError(f"its part {broken} is not what was written")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DamagedError(f"{path}: cannot be read ({reason})") from None
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT or "run" not in checkpoint:
        raise CheckpointError(f"{path}: is not a checkpoint of mec-pretrain; give another --out")
    require_same(identity, checkpoint["run"], path)
    return checkpoint
