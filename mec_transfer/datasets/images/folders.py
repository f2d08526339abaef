"""Opening a data set as it lies on disk.

Layout `imagefolder`: `train/<class>/*` and `val/<class>/*`, as torchvision's ImageFolder reads it. `val` may also
be the flat ILSVRC folder, its images without class folders, with a label file (`ilsvrc.py` says which).
Layout `unlabelled`: every image below one folder, or in the tar shards that the folder holds (`shards.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.images.data import ImageLayout
from mec_transfer.datasets.images.ilsvrc import read_flat_labels
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.shards import ShardedImages, holds_shards, open_shards
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.scan import IMAGE_SUFFIXES, is_image
from mec_transfer.datasets.values import few

Split = Literal["train", "val"]
_KAGGLE_FOLDER = "ILSVRC/Data/CLS-LOC"
_OTHER_NAMES = {"train": ("training", "Train"), "val": ("valid", "validation", "test", "Val")}


def open_split(root: Path, split: Split, index: Index | None = None) -> ImageList:
    """List the images of a split with their labels: classes in sorted order, within a class sorted by path.

    The list's `root` is the split's own folder. Both splits must have the same classes. `index` knows the folders, or
    learns them.

    Raises:
        DataError: a split is missing or malformed; says which folder and what to do.
    """
    index = index or Index()
    classes = _class_folders(root, "train", index)
    if split == "val":
        found = _class_folders(root, "val", index, flat=True)
        if not found:
            return _open_flat(root, classes, index)
        _require_same_classes(root, classes, found)
    folder = root / split
    listed = {name: index.list_images(folder / name) for name in classes}
    empty = [name for name, images in listed.items() if not images]
    if empty:
        raise DataError(
            f"{folder}: no image in class folder {few(empty)}; fill it or remove the class from both splits"
        )
    paths = tuple(f"{name}/{path}" for name, images in listed.items() for path in images)
    labels = np.repeat(np.arange(len(classes)), [len(images) for images in listed.values()])
    return ImageList(folder, paths, labels.astype(np.int64), tuple(classes))


def open_unlabelled(root: Path, index: Index | None = None) -> ImageList | ShardedImages:
    """List every image below `root` or in its shards, sorted by path, without labels (-1).

    Raises:
        DataError: there is no image, or the shards are not whole.
    """
    if holds_shards(root):
        return open_shards(root)
    paths = tuple((index or Index()).list_images(root))
    if not paths:
        raise DataError(f"{root}: no image ({', '.join(IMAGE_SUFFIXES)}) below this folder")
    return ImageList(root, paths, np.full(len(paths), -1, dtype=np.int64), ())


def unlabelled_paths(root: Path) -> Sequence[str]:
    """Return the paths of what `open_unlabelled` opens; none where it would find no image."""
    return open_shards(root).paths if holds_shards(root) else Index().list_images(root)


class ImageFolderLayout(ImageLayout):
    """Training and validation images in folders of their classes."""

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList | ShardedImages]:
        """Return `train` and `val`. Raises DataError."""
        return {"train": open_split(folder, "train", index), "val": open_split(folder, "val", index)}

    def examine(self, config: DatasetConfig, folder: Path, index: Index) -> tuple[Data | None, list[str]]:
        """As every layout; the error of `train` does not hide that of `val`."""
        data, problems = super().examine(config, folder, index)
        if data is None:
            try:
                open_split(folder, "val", index)
            except DataError as error:
                problems = list(dict.fromkeys([*problems, str(error)]))
        return data, problems


class UnlabelledLayout(ImageLayout):
    """Images alone, as files or in shards."""

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList | ShardedImages]:
        """Return the one split there is, which has no name. Raises DataError."""
        return {"": open_unlabelled(folder, index)}


def _class_folders(root: Path, split: Split, index: Index, flat: bool = False) -> list[str]:
    """The names of a split's class folders. With `flat`, none is allowed where images lie in the split itself."""
    if not root.is_dir():
        index.list_folder(root)  # names what is wrong
    folder = root / split
    if not folder.is_dir():
        raise DataError(f"{root}: no folder '{split}' in it{_explain_missing(root, split, index)}")
    classes, files = index.list_folder(folder)
    loose = [name for name in files if is_image(name)]
    if classes and loose:
        raise DataError(
            f"{folder}: {len(loose)} images lie beside {len(classes)} class folders ({few(loose, 3)}); "
            "move them into class folders or away"
        )
    if classes or (flat and loose):
        return classes
    tars = [name for name in files if name.endswith(".tar")]
    if tars:
        raise DataError(f"{folder}: holds {len(tars)} .tar files; unpack each into a folder of its own name")
    found = f"{len(loose)} images without class folders" if loose else "neither class folders nor images"
    raise DataError(f"{folder}: {found}; {split}/<class>/* is needed")


def _require_same_classes(root: Path, train: list[str], val: list[str]) -> None:
    parts = []
    for only, where in ((set(train) - set(val), "train"), (set(val) - set(train), "val")):
        if only:
            parts.append(f"only in {where}: {few(sorted(only))}")
    if parts:
        raise DataError(f"{root}: train and val have different classes ({'; '.join(parts)})")


def _open_flat(root: Path, classes: list[str], index: Index) -> ImageList:
    names = [name for name in index.list_folder(root / "val")[1] if is_image(name)]
    labels = read_flat_labels(root, names, classes)
    absent = sorted(set(range(len(classes))) - set(labels.tolist()))
    if absent:
        raise DataError(f"{root / 'val'}: no image of class {few(classes[i] for i in absent)}, which train has")
    return ImageList(root / "val", tuple(names), labels, tuple(classes))


def _explain_missing(root: Path, split: str, index: Index) -> str:
    """Say what was probably meant: another name of the split, or a folder below or above `root`."""
    for other in _OTHER_NAMES[split]:
        if (root / other).is_dir():
            return f", but '{other}'; rename or link it to '{split}'"
    below = [root / name for name in index.list_folder(root)[0]]
    for near in (*below, root / _KAGGLE_FOLDER, *root.resolve().parents[:2]):
        if (near / "train").is_dir() and (near / "val").is_dir():
            return f"; did you mean {near}?"
    return f"; {split}/<class>/* is needed"
