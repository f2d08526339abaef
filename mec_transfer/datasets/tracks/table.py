"""Tracks as columns of numbers: ImageNet VID has a million frames, COCO 860,000 tracks of one frame each.

Shapes: N images, R rows (a target in a frame), T tracks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np

from mec_transfer.datasets.videos.box_video import has_size

COLUMNS = {"first": "<i8", "image": "<i4", "frame": "<i4", "boxes": "<f8", "visible": "?"}
"""The columns' types, the same on every machine."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Track:
    """One target through the frames that show it, in their order."""

    paths: Sequence[Path]
    """One a frame; each is made when it is asked for."""
    frame_ids: np.ndarray
    """(n,) int32: the frames' numbers in their video, from 0; some may be left out."""
    boxes: np.ndarray
    """(n, 4) float64: x, y, w, h in pixels as the file has them; NaN where the target is not there."""
    visible: np.ndarray
    """(n,) bool: where the target is seen and its box has a size."""


class ImageFiles(Sequence[Path]):
    """N files in few folders, each made a path when it is asked for."""

    def __init__(self, folders: Sequence[str], folder: np.ndarray, names: bytes, ends: np.ndarray) -> None:
        """Take columns as they are.

        Args:
            folders: where files lie.
            folder: (N,) int32, the index of each file's folder.
            names: all names, one after the other, in the file system's encoding.
            ends: (N + 1,) int64: where each name begins, and at the end where the last one ends.
        """
        self.folders, self.folder, self.names, self.ends = tuple(folders), folder, names, ends

    def name(self, index: int) -> str:
        """Return a file's name without its folder."""
        return os.fsdecode(self.names[self.ends[index] : self.ends[index + 1]])

    def __len__(self) -> int:
        return len(self.folder)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Path, ...]: ...
    def __getitem__(self, index: int | slice) -> Path | tuple[Path, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(len(self))[index])
        place = range(len(self))[index]
        return Path(self.folders[self.folder[place]], self.name(place))


class _Some(Sequence[Path]):
    """The files at some indices of others."""

    def __init__(self, files: ImageFiles, indices: np.ndarray) -> None:
        self._files, self._indices = files, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> _Some: ...
    def __getitem__(self, index: int | slice) -> Path | _Some:
        if isinstance(index, slice):
            return _Some(self._files, self._indices[index])
        return self._files[int(self._indices[index])]


class TrackTable(Sequence[Track]):
    """T tracks of R rows together; a `Track` is made when it is asked for."""

    def __init__(self, files: ImageFiles, columns: Mapping[str, np.ndarray], digest: str | None = None) -> None:
        """Take columns as they are.

        Args:
            files: N images.
            columns: `first` (T + 1,), where each track's rows begin, and at the end R; `image` and `frame` (R,), each
                row's image and the frame's number; `boxes` (R, 4); `visible` (R,).
            digest: what `digest` would find out, where it is known.
        """
        self.files = files
        kept = {name: np.ascontiguousarray(columns[name], dtype=kind) for name, kind in COLUMNS.items()}
        self.first, self.image, self.frame = kept["first"], kept["image"], kept["frame"]
        self.boxes, self.visible = kept["boxes"].reshape(-1, 4), kept["visible"]
        if digest is not None:
            self.digest = digest

    @cached_property
    def digest(self) -> str:
        """The sha256 of everything but where the folders lie: any change of a value, or of their order, changes it."""
        digest = hashlib.sha256(b"mec-transfer tracks 1\n")
        for name, values in self.arrays().items():
            if name != "folders":
                digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
                digest.update(values.data)
        return digest.hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the whole table as arrays by name, for `from_arrays`."""
        folders = "".join(f"{folder}\0" for folder in self.files.folders).encode(errors="surrogateescape")
        return {
            "folders": np.frombuffer(folders, dtype=np.uint8),
            "folder": self.files.folder,
            "names": np.frombuffer(self.files.names, dtype=np.uint8),
            "ends": self.files.ends,
            **{name: getattr(self, name) for name in COLUMNS},
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray], digest: str) -> TrackTable:
        """Return the table that `arrays` were made of."""
        folders = arrays["folders"].tobytes().decode(errors="surrogateescape").split("\0")[:-1]
        files = ImageFiles(folders, arrays["folder"], arrays["names"].tobytes(), arrays["ends"])
        return TrackTable(files, arrays, digest)

    def __len__(self) -> int:
        return len(self.first) - 1

    @overload
    def __getitem__(self, index: int) -> Track: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Track, ...]: ...
    def __getitem__(self, index: int | slice) -> Track | tuple[Track, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(len(self))[index])
        place = range(len(self))[index]
        rows = slice(self.first[place], self.first[place + 1])
        paths = _Some(self.files, self.image[rows])
        # A caller may change its copy, as MMTracking does.
        boxes, visible = self.boxes[rows].copy(), self.visible[rows].copy()
        return Track(paths=paths, frame_ids=self.frame[rows].copy(), boxes=boxes, visible=visible)

    def __iter__(self) -> Iterator[Track]:
        return (self[place] for place in range(len(self)))


class TableBuilder:
    """Takes in images and rows one after the other, in less memory than Python's own values."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._folder, self._lengths, self._names = array("i"), array("q"), bytearray()
        self._track, self._image, self._frame = array("q"), array("i"), array("i")
        self._boxes, self._seen = array("d"), array("b")

    @property
    def images(self) -> int:
        """How many images there are so far."""
        return len(self._folder)

    def add_image(self, folder: str, name: str) -> int:
        """Take in an image and return its index."""
        encoded = os.fsencode(name)
        self._folder.append(self._folders.setdefault(folder, len(self._folders)))
        self._lengths.append(len(encoded))
        self._names += encoded
        return len(self._folder) - 1

    def add_row(self, track: int, image: int, frame: int, box: Sequence[float], seen: bool) -> None:
        """Take in a target in a frame.

        Args:
            track: any number; the tracks' order is that of their numbers, which must be 0, 1, ... without a gap.
            image: the index of the frame's image.
            frame: the frame's number in its video.
            box: x, y, w, h.
            seen: whether nothing hides it; a box without a size makes a row invisible anyway.
        """
        self._track.append(track)
        self._image.append(image)
        self._frame.append(frame)
        self._boxes.extend(box)
        self._seen.append(seen)

    def build(self) -> TrackTable:
        """Return the table: rows by track, those of one in the order that they were taken in."""
        ends = np.fromiter(accumulate(self._lengths, initial=0), dtype="<i8", count=len(self._lengths) + 1)
        files = ImageFiles(tuple(self._folders), _column(self._folder, "<i4"), bytes(self._names), ends)
        track, boxes = _column(self._track, "<i8"), _column(self._boxes, "<f8").reshape(-1, 4)
        order = np.argsort(track, kind="stable")
        rows: dict[str, Any] = {
            "image": _column(self._image, "<i4"),
            "frame": _column(self._frame, "<i4"),
            "boxes": boxes,
            "visible": _column(self._seen, "?") & has_size(boxes),
        }
        first = np.searchsorted(track[order], np.arange(track.max(initial=-1) + 2))
        return TrackTable(files, {"first": first, **{name: column[order] for name, column in rows.items()}})


def _column(values: array[Any], kind: str) -> np.ndarray:
    found = np.frombuffer(values, dtype=values.typecode) if values else np.zeros(0, dtype=values.typecode)
    return found.astype(kind)
