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
        DataError: a split that was chosen, or any of a usual name, is not there, or what would be trained on has the
            images to measure on in it.
    """
    test = settings.get("test") or next((name for name in usual_test if name in names), None)
    train = settings.get("train") or [name for name in rank_train(usual_train, test) if name in names][:1]
    for what, name in (("train", next(iter(train), None)), ("test", test)):
        if name not in names:
            lacking = f"has no split '{name}'" if name else "has no split of a usual name"
            raise DataError(
                f"{folder}: {lacking} to {what} on; it has {', '.join(names)}: name one with --{what}, or with "
                f"dataset.{what} in a suite"
            )
    if not settings.get("train") and test in train[0]:
        raise DataError(
            f"{folder}: '{train[0]}' has the images of '{test}' in it; of {', '.join(names)} name one with --train and "
            "one with --test, or with dataset.train and dataset.test in a suite"
        )
    return {"train": list(train), "test": test, "classes": list(settings.get("classes", ()))}


def rank_train(usual: Sequence[str], test: str | None) -> list[str]:
    """Return names of splits to train on, the best one first; what holds the split `test`, as trainval val, is last."""
    return sorted(usual, key=lambda name: test is not None and test in name)
