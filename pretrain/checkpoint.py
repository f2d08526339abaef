"""checkpoint_last.pth: everything that a run needs to go on, and that evaluation needs to read the encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mec_transfer.common.files import replace_with_copy
from mec_transfer.common.resumable import ResumableState
from pretrain.config import PretrainConfig
from pretrain.identity import CHECKPOINT, MILESTONE, PREVIOUS, RunIdentity


class Checkpoint(ResumableState):
    """The checkpoints of a run; where the last two are damaged, the newest milestone serves."""

    NAME = CHECKPOINT
    PREVIOUS = PREVIOUS
    FORMAT = "mec-transfer/1"
    TITLE = "checkpoint of mec-pretrain"
    KEYS = frozenset({"run", "step", "state_dict", "optimizer"})
    PROGRESS = ("step",)
    CURE = "Lower base_lr, or raise eps or warmup_epochs, and start in another --out"

    def __init__(self, out: Path, config: PretrainConfig, identity: RunIdentity) -> None:
        super().__init__(out, identity.as_dict())
        self.identity = identity
        self._about = {
            "arch": config.arch,
            "stem": config.stem,
            "preprocessing": dataclasses.asdict(config.preprocessing),
            "config": config.model_dump(mode="json"),
        }

    def difference(self, there: Any) -> str:
        """Name each difference of config, seed and images."""
        differing = self.identity.differences(there)
        more = "give another --out, or the config, seed and data that it was made with"
        return f"belongs to another run: {', '.join(differing)}; {more}" if differing else ""

    def older(self) -> Sequence[Path]:
        """Return the milestones."""
        return sorted(self.folder.glob(MILESTONE), reverse=True)

    def contents(self, epoch: int, step: int, states: dict[str, Any]) -> dict[str, Any]:
        """Return what `save` takes.

        Args:
            epoch: epochs done.
            step: iterations done.
            states: `state_dict` (`encoder.*`, `teacher.*`, `predictor.*`), `optimizer`, `peak_norm`.
        """
        return {"epoch": epoch, "step": step, **self._about, **states}

    def keep(self, epoch: int) -> None:
        """Give the last one a second name, as the milestone after `epoch` epochs, under which no later one replaces it.

        Raises:
            RunError: the folder cannot be written.
        """
        replace_with_copy(self.path, self.folder / MILESTONE.replace("*", f"{epoch:04d}"))
