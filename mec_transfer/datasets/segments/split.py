"""One split of images with a class for every pixel, and how a mask's file is read."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.decode import image_errors, load_rgb, read_file

VOID = 255
"""The label of a pixel that is neither learnt from nor counted."""
MOST_CLASSES = VOID
_UNKNOWN = -1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentSplit:
    """Images and their masks."""

    name: str
    classes: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    """One for each image. A pixel of its file is a number from 0 to 255."""
    lookups: tuple[np.ndarray, ...]
    """One for each mask, (256,) int16: the label that each number in the file stands for, -1 for none."""
    ids: tuple[int, ...]
    """The number of each class in a mask of a data set's own: what a mask that is predicted is written with."""

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an image, (H, W, 3) uint8, and its labels, (H, W) uint8: classes from 0 on, and VOID.

        Raises:
            DataError: a file cannot be read, or they do not fit each other.
        """
        pixels = np.array(load_rgb(self.images[index]))
        labels = self.decode_labels(index, read_file(self.masks[index]))
        self.require_size(index, labels, (pixels.shape[1], pixels.shape[0]))
        return pixels, labels

    def decode_labels(self, index: int, data: bytes) -> np.ndarray:
        """Return the labels, (H, W) uint8, in the bytes of a mask's file. Raises DataError."""
        path, lookup = self.masks[index], self.lookups[index]
        numbers = decode_numbers(data, path)
        labels = lookup[numbers]
        if (labels == _UNKNOWN).any():
            unknown = int(numbers[labels == _UNKNOWN].min())
            pixels = int((numbers == unknown).sum())
            top, classes = int(np.flatnonzero(lookup[:VOID] != _UNKNOWN).max()), len(self.classes)
            known, cure = f"the {classes} classes are 0 to {top}", "Name all classes, or mend the mask"
            if top != classes - 1:  # ids that stand for fewer classes
                known, cure = f"its ids are 0 to {top}", "Mend the mask"
            raise DataError(f"{path}: has the label {unknown} in {pixels} pixels; {known}, and {VOID} is void. {cure}")
        return labels.astype(np.uint8)

    def require_size(self, index: int, labels: np.ndarray, size: tuple[int, int]) -> None:
        """Raise DataError where an image, of `size` (width, height), and its mask are of different sizes."""
        height, width = labels.shape
        if (width, height) != size:
            raise DataError(
                f"{self.masks[index]}: has {width}x{height} pixels, and its image {self.images[index]} has "
                f"{size[0]}x{size[1]}; a mask has a pixel for each of the image's as it is stored"
            )


def join_splits(splits: Sequence[SegmentSplit]) -> SegmentSplit:
    """Return splits with the same classes as one; an image that is in several counts once."""
    places = {image: (split, at) for split in reversed(splits) for at, image in enumerate(split.images)}
    order = dict.fromkeys(image for split in splits for image in split.images)
    return SegmentSplit(
        name="+".join(split.name for split in splits),
        classes=splits[0].classes,
        images=tuple(order),
        masks=tuple(places[image][0].masks[places[image][1]] for image in order),
        lookups=tuple(places[image][0].lookups[places[image][1]] for image in order),
        ids=splits[0].ids,
    )


def plain_lookup(classes: int) -> np.ndarray:
    """Return the lookup of masks whose numbers are the labels themselves."""
    lookup = np.full(256, _UNKNOWN, dtype=np.int16)
    lookup[:classes] = np.arange(classes)
    lookup[VOID] = VOID
    return lookup


def decode_numbers(data: bytes, path: Path) -> np.ndarray:
    """Return the pixels of a mask's file, (H, W) uint8: palette indices or grey values. Raises DataError."""
    if not data:
        raise DataError(f"{path}: not a readable image (empty); replace or remove it")
    with image_errors(str(path)), Image.open(io.BytesIO(data)) as image:
        if image.format == "JPEG":
            raise DataError(
                f"{path}: is a JPEG, whose compression changes labels; a mask is a PNG, made from the labels"
            )
        if image.mode not in ("P", "L", "1"):
            what = "colours in place of labels" if image.mode in ("RGB", "RGBA") else f"pixels of mode {image.mode}"
            raise DataError(
                f"{path}: has {what}; a mask is a palette or 8-bit greyscale PNG whose pixels number the classes"
            )
        return np.array(image).astype(np.uint8)
