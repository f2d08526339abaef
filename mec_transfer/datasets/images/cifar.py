"""CIFAR-10 and CIFAR-100 as their archives for Python lie: images in pickled batches, of which no code is run.

Names, labels and pixels are those of torchvision's classes, and the order is that of the batches. An image is given
out as a PPM file, which is its pixels behind a line of text, so that whoever reads images reads these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from mec_transfer.common.errors import DataError, one_line
from mec_transfer.common.pickles import ArrayRef, InertUnpickler, to_array
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.images.data import ImageLayout
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.named import read_or_suggest
from mec_transfer.datasets.index import Index

_SIDE = 32
_NUMBERS = 3 * _SIDE * _SIDE
_HEADER = b"P6 %d %d 255\n" % (_SIDE, _SIDE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Edition:
    """How one of the two archives names things."""

    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    """The key of a batch's labels."""
    names: str
    """The key of the classes' names in the file `meta`."""


_EDITIONS = (
    _Edition(
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        meta="batches.meta",
        labels="labels",
        names="label_names",
    ),
    _Edition(
        folder="cifar-100-python",
        train=("train",),
        test="test",
        meta="meta",
        labels="fine_labels",
        names="fine_label_names",
    ),
)


@dataclasses.dataclass(frozen=True, eq=False)
class BatchImages(ImageList):
    """Images in memory, 3 kB each; an image's path is its batch's name and its place there."""

    loose: ClassVar[bool] = False
    pixels: np.ndarray
    """(N, 3072) uint8: 32 rows of 32 red values, then the green and the blue ones."""

    def read(self, index: int) -> bytes:
        """Return image `index` as the bytes of a PPM file."""
        planes = self.pixels[index].reshape(3, _SIDE, _SIDE)
        return _HEADER + planes.transpose(1, 2, 0).tobytes()

    def name(self, index: int) -> str:
        """Return the batch's path and the image's place in it."""
        batch, _, place = self.paths[index].partition("/")
        return f"{self.root / batch}: image {int(place)}"

    def sizes(self) -> np.ndarray:
        """Return the sizes of the PPM files in bytes, (N,) int64."""
        return np.full(len(self), len(_HEADER) + _NUMBERS, dtype=np.int64)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Return the images at `indices`, in that order, with the same classes."""
        return dataclasses.replace(super().subset(indices), pixels=self.pixels[np.asarray(indices, dtype=np.int64)])


class CifarLayout(ImageLayout):
    """`cifar-10-batches-py` or `cifar-100-python`, or a folder with one of them in it."""

    @staticmethod
    def holds(folder: Path) -> bool:
        """Whether `folder` is or holds what one of the two archives unpacks to."""
        return bool(_find(folder))

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return `train` and `val`, which CIFAR calls test. Raises DataError."""
        read_or_suggest(folder, _require_batches)
        return dict(_open_batches(folder))

    def adapt(self, config: DatasetConfig, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Take a folder of images, such as CIFAR written out as files, for data of one's own."""
        own = not self.holds(folder) and (folder / "train").is_dir()
        return ({"layout": "imagefolder"} if own else {}) | dict(settings)


def _open_batches(folder: Path) -> dict[str, BatchImages]:
    """Read both splits of a folder that holds batches: `train` and `val`.

    Raises:
        DataError: a batch is missing or not one; or there are both data sets.
    """
    found = _find(folder)
    if len(found) > 1:
        raise DataError(f"{folder}: holds {' and '.join(one.folder for one, _ in found)}; name one of them")
    edition, root = found[0]
    names = _load(root / edition.meta, edition.names)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < 2:
        raise _broken(root / edition.meta, f"'{edition.names}' is no list of names")
    return {
        split: _read_split(root, files, edition, tuple(names))
        for split, files in (("train", edition.train), ("val", (edition.test,)))
    }


def _require_batches(folder: Path) -> None:
    if not _find(folder):
        wanted = " or ".join(f"{edition.folder} ({edition.meta} and its batches)" for edition in _EDITIONS)
        raise DataError(f"{folder}: neither is nor holds {wanted}; unpack the archive for Python there")


def _find(folder: Path) -> list[tuple[_Edition, Path]]:
    places = [(edition, root) for edition in _EDITIONS for root in (folder, folder / edition.folder)]
    return [(edition, root) for edition, root in places if (root / edition.meta).is_file()]


def _read_split(root: Path, files: Sequence[str], edition: _Edition, classes: tuple[str, ...]) -> BatchImages:
    pixels, labels, paths = [], [], []
    for file in files:
        data, numbers = _load(root / file, "data", edition.labels)
        if not isinstance(data, ArrayRef) or not isinstance(numbers, list):
            raise _broken(root / file, "its images are no array, or its labels no list")
        if wrong := [label for label in numbers if type(label) is not int or not 0 <= label < len(classes)]:
            raise _broken(root / file, f"label {wrong[0]!r:.40} of {len(classes)} classes")
        images = _array(root / file, data)
        if images.dtype != np.uint8 or images.shape != (len(numbers), _NUMBERS):
            raise _broken(root / file, f"{len(numbers)} labels, and images of shape {images.shape}")
        pixels.append(images)
        labels += numbers
        paths += [f"{file}/{place:05d}" for place in range(len(numbers))]
    return BatchImages(root, tuple(paths), np.array(labels, dtype=np.int64), classes, np.concatenate(pixels))


def _load(path: Path, *keys: str) -> Any:
    """Return the values of a pickled dict, a tuple of them for several keys; arrays and objects are inert."""
    try:
        with path.open("rb") as file:
            content = InertUnpickler(file).load()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise _broken(path, one_line(error)) from None
    if not isinstance(content, dict) or (missing := [key for key in keys if key not in content]):
        raise _broken(path, f"has no '{missing[0]}'" if isinstance(content, dict) else "holds no dict")
    values = tuple(content[key] for key in keys)
    return values if len(values) > 1 else values[0]


def _array(path: Path, data: ArrayRef) -> np.ndarray:
    try:
        return to_array(data)
    except Exception as error:
        raise _broken(path, one_line(error)) from None


def _broken(path: Path, why: str) -> DataError:
    return DataError(f"{path}: not one of CIFAR's files, or damaged ({why}); unpack the archive again")
