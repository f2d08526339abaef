"""The layout of ImageNet DET: Annotations/DET/train/SET/**/NAME.xml and Data/DET/train/SET/**/NAME.JPEG.

Every object of whatever class is a track of one frame, as in MMTracking's `imagenet_det_30plus1cls.json` (tools/
convert_datasets/ilsvrc/imagenet2coco_det.py), in its order: first the pictures of FGFA's DET_train_30classes.txt, where
Lists or ImageSets hold it, then all others of ILSVRC2013_train and of ILSVRC2014_train_0000 to _0006, sorted.
"""

from __future__ import annotations

import os
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.common.progress import track
from mec_transfer.datasets.annotations import read_lines
from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.scan import file_names, list_folder, look_at_all
from mec_transfer.datasets.tracks.imagenet_vid import find_list, read_or_tell
from mec_transfer.datasets.tracks.layout import Reading, TracksLayout
from mec_transfer.datasets.values import few

_LIST = "DET_train_30classes.txt"
_SETS = ("ILSVRC2013_train", *(f"ILSVRC2014_train_{number:04d}" for number in range(7)))
_BLOCK = 8192


class ImageNetDetLayout(TracksLayout):
    """The folder that holds Annotations and Data."""

    def split_names(self, folder: Path) -> list[str]:
        """Return `train`, where there is one: MMTracking takes no other."""
        base = folder / "Annotations" / "DET" / "train"
        return ["train"] if base.is_dir() and any(name in _SETS for name in list_folder(base)[0]) else []

    def read(self, config: TracksDatasetConfig, folder: Path, into: Reading) -> None:
        """Read a split. See `TracksLayout`."""
        if config.split not in self.split_names(folder):
            raise DataError(f"{folder}: has no Annotations/DET/train/ILSVRC2013_train or another of its sets")
        annotations, listed = folder / "Annotations" / "DET", find_list(folder, _LIST, into)
        there = {name: None for sub in _SETS for name in _annotated(annotations, f"train/{sub}", sub == _SETS[0], into)}
        names = dict.fromkeys(_listed_images(listed, there, into) if listed else ()) | there
        pictures = _Pictures(folder / "Data" / "DET", into)
        ordered = list(names)
        into.watch_some([f"{annotations}/{name}.xml" for name in ordered])
        for start in track(
            range(0, len(ordered), _BLOCK), "reading ImageNet DET", -(-len(ordered) // _BLOCK), "blocks"
        ):
            block = ordered[start : start + _BLOCK]
            for name, found in zip(block, look_at_all(read_or_tell, [f"{annotations}/{name}.xml" for name in block])):
                if isinstance(found, str):
                    into.problems.append(found)
                elif found and (image := pictures.find(name)) is not None:
                    for thing in found:
                        into.add_row(into.tracks, image, 0, thing.box, True)
                        into.tracks += 1
        pictures.tell()


def _annotated(annotations: Path, name: str, nested: bool, into: Reading) -> list[str]:
    """Return the pictures of a set that have annotations, sorted as MMTracking's converter lists their files."""
    base = annotations / name
    into.watch(base)
    if not base.is_dir():
        return []
    folders = [f"{name}/{inner}" for inner in list_folder(base)[0]] if nested else [name]
    into.watch(*(annotations / inner for inner in folders))
    found = (f"{inner}/{file}" for inner in folders for file in file_names(annotations / inner))
    return [file[:-4] for file in sorted(found) if file.endswith(".xml")]


def _listed_images(path: Path, there: dict[str, None], into: Reading) -> list[str]:
    """Return the pictures of a list, whose lines are NAME and a number."""
    found = []
    for number, line in read_lines(path):
        name = line.split()[0]
        if name in there:
            found.append(name)
        else:
            into.problems.append(f"{path}:{number}: there is no Annotations/DET/{name}.xml")
    return found


class _Pictures:
    """The files of pictures, looked up a folder at a time."""

    def __init__(self, base: Path, into: Reading) -> None:
        self._base, self._into = base, into
        self._there: dict[str, frozenset[str]] = {}
        self._lost: list[str] = []

    def find(self, name: str) -> int | None:
        """Return the index of a picture, or None for one that is missing."""
        folder, _, stem = name.rpartition("/")
        where = self._base / folder
        if folder not in self._there:
            self._into.watch(where)
            self._there[folder] = file_names(where)
        if f"{stem}.JPEG" not in self._there[folder]:
            self._lost.append(f"{name}.JPEG")
            return None
        return self._into.add_image(os.fspath(where), f"{stem}.JPEG")

    def tell(self) -> None:
        """Say which pictures are missing."""
        if self._lost:
            self._into.problems.append(f"{self._base}: {len(self._lost)} pictures are missing: {few(self._lost)}")
