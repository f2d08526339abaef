"""Images in tar shards, for file systems that hate small files: read at random, by offset and size.

Whoever takes a list of images takes them from shards: order, names, sizes and bytes are those of the loose files.

A folder of shards is one whose tars have an index beside them (`shard_writer` writes both), or one that holds tars and
neither images nor folders, such as WebDataset's: those are scanned once, header by header, when the folder is opened.

Index: a line of JSON {"version", "sha256", "shards": [[file, bytes, images], ...]}, then the images of one shard after
the other, a line each: offset of the bytes in the shard, their number, and the image's path, tabs between; `sha256` is
that of the list of shards and of these lines.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import operator
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.scan import is_image, is_no_data, list_folder

INDEX = "shards.index"
_VERSION = 1
_MOST_OPEN = 400
"""Shards of a split that a process keeps open, of the 1,024 files that it may; the others are opened for each image."""
_BLOCK = tarfile.BLOCKSIZE


class Shard(NamedTuple):
    """What the index says of a tar file."""

    file: str
    """Its name in the folder."""
    size: int
    """In bytes."""
    images: int


class Member(NamedTuple):
    """Where an image lies in its shard."""

    offset: int
    size: int
    name: str
    """Its path, with forward slashes."""


class _Listing(NamedTuple):
    """What a folder of shards holds, in the order in which it lies."""

    shards: list[Shard]
    names: list[str]
    """The path of each image."""
    places: np.ndarray
    """(N, 2) int64: offset, size."""


class ShardFiles:
    """The open tars of one process: opened when first read, never handed to another process."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = root, tuple(names)
        self._open: dict[int, int] = {}

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; several threads may. Raises DataError where they are not there."""
        path = self.root / self.names[shard]
        try:
            descriptor = self._open.get(shard)
            if descriptor is not None:
                data = _read_at(descriptor, offset, size)
            else:
                data = self._open_and_read(shard, path, offset, size)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        if len(data) < size:
            raise DataError(f"{path}: ends at byte {offset + len(data)}, within an image; copy or write it again")
        return data

    def _open_and_read(self, shard: int, path: Path, offset: int, size: int) -> bytes:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        kept = len(self._open) < _MOST_OPEN and self._open.setdefault(shard, descriptor) == descriptor
        try:
            return _read_at(descriptor, offset, size)
        finally:
            if not kept:
                os.close(descriptor)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "names": self.names, "_open": {}}

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_open", {}).values():
            os.close(descriptor)


@dataclasses.dataclass(frozen=True, eq=False)
class ShardedImages(ImageList):
    """Images in a folder of shards; of plain tars, an image's path is the tar's name and the path in it."""

    loose: ClassVar[bool] = False
    files: ShardFiles
    where: np.ndarray
    """(N, 3) int64: shard, offset, size."""

    def sizes(self) -> np.ndarray:
        """Return the images' sizes in bytes, (N,) int64."""
        return self.where[:, 2]

    def read(self, index: int) -> bytes:
        """Return the bytes of image `index`. Raises DataError with the shard's path if they cannot be read."""
        shard, offset, size = self.where[index].tolist()
        return self.files.read(shard, offset, size)

    def name(self, index: int) -> str:
        """Return the shard's path and the image's path in it."""
        shard, path = self.files.names[int(self.where[index, 0])], self.paths[index]
        return f"{self.root / shard}: {path.removeprefix(f'{shard}/')}"

    def subset(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Return the images at `indices`, in that order, with the same classes."""
        return dataclasses.replace(super().subset(indices), where=self.where[np.asarray(indices, dtype=np.int64)])


def holds_shards(folder: Path) -> bool:
    """Whether `folder` is one of shards. Raises DataError when it cannot be read."""
    if (folder / INDEX).is_file():
        return True
    folders, files = list_folder(folder)
    return bool(tar_names(files)) and not folders and not any(map(is_image, files))


def open_shards(folder: Path) -> ShardedImages:
    """List the images of a folder of shards, sorted by path, without labels (-1).

    Raises:
        DataError: a shard is missing, truncated, not of this index, or no tar; the index is damaged; or there is no
            image.
    """
    indexed = (folder / INDEX).is_file()
    shards, names, places = _read_index(folder) if indexed else _scan(folder)
    if not names:
        raise DataError(f"{folder}: no image in its {len(shards)} shards")
    where = np.column_stack([np.repeat(np.arange(len(shards)), [shard.images for shard in shards]), places])
    files = [shard.file for shard in shards]
    if indexed:
        _require_own_shards(ShardFiles(folder, files), shards, names, where)  # which are closed then
    if not all(itertools.starmap(operator.lt, itertools.pairwise(names))):
        order = sorted(range(len(names)), key=names.__getitem__)
        names, where = [names[i] for i in order], where[order]
        for first, second in itertools.pairwise(names):
            if first == second:
                raise DataError(f"{folder}: holds {first} twice; write its shards again")
    return ShardedImages(
        folder, tuple(names), np.full(len(names), -1, dtype=np.int64), (), ShardFiles(folder, files), where
    )


def index_text(shards: Sequence[Shard], members: Iterable[Member]) -> str:
    """Return the index of `shards`, whose images are `members`, in the order in which they lie."""
    lines = "".join(f"{offset}\t{size}\t{name}\n" for offset, size, name in members)
    listed = [list(shard) for shard in shards]
    digest = _digest(listed, lines.encode("utf-8", "surrogateescape"))
    header = {"version": _VERSION, "sha256": digest, "shards": listed}
    return f"{json.dumps(header)}\n{lines}"


def _digest(shards: list[Any], lines: bytes) -> str:
    return hashlib.sha256(json.dumps(shards).encode() + b"\n" + lines).hexdigest()


def _read_index(folder: Path) -> _Listing:
    path = folder / INDEX
    damaged = f"{path}: is damaged; copy it again, or write the shards again"
    try:
        first, _, lines = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        header = json.loads(first)
        version, sha256, listed = header["version"], header["sha256"], header["shards"]
    except (ValueError, KeyError, TypeError):
        raise DataError(damaged) from None
    if version != _VERSION:
        raise DataError(f"{path}: of version {version}, readable is {_VERSION}; write the shards again")
    if _digest(listed, lines) != sha256:
        raise DataError(damaged)
    shards = [Shard(*shard) for shard in listed]
    _require_sizes(folder, shards)
    # A million lines are split at once, which takes a third of the time of one after the other.
    text = lines.decode("utf-8", "surrogateescape")
    if text.count("\t") == 2 * text.count("\n"):
        fields = text.replace("\n", "\t").split("\t")[:-1]
    else:  # a name holds tabs
        fields = [field for line in text.split("\n")[:-1] for field in line.split("\t", 2)]
    places = np.array([np.fromiter(map(int, fields[column::3]), dtype=np.int64) for column in (0, 1)])
    return _Listing(shards, fields[2::3], places.T)


def _require_sizes(folder: Path, shards: list[Shard]) -> None:
    extra = sorted(set(tar_names(list_folder(folder)[1])) - {shard.file for shard in shards})
    if extra:
        raise DataError(f"{folder / extra[0]}: is not in {INDEX}; move it away, or write the shards again")
    for shard in shards:
        path = folder / shard.file
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(f"{path}: is in {INDEX} but not readable ({error.strerror}); copy it here") from None
        if size != shard.size:
            what = "truncated" if size < shard.size else "of another index"
            raise DataError(f"{path}: {what}: {size} bytes, {INDEX} says {shard.size}; copy it again")


def _require_own_shards(files: ShardFiles, shards: list[Shard], names: list[str], where: np.ndarray) -> None:
    """The header before each shard's first and last image must be that image's."""
    for shard, stop in zip(shards, itertools.accumulate(shard.images for shard in shards)):
        for index in (stop - shard.images, stop - 1) if shard.images else ():
            number, offset, size = where[index].tolist()
            try:
                header = tarfile.TarInfo.frombuf(
                    files.read(number, offset - _BLOCK, _BLOCK), "utf-8", "surrogateescape"
                )
            except tarfile.HeaderError:
                header = tarfile.TarInfo()
            # A longer name stands in a block of its own; here is its beginning.
            beginning = os.fsencode(header.name)
            if header.size != size or not beginning or not os.fsencode(names[index]).startswith(beginning):
                raise DataError(
                    f"{files.root / shard.file}: is not the one that {INDEX} lists; take shards and index that were "
                    "written together"
                )


def _scan(folder: Path) -> _Listing:
    shards: list[Shard] = []
    members: list[Member] = []
    for name in tar_names(list_folder(folder)[1]):
        found = _scan_tar(folder / name)
        shards.append(Shard(name, (folder / name).stat().st_size, len(found)))
        members += found
    places = np.array([member[:2] for member in members], dtype=np.int64).reshape(-1, 2)
    return _Listing(shards, [member.name for member in members], places)


def _scan_tar(path: Path) -> list[Member]:
    """The images in a tar, by its headers alone; a tar ends with a block of zeros."""
    found = []
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as tar:
            while member := tar.next():
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
                parts = PurePosixPath(member.name).parts
                hidden = any(is_no_data(part) for part in parts if part not in (".", ".."))
                if member.isreg() and member.sparse is None and is_image(member.name) and not hidden:
                    found.append(Member(member.offset_data, member.size, f"{path.name}/{member.name}"))
            end = tar.offset
        with path.open("rb") as file:
            file.seek(end)
            tail = file.read(_BLOCK)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path}: not a whole tar file ({error}); copy it again") from None
    if tail != bytes(_BLOCK):  # tarfile takes a cut or damaged header for the end
        raise DataError(f"{path}: not a whole tar file (cut or damaged at byte {end}); copy it again")
    return found


def tar_names(files: Iterable[str]) -> list[str]:
    """Return those of a folder's files that are called a tar."""
    return [name for name in files if name.endswith(".tar")]


def _read_at(descriptor: int, offset: int, size: int) -> bytes:
    """`os.pread` until all is there, or the file ends."""
    data = os.pread(descriptor, size, offset)
    while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
        data += more
    return data
