"""The Pascal VOC layout: Annotations/*.xml, JPEGImages/*.jpg, ImageSets/Main/*.txt."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from mec_transfer.common.errors import DataError
from mec_transfer.datasets import values
from mec_transfer.datasets.annotations import read_text
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.headers import Header, read_headers
from mec_transfer.datasets.objects.layout import ObjectLayout
from mec_transfer.datasets.objects.splits import ObjectSplit, box_problem
from mec_transfer.datasets.objects.voc_xml import line_of, parse_xml
from mec_transfer.datasets.scan import IMAGE_SUFFIXES, file_names
from mec_transfer.datasets.states import EVERY, state_of

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The published data set's, in their published order."""

FLAG = re.compile(r"\s+[+-]?[01]$")
_UNKNOWN = {"unspecified": "0", "unknown": "0"}
"""What tools write into <difficult> that never asked."""


class VocSource:
    """One split's annotations, parsed; `read` makes objects of them once the classes are known."""

    def __init__(self, split: str, folder: Path, list_file: Path) -> None:
        """Raises DataError: the list cannot be used."""
        self.name, self.folder = split, folder
        self.annotations = self.folder / "Annotations"
        read_from = (list_file, f"{self.annotations}{EVERY}.xml", self.folder / "JPEGImages")
        self.seen = {os.fspath(path): state_of(os.fspath(path)) for path in read_from}
        ids = _read_list(list_file, file_names(self.annotations))
        self._problems: list[str] = []
        self._trees = {image_id: tree for image_id in ids if (tree := self._parse(image_id)) is not None}
        self._files: dict[str, list[str]] = {}
        for file in sorted(file_names(self.folder / "JPEGImages")):
            self._files.setdefault(os.path.splitext(file)[0], []).append(file)  # noqa: PTH122

    def names(self) -> set[str]:
        """Return the classes that occur."""
        return {name for tree in self._trees.values() for name in _names(tree)}

    def parsed(self) -> set[Path]:
        """Return the annotation files that `names` has looked into."""
        return {self.annotations / f"{image_id}.xml" for image_id in self._trees}

    def read(self, classes: tuple[str, ...]) -> tuple[ObjectSplit, list[str]]:
        """Return what is sound of the split, and a line for each thing that is not."""
        problems = list(self._problems)
        paths = {image_id: self._image_file(image_id) for image_id in self._trees}
        sizes = self._sizes(paths, problems)
        images = []
        for image_id, (width, height) in sizes.items():
            objects = []
            for thing in self._trees[image_id].findall("object"):
                try:
                    objects.append(_object(thing, classes, width, height))
                except ValueError as error:
                    problems.append(f"{self._place(image_id, thing)}: {error}")
            path = paths[image_id]
            assert path is not None
            images.append(ObjectImage(path=path, image_id=image_id, width=width, height=height, objects=tuple(objects)))
        return ObjectSplit(name=self.name, classes=classes, images=tuple(images)), problems

    def where(self, image: ObjectImage) -> str:
        """Return file and line that say an image's size."""
        return self._place(str(image.image_id), self._trees[str(image.image_id)].find("size"))

    def _place(self, image_id: str, element: ElementTree.Element | None = None) -> str:
        return f"{self.annotations / image_id}.xml:{line_of(element)}"

    def _parse(self, image_id: str) -> ElementTree.Element | None:
        try:
            tree = parse_xml(self.annotations / f"{image_id}.xml")
            _check_tree(tree)
        except ValueError as error:
            place = "" if str(error).startswith(str(self.annotations)) else f"{self.annotations / image_id}.xml:"
            self._problems.append(f"{place}{error}")
            return None
        return tree

    def _image_file(self, image_id: str) -> Path | None:
        found = self._files.get(image_id, [])
        ends = {Path(file).suffix.lower(): file for file in found}
        return next((self.folder / "JPEGImages" / ends[suffix] for suffix in IMAGE_SUFFIXES if suffix in ends), None)

    def _sizes(self, paths: dict[str, Path | None], problems: list[str]) -> dict[str, tuple[int, int]]:
        """Return the sizes that the annotations say, or for want of that the files, of all images that can be used."""
        sizes: dict[str, tuple[int, int] | None] = {}
        for image_id, path in paths.items():
            try:
                if path is None:
                    raise ValueError(f"its image {self.folder / 'JPEGImages' / image_id}.jpg is missing")
                sizes[image_id] = _said_size(self._trees[image_id])
            except ValueError as error:
                place = None if path is None else self._trees[image_id].find("size")
                problems.append(f"{self._place(image_id, place)}: {error}")
        silent = {image_id: path for image_id, path in paths.items() if path and sizes.get(image_id, 0) is None}
        self.seen |= {os.fspath(path): state_of(os.fspath(path)) for path in silent.values()}
        for (image_id, path), header in zip(silent.items(), read_headers(list(map(os.fspath, silent.values())))):
            if isinstance(header, Header) and (header.orientation == 1 or not self._trees[image_id].findall("object")):
                sizes[image_id] = header.width, header.height
            else:
                turned = "is turned by EXIF; its annotation needs the <size> of the picture that boxes were drawn on"
                problems.append(f"{path}: {header if isinstance(header, str) else turned}")
        return {image_id: size for image_id in paths if (size := sizes.get(image_id)) is not None}


class VocLayout(ObjectLayout[VocSource]):
    """A devkit (VOC2007 and so on in it, or in VOCdevkit below it), or one VOC folder.

    A devkit's splits are called `2007_trainval`, those of a folder are the lists in ImageSets/Main.
    """

    holds = "a VOC folder (ImageSets/Main/*.txt, Annotations/, JPEGImages/)"

    def split_names(self, folder: Path) -> list[str]:
        """Return the lists of the folder or of a devkit's folders, sorted; those of single classes are left out."""
        found = [name for name in _lists(folder) if not is_class_list(folder, name)]
        for base in (folder, folder / "VOCdevkit"):
            for year in sorted(base.glob("VOC[0-9][0-9][0-9][0-9]")):
                found += [f"{year.name[3:]}_{name}" for name in _lists(year) if "_" not in name]
        return sorted(found)

    def annotation_file(self, root: Path, split: str) -> Path:
        """Return the list of a split. Raises DataError where there is none."""
        return self.find(root, split)[1]

    def source(self, root: Path, split: str) -> VocSource:
        """Parse the annotations of a split's images. Raises DataError where the list cannot be used."""
        return VocSource(split, *self.find(root, split))

    def merge_classes(self, sources: Sequence[VocSource]) -> tuple[str, ...]:
        """Return the classes: VOC's own where only they occur, else those of all annotations in the folders, sorted.

        Of the whole folders, not of the splits, so that every two splits of a data set agree.
        """
        names = {name for source in sources for name in source.names()}
        if names <= set(CLASSES):
            return CLASSES
        parsed = {path for source in sources for path in source.parsed()}
        for folder in {source.annotations for source in sources}:
            for file in file_names(folder):
                if not file.endswith(".xml") or folder / file in parsed:
                    continue
                try:
                    names.update(_names(parse_xml(folder / file)))
                except ValueError:  # whoever opens the split that lists it is told
                    continue
        return tuple(sorted(names))

    def find(self, root: Path, split: str) -> tuple[Path, Path]:
        """Return the VOC folder of a split and its list. Raises DataError where there is none."""
        year, _, name = split.partition("_")
        years = [base / f"VOC{year}" for base in (root, root / "VOCdevkit") if name]
        for folder, listed in ((root, split), *((folder, name) for folder in years)):
            path = folder / "ImageSets" / "Main" / f"{listed}.txt"
            if path.is_file():
                return folder, path
        names = self.split_names(root)
        there = f"it has {', '.join(names)}" if names else "it is no VOC folder or devkit (no ImageSets/Main/*.txt)"
        raise DataError(f"{root}: has no split '{split}'; {there}")


def is_class_list(folder: Path, name: str) -> bool:
    """Whether a list is of one class's images in a split, such as cat_train beside train, each with its flag."""
    main = folder / "ImageSets" / "Main"
    if "_" not in name or not (main / f"{name.rpartition('_')[2]}.txt").is_file():
        return False
    line = read_text(main / f"{name}.txt").strip().partition("\n")[0].strip()
    return FLAG.search(line) is not None and not (folder / "Annotations" / f"{line}.xml").is_file()


def _lists(folder: Path) -> list[str]:
    return [name[:-4] for name in file_names(folder / "ImageSets" / "Main") if name.endswith(".txt")]


def _read_list(path: Path, annotations: frozenset[str]) -> list[str]:
    """Return the image names of a list, each once; a class's list (`NAME 1` or `-1`) gives its names too."""
    lines = {number: line.strip() for number, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()}
    if not lines:
        raise DataError(f"{path}: lists no image")
    first: dict[str, int] = {}
    for number, line in lines.items():
        name = _name_of(line, annotations)
        if name in first:
            raise DataError(f"{path}:{number}: '{name}' is listed twice, first in line {first[name]}")
        first[name] = number
    return list(first)


def _name_of(entry: str, annotations: frozenset[str]) -> str:
    """Return the image that a list's line means: the first of these that has an annotation, else the plain name.

    The line itself (names may hold spaces and dots), without a class list's flag, without folders and ending.
    """
    plain = FLAG.sub("", entry)
    for name in (entry, plain):
        base = re.split(r"[/\\]", name)[-1]
        stem, suffix = os.path.splitext(base)  # noqa: PTH122
        bare = stem if suffix.lower() in (*IMAGE_SUFFIXES, ".xml") else base
        for candidate in (name, base, bare):
            if f"{candidate}.xml" in annotations:
                return candidate
    return plain


def _check_tree(tree: ElementTree.Element) -> None:
    """Raise ValueError, beginning with the line, for objects that would be passed over."""
    if tree.tag.lower() != "annotation":
        raise ValueError(f"{line_of(tree)}: the file begins with <{tree.tag}>, <annotation> is needed")
    children = tree.findall("object")
    nested = set(tree.iter("object")) - set(children)
    if nested:
        line = min(int(line_of(thing)) for thing in nested)
        raise ValueError(f"{line}: an <object> that does not stand directly in <annotation>")


def _names(tree: ElementTree.Element) -> list[str]:
    return [name for thing in tree.findall("object") if (name := " ".join((thing.findtext("name") or "").split()))]


def _said_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    """Return the size an annotation gives; some tools write none, or zeros. Raises ValueError."""
    said = [(tree.findtext(f"size/{key}") or "0").strip() or "0" for key in ("width", "height")]
    if all(values.number(value, "the size") == 0 for value in said):
        return None
    return values.size(said[0], "the size's width"), values.size(said[1], "the size's height")


def _object(thing: ElementTree.Element, classes: tuple[str, ...], width: int, height: int) -> ObjectAnnotation:
    """Raises ValueError with what is wrong."""
    for key in ("name", "bndbox"):
        if (count := len(thing.findall(key))) != 1:
            raise ValueError(f"an object needs one <{key}>, found {count or 'none'}")
    name = values.name(thing.findtext("name"), "the name")
    if name not in classes:
        raise ValueError(f"unknown class '{name}'; there are {', '.join(classes)}" if name else "an object has no name")
    corners = [thing.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        xmin, ymin, xmax, ymax = (values.number(value, "a corner") for value in corners)
    except ValueError:
        raise ValueError(f"a bndbox needs four numbers, found {values.show(corners)}") from None
    if xmax < xmin or ymax < ymin:
        raise ValueError(f"empty box ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}): its second corner lies before its first")
    # VOC counts pixels from 1. A tool that counts from 0 gives -1 here, which Detectron2 cuts off when it trains.
    box = (xmin - 1, ymin - 1, xmax, ymax)
    if problem := box_problem(box, width, height):
        raise ValueError(problem)
    word = (thing.findtext("difficult") or "").strip()
    difficult = values.flag(_UNKNOWN.get(word.lower(), word), "difficult")
    return ObjectAnnotation(class_index=classes.index(name), box=box, difficult=difficult)
