"""Layout `voc_seg`: JPEGImages/*.jpg, SegmentationClass/*.png and ImageSets/Segmentation/*.txt of a VOC folder.

A mask of SegmentationClassAug stands in where SegmentationClass has none: that is where the masks of the "augmented"
training split lie, which were made of the Semantic Boundaries Dataset. Its list is called `train_aug` here, and
train_aug.txt, trainaug.txt, or train.txt and aug.txt together in the folders that the usual scripts leave.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container
from pathlib import Path, PurePosixPath

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import read_lines
from mec_transfer.datasets.objects.voc import CLASSES as OBJECTS
from mec_transfer.datasets.scan import IMAGE_SUFFIXES, file_names
from mec_transfer.datasets.segments.layout import SegmentLayout, require_classes
from mec_transfer.datasets.segments.split import SegmentSplit, plain_lookup
from mec_transfer.datasets.values import few

CLASSES = ("background", *OBJECTS)
"""The published data set's, in the order of their labels."""
NAMES = ("class_names.txt", "classes.txt")
"""Where a folder of one's own names its classes, a line each from label 0 on."""
_MASKS = ("SegmentationClass", "SegmentationClassAug")
_AUGMENTED = "train_aug"
_RELEASE = re.compile(r"VOC\d{4}")


class VocSegLayout(SegmentLayout):
    """A VOC folder, or a devkit with one in it (of several years the last that has masks)."""

    holds = "a VOC folder with masks (ImageSets/Segmentation/*.txt, JPEGImages/, SegmentationClass/)"

    def split_names(self, folder: Path) -> list[str]:
        """Return the lists in ImageSets/Segmentation, sorted; the augmented one is called `train_aug`."""
        base = _base(folder)
        return sorted(_lists(base)) if base else []

    def find_classes(self, root: Path) -> tuple[str, ...]:
        """Return the classes that a file beside the masks names, else VOC's where the folder is called VOC and a year.

        Raises DataError where there is neither.
        """
        base = _require_base(root)
        for name in NAMES:
            if (base / name).is_file():
                return _read_classes(base / name)
        if _RELEASE.fullmatch(base.resolve().name):
            return CLASSES
        raise DataError(
            f"{base}: no file names the classes; write {NAMES[0]} with one a line, from label 0 on, or give them with "
            "--classes or dataset.classes"
        )

    def open_split(self, root: Path, split: str, classes: tuple[str, ...]) -> SegmentSplit:
        """Find the image and the mask of every name in a split's lists. Raises DataError where one is missing."""
        base = _require_base(root)
        lists = _lists(base)[split]
        images = _by_stem(base / "JPEGImages", IMAGE_SUFFIXES)
        names = sorted({_name(line, images) for path in lists for _, line in read_lines(path)})
        if not names:
            raise DataError(f"{lists[0]}: lists no image")
        masks = {stem: path for folder in reversed(_MASKS) for stem, path in _by_stem(base / folder, (".png",)).items()}
        for what, there, place in (("image", images, "JPEGImages"), ("mask NAME.png", masks, " or ".join(_MASKS))):
            if lost := [name for name in names if name not in there]:
                listed = " and ".join(path.name for path in lists)
                raise DataError(
                    f"{base}: {len(lost)} of the {len(names)} images in {listed} have no {what} in {place}: {few(lost)}"
                )
        lookup = plain_lookup(len(classes))
        return SegmentSplit(
            name=split,
            classes=classes,
            images=tuple(images[name] for name in names),
            masks=tuple(masks[name] for name in names),
            lookups=(lookup,) * len(names),
            ids=tuple(range(len(classes))),
        )


def _base(folder: Path) -> Path | None:
    """Return the VOC folder with lists of segmentation in a data set's folder."""
    years = [year for base in (folder, folder / "VOCdevkit") for year in sorted(base.glob("VOC[0-9][0-9][0-9][0-9]"))]
    return next((base for base in (folder, *reversed(years)) if (base / "ImageSets" / "Segmentation").is_dir()), None)


def _require_base(folder: Path) -> Path:
    base = _base(folder)
    if base is None:
        raise DataError(f"{folder}: is not {VocSegLayout.holds}")
    return base


def _lists(base: Path) -> dict[str, list[Path]]:
    """Return the files that list each split."""
    folder = base / "ImageSets" / "Segmentation"
    lists = {name[:-4]: [folder / name] for name in file_names(folder) if name.endswith(".txt")}
    if _AUGMENTED not in lists:
        if "trainaug" in lists:
            lists[_AUGMENTED] = lists["trainaug"]
        elif {"train", "aug"} <= lists.keys():
            lists[_AUGMENTED] = lists["train"] + lists["aug"]
    return lists


def _read_classes(path: Path) -> tuple[str, ...]:
    lines = read_lines(path)
    for label, (number, _) in enumerate(lines):
        if number != label + 1:
            raise DataError(f"{path}:{label + 1}: is blank; each line names the class of a label, from 0 on")
    classes = tuple(" ".join(line.split()) for _, line in lines)
    require_classes(classes, str(path))
    return classes


def _name(line: str, images: Container[str]) -> str:
    """Return the image that a line means: NAME, NAME.jpg, or `/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png`."""
    line = line.strip()
    if "JPEGImages/" in line:
        return PurePosixPath(line.split("JPEGImages/")[1].split(" /")[0].strip()).stem
    stem, suffix = os.path.splitext(line)  # noqa: PTH122
    return stem if suffix.lower() in IMAGE_SUFFIXES and line not in images else line


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder by their names without ending."""
    found = {}
    for file in sorted(file_names(folder), reverse=True):
        stem, suffix = os.path.splitext(file)  # noqa: PTH122
        if suffix.lower() in suffixes:
            found[stem] = folder / file
    return found
