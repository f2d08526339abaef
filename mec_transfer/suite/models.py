"""The models of a run: the identity of their weights, without reading a file twice, and their pretraining if any."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.benchmark import describe_model
from mec_transfer.common.errors import UserError
from mec_transfer.common.processes import describe_status, last_line
from mec_transfer.results.record import ModelInfo
from mec_transfer.suite.memory import Memory, file_stamp

if TYPE_CHECKING:
    from pretrain.outlook import Outlook

CHECKPOINT_NAME = "checkpoint_last.pth"
LOG_NAME = "log.jsonl"
"""The log, which exists as soon as a pretraining begins."""


class ModelReader:
    """Identifies the weights of a checkpoint, without reading a file again that has the same size and time."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._loaded: tuple[str, Backbone] | None = None

    def identify(self, name: str, checkpoint: str, encoder: str) -> ModelInfo:
        """Return the model's identity. Raises UserError for a checkpoint that cannot be used."""
        from mec_transfer.backbone.source import weights_file

        place, stamp = f"model {checkpoint} {encoder}", file_stamp(weights_file(checkpoint))
        known = self._memory.recall(place, stamp)
        if known is not None:
            return ModelInfo.model_validate({**known, "name": name})
        info = describe_model(name, self.backbone(checkpoint, encoder))
        self._memory.keep(place, stamp, info.model_dump(mode="json"))
        return info

    def backbone(self, checkpoint: str, encoder: str) -> Backbone:
        """Return the weights; those of the last checkpoint are kept in memory."""
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
        """The checkpoint that it leaves."""
        return self.folder / CHECKPOINT_NAME

    @property
    def log(self) -> Path:
        """The file that receives its output."""
        return self.folder / "log.txt"

    def arguments(self, device: str, workers: int, seed: int) -> tuple[str, ...]:
        """Return the arguments of `python -m pretrain` that start it, resume it, or find that it is finished."""
        words = [str(self.config), "--data", str(self.data), "--out", str(self.folder), "--resume", "auto"]
        words += ["--device", device, "--workers", str(workers), "--seed", str(seed)]
        return (*words, *(word for override in self.overrides for word in ("--set", override)))

    def look_ahead(self, seed: int) -> Outlook | None:
        """Return how many processes it is made for and whether it is finished; None if it will fail with a message."""
        look = importlib.import_module("pretrain.outlook").look_ahead  # by name, as all that a suite starts
        try:
            outlook: Outlook = look(self.config, self.overrides, self.data, self.folder, seed)
        except UserError:
            return None
        return outlook

    def problem(self, status: int) -> str:
        """Return what went wrong, after its process ended with `status`; "" if it left a checkpoint.

        Raises:
            UserError: the config is wrong, there is no data, or the folder holds another pretraining.
        """
        if status == 2 and not (self.folder / LOG_NAME).exists():
            raise UserError(f"pretraining of {self.name}: {last_line(self.log)}")
        if status < 0:  # its last line does not explain a kill
            return f"pretraining: {describe_status(status)}"
        if status != 0:
            return f"pretraining: {last_line(self.log) or 'no output'} ({describe_status(status)})"
        return "" if self.checkpoint.is_file() else f"pretraining left no {CHECKPOINT_NAME}"
