"""The models of a run: which weights each has, without reading a file twice, and pretraining where one is asked."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.benchmark import describe_model
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.processes import describe_status
from mec_transfer.common.progress import say
from mec_transfer.results.record import ModelInfo
from mec_transfer.suite.memory import Memory, file_stamp
from mec_transfer.suite.process import last_line, run_child

CHECKPOINT_NAME = "checkpoint_last.pth"
LOG_NAME = "log.jsonl"
"""There as soon as a pretraining begins."""


class ModelReader:
    """Tells whose weights a checkpoint holds, without reading a file that it knows by its size and time."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._loaded: tuple[str, Backbone] | None = None

    def identify(self, name: str, checkpoint: str, encoder: str) -> ModelInfo:
        """Return the model's identity. Raises UserError for a checkpoint that cannot be used."""
        place, stamp = f"model {checkpoint} {encoder}", file_stamp(Path(checkpoint))
        known = self._memory.recall(place, stamp)
        if known is not None:
            return ModelInfo.model_validate({**known, "name": name})
        info = describe_model(name, self.backbone(checkpoint, encoder))
        self._memory.keep(place, stamp, info.model_dump(mode="json"))
        return info

    def backbone(self, checkpoint: str, encoder: str) -> Backbone:
        """Return the weights; the last one read is held."""
        from mec_transfer.backbone.source import resolve_backbone

        place = f"{checkpoint} {encoder}"
        if self._loaded is None or self._loaded[0] != place:
            self._loaded = None  # never two at a time
            self._loaded = place, resolve_backbone(checkpoint, encoder)
        return self._loaded[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
    """One model that is pretrained before it is evaluated."""

    name: str
    config: Path
    overrides: list[str]
    data: Path
    folder: Path
    """OUT/models/NAME."""

    @property
    def checkpoint(self) -> Path:
        """What it leaves."""
        return self.folder / CHECKPOINT_NAME

    def run(self, device: str, workers: int, seed: int) -> None:
        """Pretrain, go on where an earlier run was interrupted, or find that it is finished.

        Raises:
            UserError: the config is wrong, there is no data, or the folder holds another pretraining.
            RunError: it failed, or found an image broken; the message has the reason.
            ChildStopped: a signal from outside stopped it.
        """
        command = [sys.executable, "-m", "pretrain", str(self.config), "--data", str(self.data)]
        command += ["--out", str(self.folder), "--resume", "auto", "--device", device]
        command += ["--workers", str(workers), "--seed", str(seed)]
        for override in self.overrides:
            command += ["--set", override]
        log = self.folder / "log.txt"
        status = run_child(command, log, lambda line: say(f"    {line}"))
        if status == 2 and not (self.folder / LOG_NAME).exists():
            raise UserError(f"pretraining of {self.name}: {last_line(log)}")
        if status != 0:
            raise RunError(f"pretraining: {last_line(log) or 'no output'} ({describe_status(status)})")
        if not self.checkpoint.is_file():
            raise RunError(f"pretraining left no {CHECKPOINT_NAME}")
