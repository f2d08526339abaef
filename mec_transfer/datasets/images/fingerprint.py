"""A data set's fingerprint: changes with the data, not with where it lies, and does not reread a terabyte."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import numpy as np

from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.problems import sizes_of
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.sample import sample_indices

_VERSION = "mec-transfer dataset fingerprint 1"
_SAMPLED_FILES = 64


def fingerprints(splits: Mapping[str, ImageList], layout: str, index: Index) -> list[str]:
    """Return the sha256 (64 hex digits) of the first split alone, of the first two, and so on: the last is that of all.

    Hashed are the split, path (relative to the split), size and label of every image, and the bytes of 64 images of
    each split, which are picked by their place in the sorted list. Location, times, the order of the file system and
    whether the images lie in shards do not matter. What it cannot see: a change that keeps a file's size, in a file
    that is not among the 64. `index` remembers it.

    Raises:
        DataError: a listed file cannot be read.
    """
    samples = {name: _sample(images) for name, images in splits.items()}
    stamp, name = _stamp(splits, samples, index), f"fingerprint {layout} {' '.join(splits)}"
    kept: list[str] | None = index.recall(name, stamp)
    if kept is None:
        kept = _hash_splits(splits, samples, layout, index)
        index.keep(name, stamp, kept)
    return kept


def _hash_splits(splits: Mapping[str, ImageList], samples: Mapping[str, bytes], layout: str, index: Index) -> list[str]:
    """Return the sha256 after each split."""
    digest = hashlib.sha256(f"{_VERSION}\n{layout}\n".encode())
    after = []
    for name, images in splits.items():
        _add_split(digest, name, images, sizes_of(images, index))
        digest.update(samples[name])
        after.append(digest.hexdigest())
    return after


def _sample(images: ImageList) -> bytes:
    """Return the sha256 of each of the sampled files, one after the other."""
    indices = sample_indices(len(images), _SAMPLED_FILES)
    return b"".join(hashlib.sha256(images.read(index)).digest() for index in indices)


def _stamp(splits: Mapping[str, ImageList], samples: Mapping[str, bytes], index: Index) -> str:
    """Hash all that a fingerprint is made of, without a line of text for each of a million images."""
    digest = hashlib.sha256()
    for name, images in splits.items():
        digest.update(f"{name} {len(images)}\n".encode())
        digest.update(os.fsencode("\n".join(images.paths)))
        digest.update(sizes_of(images, index).tobytes() + images.labels.tobytes() + samples[name])
    return digest.hexdigest()


def _add_split(digest: hashlib._Hash, name: str, images: ImageList, sizes: np.ndarray) -> None:
    labels = images.labels.reshape(len(images), -1).tolist()
    lines = [
        b"%s\0%d\0%s\n" % (os.fsencode(path), size, b" ".join(b"%d" % label for label in row))
        for path, size, row in zip(images.paths, sizes.tolist(), labels)
    ]
    digest.update(f"split {name} {len(images)}\n".encode())
    digest.update(b"".join(lines))
