"""A run's figures in TensorBoard, where its package is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.common.extras import require
from mec_transfer.common.progress import warn

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
"""Below the run's own: `tensorboard --logdir RUN/tensorboard`, or of many runs `--logdir` of the folder above."""


class TensorBoard:
    """Writes figures as scalars under their names in log.jsonl. After a resumption no step is drawn twice."""

    def __init__(self, folder: Path) -> None:
        """Raises MissingExtra where the package is not installed."""
        require("tensorboard")
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._failed = False

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Write the figures of a step. A disk that is full ends the writing with a warning, not the run."""
        if self._failed:
            return
        try:
            writer = self._writer or self._open(step)
            for name, value in figures.items():
                writer.add_scalar(name, value, step)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what is still waiting."""
        writer, self._writer = self._writer, None
        try:
            if writer and not self._failed:
                writer.close()
        except OSError as error:
            self._give_up(error)

    def _open(self, step: int) -> SummaryWriter:
        """Open the writer; what an interrupted run has written for `step` and later is not shown."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(self.folder, purge_step=step, flush_secs=10)
        return self._writer

    def _give_up(self, error: OSError) -> None:
        self._failed = True
        warn(f"{self.folder}: cannot be written ({error.strerror or error}); the run goes on without TensorBoard")
