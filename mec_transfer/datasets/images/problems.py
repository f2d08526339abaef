"""What is wrong with the files of images, as far as their sizes and a sample tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.scan import file_names, is_image
from mec_transfer.datasets.values import few

_DECODED_PER_SPLIT = 16


def file_problems(root: Path, splits: Mapping[str, ImageList], index: Index) -> list[str]:
    """Return what keeps the data set from being used, one line each; empty when nothing was found.

    Looks at the names and sizes of all files and decodes 16 images of each split.
    """
    problems = [problem for images in splits.values() for problem in _file_problems(images, index)]
    if any(len(images.classes) == 1 and images.labels.ndim == 1 for images in splits.values()):
        problems.append(f"{root}: only one class; at least two are needed to tell apart")
    return problems


def sizes_of(images: ImageList, index: Index) -> np.ndarray:
    """Return the sizes in bytes, (N,) int64, as the index knows them."""
    return index.file_sizes(images.root, images.paths) if images.loose else images.sizes()


def _lies_in_place(path: Path) -> str:
    """Say which file has the name of one that is not there with another ending, or the ending in other letters."""
    there = [] if path.exists() else sorted(file_names(path.parent))
    like = next((name for name in there if Path(name).stem == path.stem and is_image(name)), None)
    return f" (in place of {path.name} there is {like})" if like else ""


def _file_problems(images: ImageList, index: Index) -> list[str]:
    sizes = sizes_of(images, index)
    problems = []
    for what, bad in (("empty (zero bytes)", sizes == 0), ("missing or a broken link", sizes < 0)):
        if bad.any():
            names = [images.paths[i] for i in np.flatnonzero(bad)]
            line = f"{images.root}: {len(names)} of {len(images)} images are {what}: {few(names)}"
            problems.append(line + _lies_in_place(images.root / names[0]))
    broken = []
    sample = [index for index in sample_indices(len(images), _DECODED_PER_SPLIT) if sizes[index] > 0]
    for place in sample:
        try:
            images.load(place)
        except DataError as error:
            broken.append(str(error))
    if broken:
        problems.append(f"{len(broken)} of {len(sample)} images tried are broken: {few(broken, 1)}")
    return problems
