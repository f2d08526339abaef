"""A data set's fingerprint: changes with the data, not with where it lies, and does not reread a terabyte."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mec_transfer.datasets.images.folders import open_all, sizes_of
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.shards import ShardedImages
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.sample import sample_indices

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
    return summarise_splits(open_all(root, layout), layout, Index())


def summarise_splits(splits: Mapping[str, ImageList | ShardedImages], layout: str, index: Index) -> DatasetSummary:
    """Do what `summarise` does for splits that are open already; `index` remembers it. Raises DataError."""
    samples = {name: _sample(images) for name, images in splits.items()}
    stamp = _stamp(splits, samples, index)
    kept = index.recall(f"fingerprint {layout}", stamp)
    if kept is None:
        kept = _hash_splits(splits, samples, layout, index)
        index.keep(f"fingerprint {layout}", stamp, kept)
    labelled = next(iter(splits.values())).classes
    return DatasetSummary(
        fingerprint=kept[-1],
        train_fingerprint=kept[0],
        splits={name: len(images) for name, images in splits.items()},
        classes=len(labelled) or None,
    )


def _hash_splits(
    splits: Mapping[str, ImageList | ShardedImages], samples: Mapping[str, bytes], layout: str, index: Index
) -> list[str]:
    """Return the sha256 after each split."""
    digest = hashlib.sha256(f"{_VERSION}\n{layout}\n".encode())
    after = []
    for name, images in splits.items():
        _add_split(digest, name, images, sizes_of(images, index))
        digest.update(samples[name])
        after.append(digest.hexdigest())
    return after


def _sample(images: ImageList | ShardedImages) -> bytes:
    """Return the sha256 of each of the sampled files, one after the other."""
    indices = sample_indices(len(images), _SAMPLED_FILES)
    return b"".join(hashlib.sha256(images.read(index)).digest() for index in indices)


def _stamp(splits: Mapping[str, ImageList | ShardedImages], samples: Mapping[str, bytes], index: Index) -> str:
    """Hash all that a fingerprint is made of, without a line of text for each of a million images."""
    digest = hashlib.sha256()
    for name, images in splits.items():
        digest.update(f"{name} {len(images)}\n".encode())
        digest.update(os.fsencode("\n".join(images.paths)))
        digest.update(sizes_of(images, index).tobytes() + images.labels.tobytes() + samples[name])
    return digest.hexdigest()


def _add_split(digest: hashlib._Hash, name: str, images: ImageList | ShardedImages, sizes: np.ndarray) -> None:
    lines = [
        b"%s\0%d\0%d\n" % (os.fsencode(path), size, label)
        for path, size, label in zip(images.paths, sizes.tolist(), images.labels.tolist())
    ]
    digest.update(f"split {name} {len(images)}\n".encode())
    digest.update(b"".join(lines))
