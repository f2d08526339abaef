"""Layout `cityscapes_seg`: leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and gtFine/SPLIT/CITY/NAME_gtFine_label*.png.

The masks are `labelTrainIds`, which cityscapesScripts makes, or the `labelIds` of the published archive, whose ids are
taken to the 19 classes by cityscapesScripts' table (helpers/labels.py); whatever has no class there is void.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.scan import file_names, list_folder
from mec_transfer.datasets.segments.layout import SegmentLayout
from mec_transfer.datasets.segments.split import VOID, SegmentSplit, plain_lookup
from mec_transfer.datasets.values import few

CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
"""In the order of their train ids."""
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The id of each class, which the official evaluation and the test server expect in predicted masks."""
_IMAGE = "_leftImg8bit.png"
_TRAIN_IDS, _LABEL_IDS = "_gtFine_labelTrainIds.png", "_gtFine_labelIds.png"
_HIGHEST_ID = 33


class CityscapesSegLayout(SegmentLayout):
    """The folder that leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip are unpacked in."""

    holds = "a Cityscapes folder with masks (leftImg8bit/, gtFine/*/*/*_gtFine_labelIds.png)"

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits that have images and masks, sorted."""
        there = list_folder(folder / "gtFine")[0] if (folder / "gtFine").is_dir() else []
        return [name for name in there if (folder / "leftImg8bit" / name).is_dir() and _has_masks(folder, name)]

    def find_classes(self, root: Path) -> tuple[str, ...]:
        """Return the published classes."""
        return CLASSES

    def open_split(self, root: Path, split: str, classes: tuple[str, ...]) -> SegmentSplit:
        """Find the mask of every image. Raises DataError where one is missing."""
        if len(classes) != len(CLASSES):
            raise DataError(f"{root}: {len(classes)} classes; masks of Cityscapes have the published {len(CLASSES)}")
        images, masks, lookups, lost = [], [], [], []
        by_ending = {_TRAIN_IDS: plain_lookup(len(CLASSES)), _LABEL_IDS: _ids_lookup()}
        for image in _images(root, split):
            place, there = root / "gtFine" / split / image.parent.name, image.name.removesuffix(_IMAGE)
            ending = next((ending for ending in by_ending if (place / f"{there}{ending}").is_file()), None)
            if ending is None:
                lost.append(f"{image.parent.name}/{image.name}")
                continue
            images.append(image)
            masks.append(place / f"{there}{ending}")
            lookups.append(by_ending[ending])
        if lost:
            raise DataError(
                f"{root}: {len(lost)} images of '{split}' have no mask NAME{_LABEL_IDS} in gtFine: {few(lost)}"
            )
        if not images:
            raise DataError(f"{root / 'leftImg8bit' / split}: has no CITY/NAME{_IMAGE}")
        return SegmentSplit(
            name=split, classes=classes, images=tuple(images), masks=tuple(masks), lookups=tuple(lookups), ids=IDS
        )


def _images(root: Path, split: str) -> Iterator[Path]:
    folder = root / "leftImg8bit" / split
    for city in list_folder(folder)[0]:
        yield from (folder / city / name for name in sorted(file_names(folder / city)) if name.endswith(_IMAGE))


def _has_masks(root: Path, split: str) -> bool:
    folder = root / "gtFine" / split
    cities = (file_names(folder / city) for city in list_folder(folder)[0])
    return any(name.endswith((_TRAIN_IDS, _LABEL_IDS)) for names in cities for name in names)


def _ids_lookup() -> np.ndarray:
    lookup = plain_lookup(0)
    lookup[: _HIGHEST_ID + 1] = VOID
    lookup[list(IDS)] = np.arange(len(IDS))
    return lookup
