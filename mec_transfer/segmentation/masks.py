"""Predicted masks as files: palette PNGs of the test images' size, which number the classes as the data set does.

VOC's masks and masks of one's own have the labels themselves, Cityscapes' have the `labelIds` of its evaluation. Void
is never predicted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mec_transfer.common.errors import RunError, one_line
from mec_transfer.common.files import write_bytes
from mec_transfer.datasets.decode import read_file
from mec_transfer.datasets.segments.split import VOID, SegmentSplit, decode_numbers
from mec_transfer.datasets.videos.index_masks import encode_index_mask
from mec_transfer.segmentation.pictures import colour

FOLDER = "masks"
"""Within the job's."""
BYTES_A_PIXEL = 0.25
"""More than a mask's file takes: 0.22 where noise changes every 8 pixels, which is a network's cell, and 0.005 for the
masks of DAVIS (benchmarks/results/segmentation.md)."""


class MaskFolder:
    """One file for each test image, called as the image is."""

    def __init__(self, folder: Path, split: SegmentSplit) -> None:
        self._paths = [folder / f"{name}.png" for name in _names(split.images)]
        self._folder, self._ids = folder, np.array(split.ids, dtype=np.uint8)
        self._colours = np.zeros((VOID + 1, 3), dtype=np.uint8)
        self._colours[self._ids] = [colour(label, split.classes) for label in range(len(split.classes))]
        self._labels = np.zeros(VOID + 1, dtype=np.uint8)
        self._labels[self._ids] = np.arange(len(self._ids))

    def clear(self) -> None:
        """Remove what an earlier attempt left, perhaps of other test images. Raises RunError where that cannot be."""
        try:
            for path in self._folder.rglob("*.png"):
                path.unlink()
        except OSError as error:
            raise RunError(
                f"{self._folder}: an earlier attempt's masks cannot be removed ({one_line(error)})"
            ) from None

    def write(self, at: int, labels: np.ndarray) -> None:
        """Write the mask of the image at a place, (H, W) uint8 of labels, atomically.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        write_bytes(self._paths[at], encode_index_mask(self._ids[labels], self._colours))

    def read(self, at: int) -> np.ndarray:
        """Return the labels, (H, W) uint8, that `write` was given. Raises DataError where the file cannot be read."""
        path = self._paths[at]
        return self._labels[decode_numbers(read_file(path), path)]


def _names(images: tuple[Path, ...]) -> list[str]:
    """Return the images' names without ending; where two have one, as in two cities, the folder's before it."""
    names = [image.stem for image in images]
    return names if len(set(names)) == len(names) else [f"{image.parent.name}/{image.stem}" for image in images]
