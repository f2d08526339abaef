"""The four data sets of the cross-domain few-shot benchmark (CD-FSL), as its code and that of ssl-transfer read them.

Their archives have no test part, or it is left out: all images are one split, `all`. Each layout's own folder is the
one that its docstring shows. Sources: https://github.com/IBM/cdfsl-benchmark and the `datasets` folder of
https://github.com/linusericsson/ssl-transfer
"""

from __future__ import annotations

import abc
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import parse_whole, read_text
from mec_transfer.datasets.images.data import ImageLayout
from mec_transfer.datasets.images.folders import list_classes
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.named import check_named, read_or_suggest
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.values import few

_SPLIT = "all"


class ClassFoldersLayout(ImageLayout):
    """All images in folders of their classes, below one folder."""

    below: ClassVar[str]
    """The path of that folder."""

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return the one split: classes in sorted order, within a class sorted by path. Raises DataError."""
        root = read_or_suggest(folder, lambda place: self._find(place, index)) / self.below
        listed = list_classes(root, index)
        paths = tuple(f"{name}/{path}" for name, images in listed.items() for path in images)
        labels = np.repeat(np.arange(len(listed), dtype=np.int64), [len(images) for images in listed.values()])
        return {_SPLIT: ImageList(root, paths, labels, tuple(listed))}

    def _find(self, folder: Path, index: Index) -> Path:
        """Return `folder`. Raises DataError where it has no class folders in the place that is needed."""
        index.list_folder(folder)  # names what is wrong with it
        if not (folder / self.below).is_dir():
            raise DataError(f"{folder}: no folder '{self.below}' in it; {self.below}/<class>/* is needed")
        return folder


class EuroSatLayout(ClassFoldersLayout):
    """EuroSAT in colour: `2750/<class>/*.jpg`."""

    below = "2750"


class CropDiseasesLayout(ClassFoldersLayout):
    """CropDiseases: `dataset/train/<class>/*.JPG`; the archive's `dataset/test` is not read."""

    below = "dataset/train"


class TableLayout(ImageLayout):
    """Images that a table names with their classes."""

    classes: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def read(self, folder: Path) -> list[tuple[str, int]]:
        """Return the path of each image and its class's place, in the table's order. Raises DataError."""

    def open_all(self, folder: Path, index: Index) -> dict[str, ImageList]:
        """Return the one split. Raises DataError where the table is missing or malformed, or a class has no image."""
        index.list_folder(folder)  # names what is wrong with it
        rows = read_or_suggest(folder, self.read)
        labels = np.array([label for _, label in rows], dtype=np.int64)
        if absent := [name for label, name in enumerate(self.classes) if label not in labels]:
            raise DataError(f"{folder}: its table names no image of class {few(absent)}")
        splits = {_SPLIT: ImageList(folder, tuple(path for path, _ in rows), labels, self.classes)}
        check_named(folder, splits)
        return splits


class Isic2018Layout(TableLayout):
    """ISIC 2018, task 3: `ISIC2018_Task3_Training_Input/*.jpg`, `ISIC2018_Task3_Training_GroundTruth/*.csv`."""

    classes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")

    def read(self, folder: Path) -> list[tuple[str, int]]:
        """Read lines such as `ISIC_0024306,0.0,1.0,0.0,0.0,0.0,0.0,0.0`: one number is not 0."""
        part = "ISIC2018_Task3_Training"
        file, rows = folder / f"{part}_GroundTruth" / f"{part}_GroundTruth.csv", []
        for number, (image, *cells) in _table(file, ("image", *self.classes)):
            try:
                marks = [place for place, cell in enumerate(cells) if parse_whole(cell) != 0]
            except ValueError:
                raise DataError(f"{file}, line {number}: {','.join(cells)!r:.80} are not whole numbers") from None
            if len(marks) != 1:
                raise DataError(f"{file}, line {number}: {image} is of {len(marks)} classes, not of one")
            rows.append((f"{part}_Input/{image}.jpg", marks[0]))
        return rows


class ChestXLayout(TableLayout):
    """ChestX-ray14: `images/*.png`, `Data_Entry_2017.csv`.

    Of the X-rays with a single finding, those of seven findings are taken: CD-FSL's eight less pneumonia.
    """

    classes = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")

    def read(self, folder: Path) -> list[tuple[str, int]]:
        """Read lines such as `00000001_000.png,Cardiomegaly,0,...`; several findings stand between bars."""
        lines = _table(folder / "Data_Entry_2017.csv", ("Image Index", "Finding Labels"))
        number = {name: label for label, name in enumerate(self.classes)}
        return [(f"images/{image}", number[finding]) for _, (image, finding) in lines if finding in number]


def _table(file: Path, head: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the first cells of each line below the head, as many as `head` has, and the line's number from 1.

    Raises:
        DataError: the file cannot be read, does not begin with `head`, or a line has fewer cells or broken quotes.
    """
    reader = csv.reader(io.StringIO(read_text(file)), strict=True)  # else a quotation mark may swallow lines
    try:
        if [cell.strip() for cell in next(reader, [])[: len(head)]] != list(head):
            raise DataError(f"{file}: does not begin with the columns {', '.join(head)}, between commas")
        for cells in reader:
            if cells and len(cells) < len(head):
                raise DataError(f"{file}, line {reader.line_num}: {len(cells)} cells, {len(head)} are needed")
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells[: len(head)]]
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}; a quotation mark may be missing") from None
