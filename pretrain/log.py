"""log.jsonl: one line a logged step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import RunError
from mec_transfer.common.files import write_text


class StepLog:
    """Appends to the log."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path, last_step: int) -> StepLog:
        """Open a run's log: lines of steps after `last_step`, which an interrupted run left, are dropped first."""
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        write_text(path, "".join(f"{line}\n" for line in lines if _step_of(line) <= last_step))
        return cls(path)

    def write(self, figures: dict[str, Any]) -> None:
        """Append one line. Raises RunError when the disk is full."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror or error})") from None


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return float("inf")  # a line cut short by a kill, or damaged by a disk
