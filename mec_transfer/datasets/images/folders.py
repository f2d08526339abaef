"""Opening a data set as it lies on disk.

Layout `imagefolder`: `train/<class>/*` and `val/<class>/*`, as torchvision's ImageFolder reads it. `val` may also
be the flat ILSVRC folder, its images without class folders, with a label file (`ilsvrc.py` says which). Either split
may be a folder of shards instead (`shards.py`), in which the images have the paths that they had below that split;
and the whole may lie as one of the archives in `_ARCHIVES` unpacks.
Layout `unlabelled`: every image below one folder, or in the tar shards that the folder holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.images.cifar import CifarLayout
from mec_transfer.datasets.images.data import ImageLayout
from mec_transfer.datasets.images.ilsvrc import read_flat_labels
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.inat2018 import INat2018Layout
from mec_transfer.datasets.images.places205 import Places205Layout
from mec_transfer.datasets.images.shards import INDEX, ShardedImages, holds_shards, open_shards, tar_names
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.scan import IMAGE_SUFFIXES, is_image
from mec_transfer.datasets.values import few

Split = Literal["train", "val"]
_KAGGLE_FOLDER = "ILSVRC/Data/CLS-LOC"
_ARCHIVES = (CifarLayout, Places205Layout, INat2018Layout)
"""Layouts of public data sets that are taken wherever class folders are."""
_OTHER_NAMES = {"train": ("training", "Train"), "val": ("valid", "validation", "test", "Val")}


def open_split(root: Path, split: Split, index: Index | None = None) -> ImageList:
    """List the images of a split with their labels: classes in sorted order, within a class sorted by path.

    The list's `root` is the split's own folder. Both splits must have the same classes. `index` knows the folders, or
    learns them.

    Raises:
        DataError: a split is missing or malformed; says which folder and what to do.
    """
    index = index or Index()
    train = _look(root, "train", index)
    return _open_val(root, train.classes, index) if split == "val" else _open_classes(train, index)


def open_splits(root: Path, index: Index | None = None) -> dict[str, ImageList]:
    """Return what `open_split` does for `train` and for `val`, each of which is read once. Raises DataError as it."""
    index = index or Index()
    train = _open_classes(_look(root, "train", index), index)
    return {"train": train, "val": _open_val(root, train.classes, index)}


def open_unlabelled(root: Path, index: Index | None = None) -> ImageList:
    """List every image below `root` or in its shards, sorted by path, without labels (-1).

    Raises:
        DataError: there is no image, or the shards are not whole.
    """
    if holds_shards(root):
        return open_shards(root)
    paths = _list_unlabelled(root, index or Index())
    if not paths:
        raise DataError(f"{root}: no image ({', '.join(IMAGE_SUFFIXES)}) below this folder")
    return _without_labels(root, paths)


def unlabelled_paths(root: Path) -> Sequence[str]:
    """Return the paths of what `open_unlabelled` opens; none where it would find no image."""
    return open_shards(root).paths if holds_shards(root) else _list_unlabelled(root, Index())


def list_classes(folder: Path, index: Index) -> dict[str, list[str]]:
    """Return the images of each class folder, relative to it: classes in sorted order, within a class sorted by path.

    Raises:
        DataError: there are no class folders, one is empty, or images lie beside them.
    """
    folders, files = index.list_folder(folder)
    if loose := [name for name in files if is_image(name)]:
        raise DataError(f"{folder}: {len(loose)} images lie beside the class folders ({few(loose, 3)}); move them away")
    if not folders:
        raise DataError(f"{folder}: no class folders in it; {folder.name}/<class>/* is needed")
    listed = {name: index.list_images(folder / name) for name in folders}
    if empty := [name for name, images in listed.items() if not images]:
        raise DataError(f"{folder}: no image in class folder {few(empty)}; fill it or remove it")
    return listed


class ImageFolderLayout(ImageLayout):
    """Training and validation images in folders of their classes."""

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return `train` and `val`, of a public archive too. Raises DataError."""
        archive = next((layout(self.name) for layout in _ARCHIVES if layout.holds(folder)), None)
        return archive.open_all(folder, index) if archive else open_splits(folder, index)

    def examine(self, config: DatasetConfig, folder: Path, index: Index) -> tuple[Data | None, list[str]]:
        """As every layout; the error of `train` does not hide that of `val`."""
        data, problems = super().examine(config, folder, index)
        if data is None and not any(layout.holds(folder) for layout in _ARCHIVES):
            try:
                open_split(folder, "val", index)
            except DataError as error:
                problems = list(dict.fromkeys([*problems, str(error)]))
        return data, problems


class UnlabelledLayout(ImageLayout):
    """Images alone, as files or in shards."""

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return the one split there is, which has no name. Raises DataError."""
        return {"": open_unlabelled(folder, index)}


@dataclasses.dataclass(frozen=True)
class _Split:
    """What lies in the folder of a split: class folders, or, of `val`, images without them."""

    folder: Path
    classes: Sequence[str]
    """Sorted."""
    loose: ImageList
    """The images that lie in no class folder, without labels."""
    sharded: ShardedImages | None
    """All images with their labels, where they lie in shards."""


def _look(root: Path, split: Split, index: Index) -> _Split:
    """Find the classes of a split."""
    if not root.is_dir():
        index.list_folder(root)  # names what is wrong
    folder = root / split
    if not folder.is_dir():
        raise DataError(f"{root}: no folder '{split}' in it{_explain_missing(root, split, index)}")
    folders, files = index.list_folder(folder)
    images = [name for name in files if is_image(name)]
    if INDEX in files:
        if folders or images:
            raise DataError(
                f"{folder}: holds {few([*folders, *images], 3)} beside its shards; move one or the other away"
            )
        found = _look_into(folder, open_shards(folder))
    else:
        found = _Split(folder, folders, _without_labels(folder, images), None)
    if found.classes and found.loose:
        raise DataError(
            f"{folder}: {len(found.loose)} images lie beside {len(found.classes)} class folders "
            f"({few(found.loose.paths, 3)}); move them into class folders or away"
        )
    if not found.classes and (split == "train" or not found.loose):
        raise DataError(f"{folder}: {_explain_no_classes(found, split, files)}")
    return found


def _look_into(folder: Path, images: ShardedImages) -> _Split:
    """Find the classes in a folder of shards, and order its images by them."""
    names = [path[: max(path.find("/"), 0)] for path in images.paths]
    loose = images.subset([index for index, name in enumerate(names) if not name])
    classes = sorted({*names} - {""})
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number.get(name, -1) for name in names], dtype=np.int64)
    order = np.argsort(labels, kind="stable")  # sorted by path alone, `cat-2/1` comes before `cat/1`
    labelled = dataclasses.replace(images.subset(order), labels=labels[order], classes=tuple(classes))
    return _Split(folder, classes, loose, labelled)


def _open_classes(split: _Split, index: Index) -> ImageList:
    """List the images in a split's class folders, with their labels."""
    if split.sharded is not None:
        return split.sharded
    listed = {name: index.list_images(split.folder / name) for name in split.classes}
    empty = [name for name, images in listed.items() if not images]
    if empty:
        raise DataError(
            f"{split.folder}: no image in class folder {few(empty)}; fill it or remove the class from both splits"
        )
    paths = tuple(f"{name}/{path}" for name, images in listed.items() for path in images)
    labels = np.repeat(np.arange(len(listed)), [len(images) for images in listed.values()])
    return ImageList(split.folder, paths, labels.astype(np.int64), tuple(split.classes))


def _open_val(root: Path, classes: Sequence[str], index: Index) -> ImageList:
    """List the images of `val`; `classes` are those of `train`."""
    val = _look(root, "val", index)
    if val.classes:
        _require_same_classes(root, classes, val.classes)
        return _open_classes(val, index)
    labels = read_flat_labels(root, val.loose.paths, classes)
    absent = sorted(set(range(len(classes))) - set(labels.tolist()))
    if absent:
        raise DataError(f"{val.folder}: no image of class {few(classes[i] for i in absent)}, which train has")
    return dataclasses.replace(val.loose, labels=labels, classes=tuple(classes))


def _require_same_classes(root: Path, train: Sequence[str], val: Sequence[str]) -> None:
    parts = []
    for only, where in ((set(train) - set(val), "train"), (set(val) - set(train), "val")):
        if only:
            parts.append(f"only in {where}: {few(sorted(only))}")
    if parts:
        raise DataError(f"{root}: train and val have different classes ({'; '.join(parts)})")


def _list_unlabelled(root: Path, index: Index) -> list[str]:
    paths = index.list_images(root)
    if sharded := [name for name in index.list_folder(root)[0] if INDEX in index.list_folder(root / name)[1]]:
        raise DataError(f"{root}: holds folders of shards ({few(sharded)}); give one of them, {root / sharded[0]}")
    return paths


def _without_labels(folder: Path, paths: Sequence[str]) -> ImageList:
    return ImageList(folder, tuple(paths), np.full(len(paths), -1, dtype=np.int64), ())


def _explain_no_classes(found: _Split, split: str, files: Sequence[str]) -> str:
    """Say what lies in a split's folder in place of class folders, and what to do about it."""
    tars = tar_names(files)
    if tars and found.sharded is None:
        return (
            f"holds {len(tars)} .tar files and no {INDEX}; unpack each into a folder of its own name, or bring the "
            f"{INDEX} of shards that `mec-transfer data shard` wrote"
        )
    lies = f"{len(found.loose)} images without class folders" if found.loose else "neither class folders nor images"
    return f"{lies}; {split}/<class>/* is needed"


def _explain_missing(root: Path, split: str, index: Index) -> str:
    """Say what was probably meant: another name of the split, or a folder below or above `root`."""
    if (root / INDEX).is_file():
        return "; it holds the shards of one split: they belong into a folder train or val, and both folders into DIR"
    for other in _OTHER_NAMES[split]:
        if (root / other).is_dir():
            return f", but '{other}'; rename or link it to '{split}'"
    below = [root / name for name in index.list_folder(root)[0]]
    for near in (*below, root / _KAGGLE_FOLDER, *root.resolve().parents[:2]):
        if (near / "train").is_dir() and (near / "val").is_dir():
            return f"; did you mean {near}?"
    return f"; {split}/<class>/* is needed"
