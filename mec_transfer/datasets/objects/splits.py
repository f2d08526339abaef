"""Images with objects in them: what detection and instance segmentation train and are measured on.

Every layout is read into the same few plain classes. What is not broken stays as it is in the file: boxes that are
silently clipped or dropped move a number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.objects.annotation import ObjectImage
from mec_transfer.datasets.objects.columns import NONE
from mec_transfer.datasets.objects.table import ObjectTable
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.values import FARTHEST

_SAMPLED_FILES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectSplit:
    """The images of a split, in the order that its layout gives them."""

    name: str
    classes: tuple[str, ...]
    images: Sequence[ObjectImage]
    """Held as arrays, whatever it is made of; an image's values are made when it is asked for."""
    skipped: tuple[str, ...] = ()
    """What `skip_invalid` left out, a line each."""

    def __post_init__(self) -> None:
        if not isinstance(self.images, ObjectTable):
            object.__setattr__(self, "images", ObjectTable.pack(self.images))

    @property
    def table(self) -> ObjectTable:
        """The images as arrays, for what is asked of all of them."""
        assert isinstance(self.images, ObjectTable)
        return self.images

    @property
    def num_objects(self) -> int:
        """Objects of all images together."""
        return len(self.table.objects)


def join_splits(splits: list[ObjectSplit]) -> ObjectSplit:
    """Return splits of the same classes as one, such as VOC 2007 trainval and 2012 trainval."""
    first = splits[0]
    if any(split.classes != first.classes for split in splits):
        raise DataError(f"splits {', '.join(split.name for split in splits)}: have not the same classes")
    return ObjectSplit(
        name="+".join(split.name for split in splits),
        classes=first.classes,
        images=ObjectTable.join([split.table for split in splits]),
        skipped=tuple(line for split in splits for line in split.skipped),
    )


def require_masks(split: ObjectSplit, training: bool = False) -> None:
    """Raise DataError, with the first object that has no segmentation, where there is one.

    Args:
        split: the images and their objects.
        training: crowds are not learnt, so they need none.
    """
    things = split.table.objects
    bare = (things.kind == NONE) & ~(things.crowd & training)
    if bare.any():
        first = split.images[split.table.image_of_object()[bare.argmax()]]
        raise DataError(
            f"split '{split.name}': objects of {first.path.name} have no segmentation, and masks are to be learnt; "
            "add --set 'recipe.changes={MODEL.MASK_ON: false}' for boxes alone"
        )


def box_problem(box: tuple[float, float, float, float], width: int, height: int) -> str | None:
    """Say what is wrong with a box, half-open pixel coordinates, in an image of that size; None if nothing.

    COCO itself has boxes without height, and boxes that reach out of the image by a little: these are not wrong.
    """
    x0, y0, x1, y1 = box
    numbers = f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    if not (x1 >= x0 and y1 >= y0):
        return f"empty {numbers}: its second corner lies before its first"
    if x0 > width or y0 > height or x1 < 0 or y1 < 0:
        return f"{numbers} lies outside the image ({width}x{height})"
    if max(map(abs, box)) > FARTHEST:
        return f"{numbers} reaches far beyond the image ({width}x{height})"
    return None


def fingerprints(splits: dict[str, ObjectSplit]) -> list[str]:
    """Return the sha256 of the first split alone, of the first two, and so on: the last is that of all.

    Hashed are classes, every annotation, and the bytes of 64 images of each split. Raises DataError where one of these
    cannot be read.
    """
    digest, found = hashlib.sha256(b"mec-transfer objects fingerprint 2\n"), []
    for name, split in splits.items():
        digest.update(json.dumps([name, split.classes, len(split.images), split.table.digest]).encode())
        for index in sample_indices(len(split.images), _SAMPLED_FILES):
            path = Path(split.table.paths[index])
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        found.append(digest.hexdigest())
    return found
