"""The Cityscapes layout: leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and gtFine/SPLIT/CITY/NAME_gtFine_polygons.json.

A file lists polygons from the back to the front, so each covers those before it. The masks are what is left to be seen,
drawn as cityscapesScripts' json2instanceImg draws its `instanceIds` (Pillow's polygons, in order): holes and parts that
others cut off stay holes and parts. Detectron2's loader of the same files (`load_cityscapes_instances`) works on
outlines, half a pixel wider, and keeps the outer ones alone, so its masks fill such holes and are equal otherwise up to
a pixel along the outline. As there, `deleted` polygons and licence plates are passed over, a polygon that is covered
wholly is no object, `cargroup` is a crowd of cars of its own, and all labels that are not learnt still cover.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mec_transfer.common.errors import DataError
from mec_transfer.datasets import values
from mec_transfer.datasets.annotations import Json, read_text
from mec_transfer.datasets.config import ObjectsDatasetConfig
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.layout import ObjectLayout
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.rle import lengths_text, runs_box
from mec_transfer.datasets.scan import file_names, is_image, list_folder
from mec_transfer.datasets.states import EVERY, state_of

CLASSES = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
"""Those with instances that the published evaluation counts, in the order of their ids."""
_REGIONS = frozenset(("ego vehicle", "rectification border", "out of roi"))
"""What the published test split is annotated with, whose objects are kept secret."""
_SCENERY = _REGIONS | frozenset(
    (
        *("unlabeled", "static", "dynamic", "ground", "road", "sidewalk", "parking", "rail track", "building", "wall"),
        *("fence", "guard rail", "bridge", "tunnel", "pole", "polegroup", "traffic light", "traffic sign"),
        *("vegetation", "terrain", "sky", "caravan", "trailer"),
    )
)
"""The other labels that are drawn; of caravans and trailers there are instances, which are not counted."""
_NOT_DRAWN = "license plate"
_IMAGE, _POLYGONS, _GROUP = "_leftImg8bit.png", "_gtFine_polygons.json", "group"
_FARTHEST = 2**20
"""Pixels from the origin that a point may lie, far beyond any image."""
_LARGEST = 2**28
"""Pixels of an image, a hundred times what the published ones have."""
_NUMBERS = 256
"""What a canvas of bytes can tell apart, the background included: four times faster than one of 32 bits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Polygon:
    """A polygon that is to be drawn."""

    points: list[float]
    """x, y, x, y, ... in pixels."""
    class_index: int | None = None
    """None for what only covers."""
    crowd: bool = False


class CityscapesSource:
    """One split's annotations, listed when it is made: a file is parsed, drawn and forgotten before the next."""

    def __init__(self, root: Path, split: str) -> None:
        """Raises DataError: the split has no images."""
        self.name = split
        self._images, self._truth = root / "leftImg8bit" / split, root / "gtFine" / split
        self.seen = {os.fspath(folder): state_of(os.fspath(folder)) for folder in (self._images, self._truth)}
        self._problems: list[str] = []
        self._places: list[str] = []
        for city in sorted({*list_folder(self._images)[0], *list_folder(self._truth)[0]}):
            for place in (f"{self._images / city}", f"{self._truth / city}{EVERY}{_POLYGONS}"):
                self.seen[place] = state_of(place)
            self._list_city(city)
        if not self._places:
            raise DataError(f"{self._images}: has no CITY/NAME{_IMAGE} with a CITY/NAME{_POLYGONS} in {self._truth}")

    def read(self, classes: tuple[str, ...]) -> tuple[ObjectSplit, list[str]]:
        """Return what is sound of the split, and a line for each thing that is not.

        An image with a broken polygon is left out as a whole: without it, the masks behind it would be others. Raises
        DataError for a split whose objects are not public.
        """
        problems, images, secret = list(self._problems), [], True
        for place in self._places:
            try:
                image, labels = self._read_image(place, classes, problems)
            except DataError as error:
                problems.append(str(error))
                secret = False
                continue
            secret = secret and labels <= _REGIONS
            images += [image] if image else []
        if secret:
            what = "is annotated with regions that do not count alone, as the published test split; measure on another"
            raise DataError(f"{self._truth}: {what}")
        return ObjectSplit(name=self.name, classes=classes, images=tuple(images)), problems

    def where(self, image: ObjectImage) -> str:
        """Return the file and the line that say an image's width."""
        path = self._file(f"{image.path.parent.name}/{image.image_id}")
        before = read_text(path).partition('"imgWidth"')[0]
        return f"{path}:{before.count(chr(10)) + 1}"

    def _file(self, place: str) -> Path:
        return Path(f"{self._truth / place}{_POLYGONS}")

    def _list_city(self, city: str) -> None:
        """Add the images of a city that have annotations, by their name, and what has no counterpart."""
        there = file_names(self._images / city)
        images = {name.removesuffix(_IMAGE) for name in there if name.endswith(_IMAGE)}
        files = {name.removesuffix(_POLYGONS) for name in file_names(self._truth / city) if name.endswith(_POLYGONS)}
        self._places += [f"{city}/{name}" for name in sorted(images & files)]
        for name in sorted(there):
            if is_image(name) and not name.endswith(_IMAGE):
                self._problems.append(
                    f"{self._images / city / name}: is not called NAME{_IMAGE}, so it has no polygons"
                )
        for name in sorted(images - files):
            image = self._images / city / f"{name}{_IMAGE}"
            self._problems.append(f"{image}: its annotation {self._file(f'{city}/{name}')} is missing")
        for name in sorted(files - images):
            image = self._images / city / f"{name}{_IMAGE}"
            self._problems.append(f"{self._file(f'{city}/{name}')}: its image {image} is missing")

    def _read_image(
        self, place: str, classes: tuple[str, ...], problems: list[str]
    ) -> tuple[ObjectImage | None, set[str]]:
        """Return an image, or None where `problems` gets what is wrong with it, and its labels. Raises DataError."""
        document, before = Json(self._file(place)), len(problems)
        try:
            about = document.data if isinstance(document.data, dict) else {}
            width, height = (values.size(about.get(key), f"its {key}") for key in ("imgWidth", "imgHeight"))
            if width * height > _LARGEST:
                raise ValueError(f"its size is {width}x{height}, more than any image of a street has")
        except ValueError as error:
            raise DataError(f"{document.path}:1: {error}") from None
        items = document.items("objects")
        if not items:
            raise DataError(f"{document.path}:1: 'objects' is empty; at least what surrounds its objects is needed")
        polygons, labels = [], set()
        for number, item in enumerate(items):
            try:
                labels.add(values.name(item.get("label"), "its label"))
                polygons.append(_read_polygon(item, classes))
            except ValueError as error:
                problems.append(document.complain("objects", number, f"object {number + 1}: {error}"))
        if len(problems) > before:
            return None, labels
        objects = _visible([polygon for polygon in polygons if polygon], width, height)
        path = Path(f"{self._images / place}{_IMAGE}")
        name = place.partition("/")[2]
        return ObjectImage(path=path, image_id=name, width=width, height=height, objects=tuple(objects)), labels


class CityscapesLayout(ObjectLayout[CityscapesSource]):
    """The folder that leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip are unpacked in."""

    holds = "a Cityscapes folder (leftImg8bit/, gtFine/)"

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits that have images and public annotations, sorted: not the published `test`."""
        there = [name for name in _folders(folder / "gtFine") if (folder / "leftImg8bit" / name).is_dir()]
        return [name for name in there if not _is_secret(folder / "gtFine" / name)]

    def annotation_file(self, root: Path, split: str) -> Path:
        """Return the folder of a split's annotations. Raises DataError where it or that of its images is not there."""
        _require_archives(root)
        for kind in ("gtFine", "leftImg8bit"):
            if not split or not (root / kind / split).is_dir():
                there = ", ".join(self.split_names(root)) or "none with images and annotations"
                raise DataError(f"{root}: has no split '{split}' (no {kind}/{split}); it has {there}")
        return root / "gtFine" / split

    def source(self, root: Path, split: str) -> CityscapesSource:
        """List a split's files. Raises DataError where there are none."""
        self.annotation_file(root, split)
        return CityscapesSource(root, split)

    def merge_classes(self, sources: Sequence[CityscapesSource]) -> tuple[str, ...]:
        """Return the published classes, whichever of them occur."""
        return CLASSES

    def adapt(self, config: ObjectsDatasetConfig, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """As every layout of objects; who has unpacked some archives is told which one is missing."""
        if any((folder / name).is_dir() for name in ("leftImg8bit", "gtFine", "gtCoarse")):
            _require_archives(folder)
        return super().adapt(config, folder, settings)


def _require_archives(root: Path) -> None:
    """Raises DataError."""
    if not (root / "gtFine").is_dir():
        coarse = "gtCoarse alone, whose outlines are rough" if (root / "gtCoarse").is_dir() else "no gtFine"
        raise DataError(f"{root}: has {coarse}; unpack gtFine_trainvaltest.zip there")
    if not (root / "leftImg8bit").is_dir():
        raise DataError(f"{root}: has no leftImg8bit; unpack leftImg8bit_trainvaltest.zip there")


def _folders(folder: Path) -> list[str]:
    return list_folder(folder)[0] if folder.is_dir() else []


def _is_secret(folder: Path) -> bool:
    """Whether the first annotation of a split has regions alone, as all of the published test split have."""
    files = (folder / city / name for city in _folders(folder) for name in sorted(file_names(folder / city)))
    first = next((path for path in files if path.name.endswith(_POLYGONS)), None)
    try:
        items = Json(first).items("objects") if first else []
        return bool(items) and {item.get("label") for item in items} <= _REGIONS
    except (DataError, TypeError):  # whoever opens the split is told
        return False


def _read_polygon(item: dict[str, Any], classes: tuple[str, ...]) -> _Polygon | None:
    """Return a polygon, or None for one that is not drawn. Raises ValueError."""
    label = values.name(item.get("label"), "its label")
    if values.flag(item.get("deleted"), "deleted") or label == _NOT_DRAWN:
        return None
    crowd = label not in classes and label not in _SCENERY and label.endswith(_GROUP)
    name = label.removesuffix(_GROUP) if crowd else label
    if name not in classes and name not in _SCENERY:
        raise ValueError(f"unknown label '{values.brief(label)[1:-1]}'; objects are {', '.join(classes)}")
    found = item.get("polygon")
    try:
        points = np.array(found, dtype=np.float64)
        sound = points.ndim == 2 and points.shape[1] == 2 and len(points) >= 3 and np.abs(points).max() <= _FARTHEST
    except (TypeError, ValueError, OverflowError):
        sound = False
    if not sound:  # NaN, too, compares as false
        raise ValueError(f"a polygon is three points ([x, y], in pixels) or more, found {values.show(found)}")
    flat: list[float] = points.ravel().tolist()
    if name not in classes:
        return _Polygon(points=flat)
    return _Polygon(points=flat, class_index=classes.index(name), crowd=crowd)


def _visible(polygons: Sequence[_Polygon], width: int, height: int) -> list[ObjectAnnotation]:
    """Draw polygons over one another and return the objects that show, in the order of the file."""
    things = [polygon for polygon in polygons if polygon.class_index is not None]
    image = Image.new("L" if len(things) < _NUMBERS else "I", (width, height))
    drawer, number = ImageDraw.Draw(image), 0
    for polygon in polygons:
        number += polygon.class_index is not None
        drawer.polygon(polygon.points, fill=0 if polygon.class_index is None else number)
    canvas, objects = np.asarray(image), []
    for number, thing in enumerate(things, start=1):
        runs = _runs(canvas, number, thing)
        if len(runs):
            objects.append(
                ObjectAnnotation(
                    class_index=thing.class_index or 0,
                    box=tuple(map(float, runs_box(runs, height))),  # type: ignore[arg-type]
                    crowd=thing.crowd,
                    segmentation=_rle(runs, height, width),
                    area=float((runs[:, 1] - runs[:, 0]).sum()),
                )
            )
    return objects


def _runs(canvas: np.ndarray, number: int, polygon: _Polygon) -> np.ndarray:
    """Return the runs, (R, 2) int64, of the pixels of `canvas`, (H, W), that are `number`, counted down the columns.

    They are looked for around the polygon alone: most are a hundredth of the image.
    """
    height, width = canvas.shape
    xs, ys = polygon.points[::2], polygon.points[1::2]
    left, right = (min(max(int(x), 0), width) for x in (min(xs) - 1, max(xs) + 2))
    top, bottom = (min(max(int(y), 0), height) for y in (min(ys) - 1, max(ys) + 2))
    rows, columns = bottom - top + 1, right - left  # a row of nothing above each column parts it from the one before
    flat = np.zeros(rows * columns + 1, dtype=bool)
    flat[:-1].reshape(columns, rows)[:, 1:] = (canvas[top:bottom, left:right] == number).T
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), rows)
    runs = ((left + column) * height + top + row).reshape(-1, 2)
    apart = runs[1:, 0] != runs[:-1, 1]  # else: down to the last row, and on from the first of the next column
    return np.stack([runs[np.append(True, apart), 0], runs[np.append(apart, True), 1]], axis=1) if len(runs) else runs


def _rle(runs: np.ndarray, height: int, width: int) -> dict[str, Any]:
    """Return runs as COCO's compressed RLE, the same that pycocotools encodes."""
    lengths = np.diff(np.concatenate([[0], runs.ravel(), [height * width]]))
    return {"size": [height, width], "counts": lengths_text(lengths if lengths[-1] else lengths[:-1])}
