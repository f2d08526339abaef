"""The images of a split with their objects, as arrays; each is made into plain values when it is asked for."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from mec_transfer.datasets.objects.annotation import ObjectImage
from mec_transfer.datasets.objects.columns import ObjectColumns, join_offsets, offsets_of, pack_objects

_BLOCK = 512
"""Images that an iteration makes at a time: a step of NumPy for each one alone takes longer than all else."""


class ObjectTable(Sequence[ObjectImage]):
    """N images and M objects."""

    def __init__(
        self,
        paths: Sequence[str],
        ids: Sequence[int | str],
        sizes: np.ndarray,
        first: np.ndarray,
        objects: ObjectColumns,
        digest: str | None = None,
    ) -> None:
        """Take columns as they are.

        Args:
            paths: N, of the image files.
            ids: N, of the images.
            sizes: (N, 2) int64, width and height.
            first: (N + 1,) int64, where each image's objects begin, and at the end M.
            objects: M, in the order of the images.
            digest: what `digest` would find out, where it is known.
        """
        self.paths, self.ids = tuple(paths), tuple(ids)
        self.sizes, self.first = sizes.astype("<i8", copy=False).reshape(-1, 2), first.astype("<i8", copy=False)
        self.objects = objects
        if digest is not None:
            self.digest = digest

    @staticmethod
    def pack(images: Sequence[ObjectImage]) -> ObjectTable:
        """Return plain images as arrays."""
        return ObjectTable(
            [os.fspath(image.path) for image in images],
            [image.image_id for image in images],
            np.array([(image.width, image.height) for image in images], dtype=np.int64),
            offsets_of(len(image.objects) for image in images),
            pack_objects([thing for image in images for thing in image.objects]),
        )

    @staticmethod
    def join(tables: Sequence[ObjectTable]) -> ObjectTable:
        """Return the images of all `tables`, one after the other."""
        if len(tables) == 1:
            return tables[0]
        return ObjectTable(
            [path for table in tables for path in table.paths],
            [image_id for table in tables for image_id in table.ids],
            np.concatenate([table.sizes for table in tables]),
            join_offsets([table.first for table in tables]),
            ObjectColumns.join([table.objects for table in tables]),
        )

    def take(self, indices: Sequence[int] | np.ndarray) -> ObjectTable:
        """Return the images at `indices`, (K,), in that order."""
        order = np.asarray(indices, dtype=np.int64)
        counts = np.diff(self.first)[order]
        first = np.concatenate([[0], np.cumsum(counts)])
        things = np.arange(first[-1]) + np.repeat(self.first[:-1][order] - first[:-1], counts)
        paths, ids = ([column[index] for index in order] for column in (self.paths, self.ids))
        return ObjectTable(paths, ids, self.sizes[order], first, self.objects.take(things))

    def image_of_object(self) -> np.ndarray:
        """Return the index of each object's image, (M,) int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of everything but where the files lie: any change of a value, or of their order, changes it."""
        digest = hashlib.sha256()
        names = [os.path.basename(path) for path in self.paths]  # noqa: PTH119  # a Path for each takes far longer
        digest.update(json.dumps([names, self.ids]).encode())
        for name, values in {"sizes": self.sizes, "first": self.first, **self.objects.arrays()}.items():
            digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
            digest.update(values.data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> ObjectImage: ...
    @overload
    def __getitem__(self, index: slice) -> ObjectTable: ...
    def __getitem__(self, index: int | slice) -> ObjectImage | ObjectTable:
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return self.take(chosen)
        return self._images(chosen, chosen + 1)[0]

    def __iter__(self) -> Iterator[ObjectImage]:
        for start in range(0, len(self), _BLOCK):
            yield from self._images(start, min(start + _BLOCK, len(self)))

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, ObjectTable):
            return self.paths == other.paths and self.digest == other.digest
        return isinstance(other, tuple) and len(self) == len(other) and tuple(self) == other

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<{len(self)} images with {len(self.objects)} objects>"

    def _images(self, start: int, stop: int) -> list[ObjectImage]:
        first = self.first[start : stop + 1].tolist()
        things = self.objects.annotations(first[0], first[-1])
        spans, sizes = itertools.pairwise(first), self.sizes[start:stop].tolist()
        return [
            ObjectImage(
                path=Path(path),
                image_id=image_id,
                width=width,
                height=height,
                objects=tuple(things[begin - first[0] : end - first[0]]),
            )
            for path, image_id, (width, height), (begin, end) in zip(
                self.paths[start:stop], self.ids[start:stop], sizes, spans
            )
        ]
