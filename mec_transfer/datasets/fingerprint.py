"""A data set's fingerprint: changes with the data, not with where it lies, and does not reread a terabyte."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

from mec_transfer.datasets.images import ImageList
from mec_transfer.datasets.layouts import open_all
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.shards import ShardedImages

_VERSION = "mec-transfer dataset fingerprint 1"
_SAMPLED_FILES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """What a record says of its data."""

    fingerprint: str
    """sha256, 64 hex digits."""
    train_fingerprint: str
    """The same of the first split alone, which is the one to train on."""
    splits: dict[str, int]
    """Images of each split."""
    classes: int | None
    """None where there are no labels."""

    @property
    def num_images(self) -> int:
        """The images of all splits together."""
        return sum(self.splits.values())


def summarise(root: Path, layout: str) -> DatasetSummary:
    """Fingerprint the data set at `root`.

    Hashed are the split, path (relative to the split), size and label of every image, and the bytes of 64 images of
    each split, which are picked by their place in the sorted list. Location, times, the order of the file system and
    whether the images lie in shards do not matter. What it cannot see: a change that keeps a file's size, in a file
    that is not among the 64.

    Raises:
        DataError: the data set is malformed, or a listed file cannot be read.
    """
    splits = open_all(root, layout)
    digest = hashlib.sha256(f"{_VERSION}\n{layout}\n".encode())
    after = []
    for name, images in splits.items():
        _add_split(digest, name, images)
        after.append(digest.hexdigest())
    labelled = next(iter(splits.values())).classes
    return DatasetSummary(
        fingerprint=after[-1],
        train_fingerprint=after[0],
        splits={name: len(images) for name, images in splits.items()},
        classes=len(labelled) or None,
    )


def _add_split(digest: hashlib._Hash, name: str, images: ImageList | ShardedImages) -> None:
    sizes = images.sizes().tolist()
    lines = [
        b"%s\0%d\0%d\n" % (os.fsencode(path), size, label)
        for path, size, label in zip(images.paths, sizes, images.labels.tolist())
    ]
    digest.update(f"split {name} {len(images)}\n".encode())
    digest.update(b"".join(lines))
    for index in sample_indices(len(images), _SAMPLED_FILES):
        digest.update(hashlib.sha256(images.read(index)).digest())
