"""Whether there is anything to learn from and anything to measure on: a score of nothing is no score, and not 0."""

from __future__ import annotations

import numpy as np

from mec_transfer.benchmark import Problem
from mec_transfer.datasets.objects.annotation import ObjectAnnotation
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.values import few


def check_sufficiency(train: ObjectSplit, test: ObjectSplit) -> list[Problem]:
    """Return an error for a split without an object that counts, and a warning for each class that lacks one.

    To learn from, every object counts that is no crowd; to measure on, one that is not difficult either. The errors
    say what became of the rows.
    """
    things = train.table.objects
    learnt = set(things.class_index[~things.crowd].tolist())
    things = test.table.objects
    measured = set(things.class_index[~(things.crowd | things.difficult)].tolist())
    errors = [
        Problem(
            message=f"split '{split.name}': has nothing to {what} ({_account(split)}); "
            "name another split, or mend its annotations"
        )
        for split, counted, what in ((train, learnt, "learn from"), (test, measured, "measure on"))
        if not counted
    ]
    return errors or [
        *_lacking(train, learnt, "to learn from, so that none is found and their AP is 0"),
        *_lacking(test, measured, "to measure on: AP is the mean over the others"),
    ]


def is_measured(thing: ObjectAnnotation) -> bool:
    """Whether an object has to be found: neither a crowd nor difficult."""
    return not (thing.crowd or thing.difficult)


def _lacking(split: ObjectSplit, counted: set[int], what: str) -> list[Problem]:
    names = [name for index, name in enumerate(split.classes) if index not in counted]
    if not names:
        return []
    message = f"split '{split.name}': {len(names)} of {len(split.classes)} classes have no object {what} ({few(names)})"
    return [Problem(message=message, severity="warning")]


def _account(split: ObjectSplit) -> str:
    """Say what the split holds and what became of it: images, crowds, difficult objects, what was left out."""
    things = split.table.objects
    counts = [
        f"{len(split.images)} images, {(np.diff(split.table.first) == 0).sum()} of them without an object",
        f"{len(things)} objects",
        f"{things.crowd.sum()} of them crowds",
        f"{things.difficult.sum()} difficult",
        f"{len(split.skipped)} annotations left out as broken",
    ]
    return ", ".join(counts) + (f", the first: {split.skipped[0]}" if split.skipped else "")
