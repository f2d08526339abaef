"""Images that the official lists of a data set name: where they lie, their classes, and which are for what.

Layouts of the transfer benchmarks, as the archives unpack (and as torchvision's classes read them). `train` holds what
may be learnt from, in the lists' order; where a data set has a validation part of its own, its images come last and
`ImageData.held_out` marks them. `val` is the part that is measured on, which these data sets call `test`. Each layout's
own folder is the one that its docstring shows.
"""

from __future__ import annotations

import abc
import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common import extras
from mec_transfer.common.errors import DataError, one_line
from mec_transfer.datasets.annotations import malformed, read_lines, read_text
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.images.data import ImageData, ImageLayout
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.named import check_named, read_or_suggest
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.values import few

Named = list[tuple[str, str]]
"""Images of a part in the list's order: path below the data set's folder, and the class's name."""


@dataclasses.dataclass(frozen=True)
class Lists:
    """What the lists of a data set say."""

    train: Named
    test: Named
    validation: Named | None = None
    """None where the data set has no such part."""
    classes: Sequence[str] | None = None
    """In their order; None for those of the training images, sorted."""


class ListedLayout(ImageLayout):
    """A layout whose lists name the images: a subclass reads the lists."""

    @abc.abstractmethod
    def read_lists(self, folder: Path) -> Lists:
        """Read the lists. Raises DataError where one is missing or malformed; says which and where."""

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return `train`, with the images for validation at its end, and `val`. Raises DataError."""
        return _open(folder, read_or_suggest(folder, self.read_lists))

    def open(self, config: DatasetConfig, folder: Path, index: Index) -> ImageData:
        """Read the lists and mark the images for validation. Raises DataError."""
        lists = read_or_suggest(folder, self.read_lists)
        data = ImageData(config, folder, _open(folder, lists), index)
        if lists.validation is not None:
            data.held_out = np.arange(len(data.images["train"])) >= len(lists.train)
        return data


class AircraftLayout(ListedLayout):
    """FGVC-Aircraft's 100 variants: `data/images_variant_{train,val,test}.txt`, `data/images/*.jpg`."""

    def read_lists(self, folder: Path) -> Lists:
        """Read lines such as `1025794 707-320`."""
        train, val, test = (
            [
                (f"data/images/{name}.jpg", variant)
                for name, variant in _fields(folder / f"data/images_variant_{part}.txt")
            ]
            for part in ("train", "val", "test")
        )
        return Lists(train, test, val)


class Caltech101Layout(ListedLayout):
    """Caltech 101: `101_ObjectCategories/<class>/*.jpg`, with the `train.txt` and `test.txt` of a published split.

    The archive has no split. Lines of the lists are those of ssl-transfer's: `accordion/image_0001.jpg 2`.
    """

    def read_lists(self, folder: Path) -> Lists:
        """Read both lists; the number after a path is not looked at."""
        name = "101_ObjectCategories"
        below = (f"{archive}/{name}" for archive in ("caltech101", "caltech-101"))
        images = next((path for path in below if (folder / path).is_dir()), name)
        train, test = (
            [(f"{images}/{path}", _parent(folder / f"{part}.txt", path)) for path, _ in _fields(folder / f"{part}.txt")]
            for part in ("train", "test")
        )
        return Lists(train, test)


class CarsLayout(ListedLayout):
    """Stanford Cars: `cars_{train,test}/*.jpg`, `devkit/cars_train_annos.mat`, `cars_test_annos_withlabels.mat`.

    The last one lies in the folder itself, or in `devkit`. Classes are called by their numbers.
    """

    def read_lists(self, folder: Path) -> Lists:
        """Read both lists."""
        labelled = "cars_test_annos_withlabels.mat"
        beside = folder / labelled
        files = {
            "train": folder / "devkit/cars_train_annos.mat",
            "test": beside if beside.exists() else folder / "devkit" / labelled,
        }
        parts = {part: self._read(file, f"cars_{part}") for part, file in files.items()}
        return Lists(parts["train"], parts["test"], classes=_numbers(parts["train"]))

    def _read(self, file: Path, images: str) -> Named:
        rows = np.atleast_1d(_mat(file, "annotations"))
        if not {"fname", "class"} <= set(rows.dtype.names or ()):
            raise DataError(f"{file}: its annotations have no 'fname' and 'class': the list with labels is needed")
        labels = _whole_numbers(file, "class", rows["class"])
        return [(f"{images}/{name}", str(label)) for name, label in zip(rows["fname"], labels, strict=True)]


class DtdLayout(ListedLayout):
    """DTD: `images/<texture>/*.jpg`, and of its ten splits the first, `labels/{train,val,test}1.txt`."""

    def read_lists(self, folder: Path) -> Lists:
        """Read lines such as `banded/banded_0002.jpg`."""
        train, val, test = (
            [(f"images/{line}", _parent(file, line)) for line in _lines(file)]
            for file in (folder / f"labels/{part}1.txt" for part in ("train", "val", "test"))
        )
        return Lists(train, test, val)


class FlowersLayout(ListedLayout):
    """Oxford Flowers 102: `jpg/image_*.jpg`, `imagelabels.mat`, `setid.mat`. Classes are called by their numbers."""

    def read_lists(self, folder: Path) -> Lists:
        """Read the numbers of the images of each part, from 1, and the label of each image."""
        of_labels, of_parts = folder / "imagelabels.mat", folder / "setid.mat"
        labels = _whole_numbers(of_labels, "labels", _mat(of_labels, "labels"))
        parts = []
        for key in ("trnid", "valid", "tstid"):
            numbers = _whole_numbers(of_parts, key, _mat(of_parts, key))
            if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= len(labels):
                raise DataError(f"{of_parts}: '{key}' names images beyond the {len(labels)} labels")
            parts.append([(f"jpg/image_{number:05d}.jpg", str(labels[number - 1])) for number in numbers])
        train, val, test = parts
        return Lists(train, test, val, _numbers(train))


class FoodLayout(ListedLayout):
    """Food-101: `images/<class>/*.jpg`, `meta/{train,test}.json`, `meta/classes.txt`."""

    def read_lists(self, folder: Path) -> Lists:
        """Read the images of each class, the classes in their own list's order."""
        classes = list(dict.fromkeys(_lines(folder / "meta/classes.txt")))
        train, test = (self._read(folder / f"meta/{part}.json", classes) for part in ("train", "test"))
        return Lists(train, test, classes=classes)

    def _read(self, file: Path, classes: Sequence[str]) -> Named:
        with malformed(file):
            listed = json.loads(read_text(file))
        if not isinstance(listed, dict) or set(listed) != set(classes):
            raise DataError(f"{file}: does not have the classes of classes.txt")
        for name, images in listed.items():
            if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
                raise DataError(f"{file}: '{name}' is no list of images such as '{name}/1005755'")
        return [(f"images/{image}.jpg", name) for name in classes for image in listed[name]]


class PetsLayout(ListedLayout):
    """Oxford-IIIT Pets: `images/*.jpg`, `annotations/{trainval,test}.txt`."""

    def read_lists(self, folder: Path) -> Lists:
        """Read lines such as `Abyssinian_100 1 1 1`; the breed is the name before the number."""
        train, test = (
            [(f"images/{name}.jpg", name.rpartition("_")[0]) for name, _ in _fields(folder / f"annotations/{part}.txt")]
            for part in ("trainval", "test")
        )
        return Lists(train, test)


class Sun397Layout(ListedLayout):
    """SUN397: `a/abbey/*.jpg` and so on, `ClassName.txt`, and of the partitions `{Training,Testing}_01.txt`."""

    def read_lists(self, folder: Path) -> Lists:
        """Read lines such as `/a/abbey/sun_aakbdcgfpksytcwj.jpg`."""
        classes = sorted(line[3:] for line in _lines(folder / "ClassName.txt"))
        train, test = (
            [(line[1:], line[3:].rpartition("/")[0]) for line in _lines(folder / f"{part}_01.txt")]
            for part in ("Training", "Testing")
        )
        return Lists(train, test, classes=classes)


def _open(folder: Path, lists: Lists) -> dict[str, ImageList]:
    train = lists.train + (lists.validation or [])
    for part, images in (("train", lists.train), ("validation", lists.validation), ("test", lists.test)):
        if images is not None and not images:
            raise DataError(f"{folder}: its list of {part} images is empty")
    classes = tuple(dict.fromkeys(lists.classes or sorted({name for _, name in train})))
    number = {name: label for label, name in enumerate(classes)}
    splits = {}
    for split, images in (("train", train), ("val", lists.test)):
        if lost := dict.fromkeys(name for _, name in images if name not in number):
            raise DataError(f"{folder}: its lists name images of class {few(lost)}, which is not one of its classes")
        labels = np.array([number[name] for _, name in images], dtype=np.int64)
        splits[split] = ImageList(folder, tuple(path for path, _ in images), labels, classes)
    trained = set(splits["train"].labels.tolist())
    if absent := [name for label, name in enumerate(classes) if label not in trained]:
        raise DataError(f"{folder}: its lists name no training image of class {few(absent)}")
    check_named(folder, splits)
    return splits


def _lines(file: Path) -> list[str]:
    return [text.strip() for _, text in read_lines(file)]


def _fields(file: Path) -> Iterator[tuple[str, str]]:
    """Yield each line's first word and the rest of it. Raises DataError where there is no rest."""
    for number, text in read_lines(file):
        name, rest = (*text.split(maxsplit=1), "")[:2]
        if not rest:
            raise DataError(f"{file}, line {number}: {text.strip()!r} is not an image and its class")
        yield name, rest.strip()


def _parent(file: Path, path: str) -> str:
    """Return the class folder of an image's path."""
    name, slash, _ = path.partition("/")
    if not slash:
        raise DataError(f"{file}: {path!r} has no class folder before the image's name")
    return name


def _numbers(images: Iterable[tuple[str, str]]) -> list[str]:
    """Return the classes of images, which are numbers, in their order."""
    return sorted({name for _, name in images}, key=int)


def _mat(file: Path, key: str) -> Any:
    """Return an array of a MATLAB file.

    Raises:
        MissingExtra: scipy is not installed.
        DataError: the file is missing, damaged, or has no such array.
    """
    extras.require("transfer")
    from scipy.io import loadmat

    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        return loadmat(str(file), squeeze_me=True)[key]
    except KeyError:
        raise DataError(f"{file}: holds no '{key}'") from None
    except Exception as error:  # scipy has many ways of saying "damaged"
        why = "saved by -v7.3" if isinstance(error, NotImplementedError) else one_line(error)
        raise DataError(f"{file}: not readable as a MATLAB file ({why}); take the one that the authors offer") from None


def _whole_numbers(file: Path, key: str, values: Any) -> np.ndarray:
    """Return an array of a MATLAB file as (N,) int64. Raises DataError where it is no row of whole numbers."""
    try:
        numbers = np.atleast_1d(np.asarray(values)).astype(np.float64)
    except (TypeError, ValueError):  # words, cells, a sparse matrix
        numbers = np.array([[np.nan]])
    whole = (np.abs(numbers) < 1 << 31) & (numbers == np.round(numbers))
    if numbers.ndim != 1 or not whole.all():
        raise DataError(f"{file}: '{key}' is no row of whole numbers; take the file that the authors offer")
    return numbers.astype(np.int64)
