"""log.jsonl: one line a logged step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import RunError
from mec_transfer.common.files import write_text


class StepLog:
    """Appends to the log. Lines of steps after `last_step`, which an interrupted run left, are dropped first."""

    def __init__(self, path: Path, last_step: int) -> None:
        self.path = path
        kept = [line for line in self._lines() if _step_of(line) <= last_step]
        write_text(path, "".join(f"{line}\n" for line in kept))

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

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
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill
