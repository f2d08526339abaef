"""Reads the figures that a pretraining has written to its log.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError

Series = tuple[np.ndarray, np.ndarray]
"""Steps and values, (N,) float64 each; NaN where a value is not finite."""


def read_log(path: Path) -> dict[str, Series]:
    """Return each figure's series by name, sorted by step; lines that are not JSON (cut off by a kill) are left out.

    If two lines have the same step, as a kill may leave them, the later one counts.

    Raises:
        DataError: the log does not exist, cannot be read, or holds no step.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    found: dict[str, dict[int, float]] = {}
    for line in lines:
        try:
            figures = json.loads(line)
            step = int(figures["step"])
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
        for name, value in figures.items():
            if name != "step" and isinstance(value, (int, float)):
                found.setdefault(name, {})[step] = float(value)
    if not found:
        raise DataError(f"{path}: holds no step; is it the log of mec-pretrain?")
    return {name: _series(values) for name, values in found.items()}


def _series(values: dict[int, float]) -> Series:
    steps = sorted(values)
    ordered = np.array([values[step] for step in steps])
    return np.array(steps, dtype=float), np.where(np.isfinite(ordered), ordered, np.nan)
