"""A COCO file's annotations as columns, taken in while the file is read, before its images and classes are known.

Nearly all annotations are plain: whole numbers for ids, polygons of numbers. These go into the columns at once, and are
checked when the rest of the file is known. All others, and those whose check finds something, are read once more, by
`coco_items.read_object`, which says what is wrong or what is meant.
"""

from __future__ import annotations

import contextlib
import math
from array import array
from typing import Any

import numpy as np

from mec_transfer.datasets import values
from mec_transfer.datasets.objects.columns import EXACT, NONE, POLYGONS, ObjectColumns, is_whole
from mec_transfer.datasets.objects.json_lists import Items
from mec_transfer.datasets.values import FARTHEST

_PLAIN, _WHOLE = {int, float}, {int}


class AnnotationRows(Items):
    """The items of a COCO file's list of annotations."""

    def __init__(self) -> None:
        super().__init__()
        self.categories: dict[int | str, None] = {}
        """The ids of categories that are used, by their first use."""
        self._odd = array("q")
        self._index, self._image, self._category = array("q"), array("q"), array("q")
        self._box, self._area, self._crowd = array("d"), array("d"), array("b")
        self._polygons, self._lengths, self._whole = array("q"), array("q"), array("b")
        self._numbers = array("d")

    def take(self, item: dict[str, Any]) -> None:
        """Take the next annotation in; for an odd one, that there is one."""
        index = len(self.offsets) - 1
        if self._take_plain(item, index):
            return
        self._odd.append(index)
        with contextlib.suppress(ValueError):  # told when it is read
            self.categories.setdefault(values.identifier(item.get("category_id"), "its category_id"))

    def _take_plain(self, item: dict[str, Any], index: int) -> bool:
        """Take an annotation in, if nothing can be wrong with it alone. The one loop that is run a million times."""
        get = item.get
        image, category, box, crowd, area = (
            get("image_id"),
            get("category_id"),
            get("bbox"),
            get("iscrowd"),
            get("area"),
        )
        polygons = get("segmentation") or ()
        if (
            not (type(image) is int and -EXACT < image < EXACT and type(category) is int and -EXACT < category < EXACT)
            or not (type(box) is list and len(box) == 4 and _PLAIN.issuperset(map(type, box)))
            or not (crowd in (None, 0, 1) and get("ignore") in (None, 0))
            or not (area is None or type(area) in _PLAIN)
            or not (type(polygons) is list or polygons == ())
        ):
            return False
        numbers, whole = array("d"), array("b")
        try:
            row = array("d", box)
            size = math.nan if area is None else float(area)
            for polygon in polygons:
                if type(polygon) is not list or not _PLAIN.issuperset(types := set(map(type, polygon))):
                    return False
                numbers.fromlist(polygon)
                whole.append(types == _WHOLE and is_whole(polygon))
        except OverflowError:
            return False
        if not (area is None or 0 <= size < math.inf):
            return False
        self._index.append(index)
        self._image.append(image)
        self._category.append(category)
        self._box += row
        self._area.append(size)
        self._crowd.append(bool(crowd))
        self._polygons.append(len(polygons))
        self._lengths.extend(map(len, polygons))
        self._whole += whole
        self._numbers += numbers
        if category not in self.categories:
            self.categories[category] = None
        return True

    def sort_out(
        self, places: dict[int | str, int], sizes: np.ndarray, classes: dict[int | str, int]
    ) -> tuple[np.ndarray, np.ndarray, ObjectColumns, np.ndarray]:
        """Check the columns against the rest of the file.

        Args:
            places: the images' indices, by their ids.
            sizes: (N, 2), width and height of the images.
            classes: indices of the classes, by the ids of categories.

        Returns:
            The indices of K sound annotations, in the file's order, and those of their images; the K objects; and the
            indices of all annotations that are to be read once more.
        """
        index, numbers = _column(self._index), _column(self._numbers)
        place = np.fromiter((places.get(image, -1) for image in self._image), dtype=np.int64, count=len(index))
        kind = np.fromiter((classes.get(one, -1) for one in self._category), dtype=np.int64, count=len(index))
        xywh = _column(self._box).reshape(-1, 4)
        box = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        polygons = _column(self._polygons)
        objects = ObjectColumns(
            class_index=kind,
            box=box,
            xywh=xywh,
            area=_column(self._area),
            difficult=np.zeros(len(index)),
            crowd=_column(self._crowd),
            kind=np.where(polygons > 0, POLYGONS, NONE),
            rings=_offsets(polygons),
            corners=_offsets(_column(self._lengths)),
            whole=_column(self._whole),
            numbers=numbers,
            letters=np.zeros(len(index) + 1),
            text=np.zeros(0),
        )
        sound = (place >= 0) & (kind >= 0)
        width, height = sizes[place].T if len(sizes) else (0, 0)
        x0, y0, x1, y1 = box.T  # as in `objects.box_problem`
        sound &= (x1 >= x0) & (y1 >= y0) & (x0 <= width) & (y0 <= height) & (x1 >= 0) & (y1 >= 0)
        sound &= (np.abs(box) <= FARTHEST).all(axis=1)  # which what is no number is not
        sound[objects.owners(np.flatnonzero(~np.isfinite(numbers)))] = False
        again = np.union1d(_column(self._odd), index[~sound])
        if not sound.all():
            objects = objects.take(np.flatnonzero(sound))
        return index[sound], place[sound], objects, again


def _column(values: array[Any]) -> np.ndarray:
    return np.frombuffer(values, dtype=values.typecode) if values else np.zeros(0, dtype=values.typecode)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])
