"""Opening a data set as it lies on disk.

Layout `imagefolder`: `train/<class>/*` and `val/<class>/*`, as torchvision's ImageFolder reads it. `val` may also
be the flat ILSVRC folder, its images without class folders, with a label file (`ilsvrc.py` says which).
Layout `unlabelled`: every image below one folder, or in the tar shards that the folder holds (`shards.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from mec_transfer.common.errors import DataError, did_you_mean
from mec_transfer.datasets.decode import decode_rgb
from mec_transfer.datasets.images.ilsvrc import read_flat_labels
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.shards import ShardedImages, holds_shards, open_shards
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.scan import IMAGE_SUFFIXES, is_image

LAYOUTS = ("imagefolder", "unlabelled")

Split = Literal["train", "val"]
_DECODED_PER_SPLIT = 16
_KAGGLE_FOLDER = "ILSVRC/Data/CLS-LOC"
_OTHER_NAMES = {"train": ("training", "Train"), "val": ("valid", "validation", "test", "Val")}


def open_split(root: Path, layout: str, split: Split, index: Index | None = None) -> ImageList:
    """List the images of a split with their labels: classes in sorted order, within a class sorted by path.

    The list's `root` is the split's own folder. Both splits must have the same classes. `index` knows the folders, or
    learns them.

    Raises:
        DataError: a split is missing or malformed; says which folder and what to do.
    """
    if layout != "imagefolder":
        raise DataError(f"layout '{layout}' has no split '{split}'.{did_you_mean(layout, LAYOUTS)} Use 'imagefolder'.")
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


def open_all(root: Path, layout: str, index: Index | None = None) -> Mapping[str, ImageList | ShardedImages]:
    """Return every split of a data set by name; for `unlabelled` the one split is called "". Raises DataError."""
    if layout == "unlabelled":
        return {"": open_unlabelled(root, index)}
    if layout not in LAYOUTS:
        raise DataError(f"'{layout}' is not a layout.{did_you_mean(layout, LAYOUTS)} There are: {', '.join(LAYOUTS)}.")
    index = index or Index()
    return {"train": open_split(root, layout, "train", index), "val": open_split(root, layout, "val", index)}


def find_problems(root: Path, layout: str) -> list[str]:
    """Return what keeps the data set from being used, one line each; empty when nothing was found.

    Looks at the names and sizes of all files and decodes 16 images of each split.
    """
    try:
        splits = open_all(root, layout)
    except DataError as first:
        return _all_errors(root, layout, str(first))
    return file_problems(root, splits, Index())


def file_problems(root: Path, splits: Mapping[str, ImageList | ShardedImages], index: Index) -> list[str]:
    """Return what `find_problems` does, of splits that are open already."""
    problems = [problem for images in splits.values() for problem in _file_problems(images, index)]
    if any(len(images.classes) == 1 for images in splits.values()):
        problems.append(f"{root}: only one class; at least two are needed to tell apart")
    return problems


def sizes_of(images: ImageList | ShardedImages, index: Index) -> np.ndarray:
    """Return the sizes in bytes, (N,) int64, as the index knows them."""
    return index.file_sizes(images.root, images.paths) if isinstance(images, ImageList) else images.sizes()


def few(names: Iterable[str], shown: int = 5) -> str:
    """Return the first of `names`, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(islice(listed, shown)) + more


def _all_errors(root: Path, layout: str, first: str) -> list[str]:
    """The error of `train` must not hide that of `val`."""
    problems = [first]
    if layout == "imagefolder":
        try:
            open_split(root, layout, "val")
        except DataError as error:
            problems.append(str(error))
    return list(dict.fromkeys(problems))


def _file_problems(images: ImageList | ShardedImages, index: Index) -> list[str]:
    sizes = sizes_of(images, index)
    problems = []
    for what, bad in (("empty (zero bytes)", sizes == 0), ("missing or a broken link", sizes < 0)):
        if bad.any():
            names = [images.paths[i] for i in np.flatnonzero(bad)]
            problems.append(f"{images.root}: {len(names)} of {len(images)} images are {what}: {few(names)}")
    broken = []
    sample = [index for index in sample_indices(len(images), _DECODED_PER_SPLIT) if sizes[index] > 0]
    for place in sample:
        try:
            decode_rgb(images.read(place), images.name(place))
        except DataError as error:
            broken.append(str(error))
    if broken:
        problems.append(f"{len(broken)} of {len(sample)} images tried are broken: {few(broken, 1)}")
    return problems


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
