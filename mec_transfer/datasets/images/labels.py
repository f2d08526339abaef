"""Which training images keep their label in semi-supervised finetuning.

Three sources: SimCLR's published lists (ImageNet at 1 % and 10 %), a class-balanced split drawn with a seed (other
data sets and shares), or a file of names. What is not the published list says so in its `note`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from fractions import Fraction
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import read_lines
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.simclr import PUBLISHED, read_published

_SHOWN = 3
"""How many classes a note names, where there are many."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LabelSubset:
    """The chosen images of a training split."""

    indices: np.ndarray
    """(N,) int64 into the training list, rising."""
    name: str
    """As asked for: "1%", or the file's name."""
    note: str
    """What makes it other than the published list; "" when it is the published one."""
    sha256: str
    """The sha256 of the chosen paths, sorted, one a line."""


def label_subset(train: ImageList, labels: str, *, dataset: str, root: Path, seed: int) -> LabelSubset:
    """Choose the labelled images.

    Args:
        train: the training split.
        labels: a share such as "1%" or "10%", or the path of a file of image names.
        dataset: the data set's name; "imagenet" means the published lists for 1 % and 10 %.
        root: the data set's folder, near which the published lists are looked for.
        seed: of a drawn split; the published lists and files do not depend on it.

    Raises:
        DataError: the share is not one, a list is missing or not as published, a name is unknown or stands twice.
    """
    name, note = labels, ""
    if dataset == "imagenet" and labels in PUBLISHED:
        indices = _published_indices(train, labels, root)
    elif labels.endswith("%"):
        indices = balanced_indices(train, _share(labels), seed)
        note = f"class-balanced split drawn with seed {seed}, not a published list"
    else:
        indices = _listed_indices(train, Path(labels))
        name = Path(labels).name
        note = f"labels listed in {name}, not a published list"
        labelled = set(train.labels[indices].tolist())
        if bare := [label for number, label in enumerate(train.classes) if number not in labelled]:
            shown = ", ".join(bare[:_SHOWN]) + (", ..." if len(bare) > _SHOWN else "")
            note += f"; {len(bare)} of {len(train.classes)} classes have no label in it ({shown})"
    chosen = sorted(train.paths[i] for i in indices)
    digest = hashlib.sha256(b"".join(os.fsencode(path) + b"\n" for path in chosen))
    return LabelSubset(indices=indices, name=name, note=note, sha256=digest.hexdigest())


def balanced_indices(train: ImageList, share: Fraction, seed: int) -> np.ndarray:
    """Draw `share` of each class: (N,) int64, rising.

    Of n images a class keeps round(share * n), a half rounded up, and never less than one. Images are ranked by a
    hash of seed and path, so that a smaller share is part of a larger one, as in the published lists, and a class
    does not depend on the others, nor on any library's random numbers.
    """
    ranks = [hashlib.sha256(f"{seed}/".encode() + os.fsencode(path)).digest() for path in train.paths]
    members: dict[int, list[int]] = {}
    for index, label in enumerate(train.labels.tolist()):
        members.setdefault(label, []).append(index)
    chosen: list[int] = []
    for indices in members.values():
        keep = max(1, int(share * len(indices) + Fraction(1, 2)))
        chosen += sorted(indices, key=ranks.__getitem__)[:keep]
    return np.array(sorted(chosen), dtype=np.int64)


def _share(labels: str) -> Fraction:
    try:
        share = Fraction(labels[:-1].strip()) / 100
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise DataError(f"labels {labels!r}: a share above 0% and up to 100% is needed, or the path of a file")
    return share


def _published_indices(train: ImageList, labels: str, root: Path) -> np.ndarray:
    names = read_published(labels, root)
    by_name = {path.rpartition("/")[2]: index for index, path in enumerate(train.paths)}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise DataError(
            f"{train.root}: {len(missing)} of the {len(names)} images in SimCLR's {labels} list are missing, first "
            f"{missing[0]}; the published protocol needs the whole training set under its own file names"
        )
    return np.array(sorted(by_name[name] for name in names), dtype=np.int64)


def _listed_indices(train: ImageList, file: Path) -> np.ndarray:
    """Read a file of image names, with or without the class folder; empty lines and those after "#" are skipped."""
    try:
        file.stat()
    except (OSError, ValueError):  # a name too long, or with a zero in it, is no file either
        raise DataError(f"labels {str(file)!r}: neither a share such as 10% nor a file") from None
    by_path = {path: index for index, path in enumerate(train.paths)}
    by_name: dict[str, list[int]] = {}
    for index, path in enumerate(train.paths):
        by_name.setdefault(path.rpartition("/")[2], []).append(index)
    first_line: dict[int, int] = {}
    for line, text in read_lines(file):
        name = text.strip()
        if name.startswith("#"):
            continue
        if name not in by_path and name not in by_name:  # as a spreadsheet or another system writes it
            name = name.rstrip(",; ").replace("\\", "/")
        found = [by_path[name]] if name in by_path else by_name.get(name, [])
        if not found:
            raise DataError(f"{file}, line {line}: {name!r} is not an image of {train.root}")
        if len(found) > 1:
            raise DataError(
                f"{file}, line {line}: {name!r} stands for {len(found)} images; write the class folder too, "
                f"for instance {train.paths[found[0]]}"
            )
        if found[0] in first_line:
            raise DataError(f"{file}, line {line}: {name!r} stands on line {first_line[found[0]]} already")
        first_line[found[0]] = line
    if not first_line:
        raise DataError(f"{file}: names no image")
    return np.array(sorted(first_line), dtype=np.int64)
