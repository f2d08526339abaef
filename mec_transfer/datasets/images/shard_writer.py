"""Writing a folder of images as tar shards with an index: the same images give the same bytes."""

from __future__ import annotations

import dataclasses
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from mec_transfer.common.errors import DataError, RunError, UserError
from mec_transfer.common.files import atomic_writer, write_bytes, write_text
from mec_transfer.common.lock import LOCK_NAME, folder_lock
from mec_transfer.common.progress import track
from mec_transfer.datasets.decode import read_file
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.shards import INDEX, Member, Shard, index_text

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_size(text: str) -> int:
    """Return the bytes of `500MB`, `2GB` and the like (of 10^6, 10^9 bytes). Raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB)", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise UserError(f"--shard-size {text}: a size such as 500MB or 2GB is needed")
    return size


def write_splits(
    splits: Mapping[str, ImageList], out: Path, shard_size: int, beside: Sequence[Path] = ()
) -> list[Shard]:
    """Write the images of each split in their order, and an index, to a folder of its own below the new folder `out`.

    A tar has at most `shard_size` bytes; a larger image gets one of its own. All is written beside `out` and moved
    there at the end: `out` holds all shards or is not there.

    Args:
        splits: by the folder's name; "" is `out` itself.
        out: where to.
        shard_size: in bytes.
        beside: files to be copied into `out`.

    Raises:
        UserError: `out` is not empty, or another process writes it.
        DataError: an image cannot be read, or its name holds a line break.
        RunError: the disk is full, or the folder cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists and is not an empty folder; give a new one")
    partial = out.with_name(f".{out.name}.partial")
    with folder_lock(partial, f"writing {out}"):
        for old in partial.iterdir():  # of a run that was killed
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            elif old.name != LOCK_NAME:
                old.unlink()
        try:
            shards = [shard for name in splits for shard in _write_all(splits[name], partial / name, shard_size)]
            for file in beside:
                write_bytes(partial / file.name, read_file(file))
            (partial / LOCK_NAME).unlink()
            partial.rename(out)
        except OSError as error:
            raise RunError(f"{out}: cannot be written ({error.strerror or error})") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return shards


def _write_all(images: ImageList, folder: Path, shard_size: int) -> list[Shard]:
    shards: list[Shard] = []
    members: list[Member] = []
    rest = track(range(len(images)), "writing shards", len(images), "images")
    waiting = _read(images, rest)
    first = next(waiting, None)
    while first is not None:
        with atomic_writer(folder / f"shard-{len(shards):06d}.tar") as handle:
            shard = _OpenShard(handle, shard_size)
            while first is not None and shard.has_room(first):
                members.append(shard.add(first))
                first = next(waiting, None)
            handle.write(_END)
            shards.append(Shard(f"shard-{len(shards):06d}.tar", handle.tell(), shard.images))
    write_text(folder / INDEX, index_text(shards, members))
    return shards


@dataclasses.dataclass(frozen=True)
class _Entry:
    name: str
    header: bytes
    data: bytes

    @property
    def space(self) -> int:
        """Bytes of the shard, with the zeros that fill its last block."""
        return len(self.header) + len(self.data) + -len(self.data) % _BLOCK


def _read(images: ImageList, indices: Iterator[int]) -> Iterator[_Entry]:
    for index in indices:
        name = images.paths[index]
        if "\n" in name:
            raise DataError(f"{images.root}: the name {name!r} holds a line break; rename the image")
        data = images.read(index)
        info = tarfile.TarInfo(name)  # no owner, no time: nothing but the images decides the bytes
        info.size = len(data)
        yield _Entry(name, info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"), data)


class _OpenShard:
    def __init__(self, handle: BinaryIO, size: int) -> None:
        self.handle, self.size, self.images = handle, size, 0

    def has_room(self, entry: _Entry) -> bool:
        """At least one image goes into any shard."""
        return not self.images or self.handle.tell() + entry.space + len(_END) <= self.size

    def add(self, entry: _Entry) -> Member:
        self.images += 1
        self.handle.write(entry.header)
        offset = self.handle.tell()
        self.handle.write(entry.data)
        self.handle.write(bytes(-len(entry.data) % _BLOCK))
        return Member(offset, len(entry.data), entry.name)
