"""Which splits of a folder of one's own are trained on and measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import DataError


def choose_splits(
    folder: Path,
    names: Sequence[str],
    settings: Mapping[str, Any],
    usual_train: Sequence[str],
    usual_test: Sequence[str],
) -> dict[str, Any]:
    """Return `train`, `test` and `classes`: those that the user chose, else the splits of usual names.

    Args:
        folder: the user's.
        names: the splits that it has.
        settings: what the user chose: `train` (a list), `test`, `classes`.
        usual_train: names of splits to train on, the first one that is there being taken.
        usual_test: the same of splits to measure on.

    Raises:
        DataError: a split that was chosen, or any of a usual name, is not there.
    """
    train = settings.get("train") or [name for name in usual_train if name in names][:1]
    test = settings.get("test") or next((name for name in usual_test if name in names), None)
    for what, name in (("train", next(iter(train), None)), ("test", test)):
        if name not in names:
            lacking = f"has no split '{name}'" if name else "has no split of a usual name"
            raise DataError(
                f"{folder}: {lacking} to {what} on; it has {', '.join(names)}: name one with --{what}, or with "
                f"dataset.{what} in a suite"
            )
    return {"train": list(train), "test": test, "classes": list(settings.get("classes", ()))}
