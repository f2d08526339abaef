"""Labels of a flat validation folder: the files that people really have beside ImageNet's 50,000 loose images.

Looked for by name, in this order, in the data set's folder, its `val`, and the folder above:

- `imagenet_2012_validation_synset_labels.txt`: one wnid a line, in the order of the sorted image names.
- `LOC_val_solution.csv` (Kaggle): `ImageId,PredictionString` and then `name,wnid x y x y ...`.
- `val.txt`, `val_labels.txt`: `name wnid` or `name index`, a blank, a tab or a comma between; the index counts the
  sorted classes from 0 (Caffe).
- `ILSVRC2012_validation_ground_truth.txt` (devkit): ILSVRC's own ids from 1, which are *not* in the order of the
  sorted wnids; needs `ILSVRC2012_id_to_wnid.txt` beside it, one `id wnid` a line (the devkit's meta.mat has them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import read_lines

ID_TO_WNID = "ILSVRC2012_id_to_wnid.txt"


def find_label_file(root: Path) -> Path | None:
    """Return the label file of a flat `val`, or None."""
    folders = [root, root / "val", root.parent]
    if root.parts[-3:] == ("ILSVRC", "Data", "CLS-LOC"):
        folders.append(root.parents[2])  # where Kaggle's archive puts its csv
    found = (folder / name for name in _READERS for folder in folders if (folder / name).is_file())
    return next(found, None)


def find_label_files(root: Path) -> list[Path]:
    """Return the files that say the labels of a flat `val`; none where there are none."""
    file = find_label_file(root)
    if file is None:
        return []
    mapping = file.with_name(ID_TO_WNID)
    return [file, mapping] if _READERS[file.name] is _read_devkit and mapping.is_file() else [file]


def read_flat_labels(root: Path, names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return the labels, (N,) int64, of the images `names` (sorted) of the flat folder root/val.

    Raises:
        DataError: no label file, a malformed line (with its number), an unknown class, or names that do not agree.
    """
    file = find_label_file(root)
    if file is None:
        raise DataError(
            f"{root / 'val'}: {len(names)} images without class folders and no label file; sort them into class "
            f"folders, or put one of {', '.join(_READERS)} into {root}"
        )
    number = {name: i for i, name in enumerate(classes)}
    wanted = set(names)
    labels: dict[str, int] = {}
    lines: dict[str, int] = {}
    for line, name, label in _READERS[file.name](file, names, number):
        if name in lines:
            raise DataError(f"{file}, line {line}: {name} stands on line {lines[name]} already")
        if name not in wanted:
            raise DataError(f"{file}, line {line}: {name} is not in {root / 'val'}")
        labels[name], lines[name] = label, line
    missing = [name for name in names if name not in labels]
    if missing:
        raise DataError(f"{file}: no label for {len(missing)} of the {len(names)} images, first {missing[0]}")
    return np.array([labels[name] for name in names], dtype=np.int64)


_Labels = Iterator[tuple[int, str, int]]  # line, image name, class number
_Reader = Callable[[Path, Sequence[str], dict[str, int]], _Labels]


def _read_in_order(file: Path, names: Sequence[str], number: dict[str, int]) -> _Labels:
    for name, (line, wnid) in _one_each(file, names):
        yield line, name, _class_number(file, line, wnid, number)


def _read_kaggle(file: Path, names: Sequence[str], number: dict[str, int]) -> _Labels:
    suffix = PurePosixPath(names[0]).suffix  # the csv names images without it
    for line, text in _lines(file):
        name, _, prediction = text.partition(",")
        if name == "ImageId":
            continue
        if not prediction.split():
            raise DataError(f"{file}, line {line}: 'name,wnid x y x y ...' is needed, found {text!r}")
        yield line, name + suffix, _class_number(file, line, prediction.split()[0], number)


def _read_pairs(file: Path, names: Sequence[str], number: dict[str, int]) -> _Labels:
    for line, text in _lines(file):
        name, _, label = text.rpartition(" " if " " in text else ",")
        if not name:
            raise DataError(f"{file}, line {line}: 'name wnid' or 'name index' is needed, found {text!r}")
        if label in number or not label.isdecimal():
            label_number = _class_number(file, line, label, number)
        elif float(label) < len(number):  # `int` refuses thousands of digits in words of its own
            label_number = int(label)
        else:
            raise DataError(f"{file}, line {line}: index {label}, but train has {len(number)} classes, counted from 0")
        yield line, name.rstrip(" ,").rpartition("/")[2], label_number


def _read_devkit(file: Path, names: Sequence[str], number: dict[str, int]) -> _Labels:
    mapping = file.with_name(ID_TO_WNID)
    if not mapping.is_file():
        raise DataError(
            f"{file}: holds ILSVRC's own ids, which are not in the order of the sorted wnids; put {ID_TO_WNID} beside "
            "it, one 'id wnid' a line (from the devkit's meta.mat), or use another label file"
        )
    wnids: dict[str, str] = {}
    for line, text in _lines(mapping):
        identity, _, wnid = text.partition(" ")
        if not identity.isdecimal() or not wnid.strip() or identity in wnids:
            raise DataError(f"{mapping}, line {line}: 'id wnid' is needed, each id once, found {text!r}")
        wnids[identity] = wnid.strip()
    for name, (line, identity) in _one_each(file, names):
        if identity not in wnids:
            raise DataError(f"{file}, line {line}: id {identity!r} is not in {mapping.name}")
        yield line, name, _class_number(file, line, wnids[identity], number)


def _one_each(file: Path, names: Sequence[str]) -> Iterator[tuple[str, tuple[int, str]]]:
    lines = list(_lines(file))
    if len(lines) != len(names):
        raise DataError(f"{file}: {len(lines)} labels for {len(names)} images in val; they must be as many")
    return zip(names, lines)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    for line, content in read_lines(file):
        yield line, content.replace("\t", " ").rstrip(" ,;").lstrip().replace("\\", "/")


def _class_number(file: Path, line: int, wnid: str, number: dict[str, int]) -> int:
    if wnid not in number:
        raise DataError(f"{file}, line {line}: class {wnid!r} is not a class folder of train")
    return number[wnid]


_READERS: dict[str, _Reader] = {
    "imagenet_2012_validation_synset_labels.txt": _read_in_order,
    "LOC_val_solution.csv": _read_kaggle,
    "val.txt": _read_pairs,
    "val_labels.txt": _read_pairs,
    "ILSVRC2012_validation_ground_truth.txt": _read_devkit,
}
