"""Crops on the disk: one file of all JPEGs with an index, in place of mot2reid's hundred thousand small ones."""

from __future__ import annotations

import collections
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common import distributed
from mec_transfer.common.config import json_sha256
from mec_transfer.common.errors import DataError, RunError, one_line
from mec_transfer.common.files import atomic_writer, read_json, sha256_file, write_json, write_text
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.progress import Meter
from mec_transfer.common.runtime import usable_cores
from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.tracking.mmtrack.reid_config import CropRule
from mec_transfer.tracking.mmtrack.reid_crops import Crop, ReidCrops, crops_fingerprint

TRAIN, VAL = "train_80.txt", "val_20.txt"
"""The lists of file names and labels, as mot2reid calls them."""
_JPEGS, _INDEX = "crops.bin", "crops.json"


class CropStore:
    """The crops of a data set in a folder; `crops.json` is written last and says that all is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[int, int]] = {}
        self._handle: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind: a loading process opens its own."""
        return {**self.__dict__, "_handle": None}

    def is_whole(self) -> bool:
        """Whether everything is there and is what was written: all of it is read."""
        try:
            index = read_json(self.folder / _INDEX)
            return bool(sha256_file(self.folder / _JPEGS) == index["sha256"])
        except Exception:  # missing, cut short, of something else: it is written again
            return False

    def read(self, name: str) -> bytes:
        """Return a crop's JPEG. Raises RunError where it cannot be read."""
        try:
            if not self._places:
                index = read_json(self.folder / _INDEX)
                ends = list(itertools.accumulate(index["sizes"]))
                begins = [0, *ends[:-1]]
                self._places = dict(zip(index["names"], zip(begins, index["sizes"], strict=True), strict=True))
            if self._handle is None or self._handle[0] != os.getpid():  # a fork shares the parent's
                self._handle = (os.getpid(), (self.folder / _JPEGS).open("rb"))
            begin, size = self._places[name]
            return os.pread(self._handle[1].fileno(), size, begin)
        except (OSError, KeyError) as error:
            raise RunError(
                f"{self.folder}: crop {name} cannot be read ({one_line(error)}); run the job again"
            ) from None


def open_crops(root: Path, videos: Sequence[MotVideo], crops: ReidCrops, rule: CropRule) -> CropStore:
    """Return the store of `crops` below `root`, cut from `videos` where it is not there yet.

    Jobs of several models that share `root` cut once: the others wait for the first.

    Raises:
        DataError: a frame cannot be read.
        RunError: the disk is full or the folder cannot be written.
    """
    import cv2

    key = json_sha256([crops_fingerprint(videos), rule.model_dump(mode="json"), cv2.__version__])
    store = CropStore(root / key[:16])

    def write() -> None:
        with folder_lock(store.folder, "cutting crops", patience=None):
            if not store.is_whole():
                _write(store.folder, videos, crops)

    distributed.on_first(write)
    return store


def _write(folder: Path, videos: Sequence[MotVideo], crops: ReidCrops) -> None:
    names: list[str] = []
    sizes: list[int] = []
    digest = hashlib.sha256()
    with atomic_writer(folder / _JPEGS) as handle:
        for name, data in _cut(videos, [crop for crop, _ in (*crops.train, *crops.val)]):
            names.append(name)
            sizes.append(len(data))
            digest.update(data)
            handle.write(data)
    for path, part in ((TRAIN, crops.train), (VAL, crops.val)):
        write_text(folder / path, "".join(f"{crop.name} {label}\n" for crop, label in part))
    write_json(folder / _INDEX, {"sha256": digest.hexdigest(), "names": names, "sizes": sizes}, indent=None)


def _cut(videos: Sequence[MotVideo], crops: Sequence[Crop]) -> Iterator[tuple[str, bytes]]:
    """Yield each crop's name and JPEG, frame by frame; frames are decoded by several threads, a few ahead."""
    by_frame: dict[tuple[str, int], list[Crop]] = {}
    for crop in crops:
        by_frame.setdefault((crop.name.partition("/")[0].rpartition("_")[0], crop.frame), []).append(crop)
    known = {video.name: video for video in videos}
    todo = [
        (known[name], frame, wanted) for (name, frame), wanted in sorted(by_frame.items(), key=lambda item: item[0])
    ]
    meter = Meter("cutting crops", len(todo), "frames")
    threads = min(8, usable_cores())
    ahead: collections.deque[Any] = collections.deque()
    try:
        with ThreadPoolExecutor(threads) as pool:
            waiting = iter(todo)
            ahead.extend(pool.submit(_cut_frame, *job) for job in itertools.islice(waiting, 2 * threads))
            while ahead:
                found = ahead.popleft().result()
                ahead.extend(pool.submit(_cut_frame, *job) for job in itertools.islice(waiting, 1))
                yield from found
                meter.advance()
    finally:
        meter.close()


def _cut_frame(video: MotVideo, frame: int, crops: Sequence[Crop]) -> list[tuple[str, bytes]]:
    """Decode by OpenCV, as mot2reid: Pillow's decoder differs from it in last bits."""
    import cv2

    path = video.frames.paths[frame]
    try:
        encoded = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({one_line(error)})") from None
    pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    if pixels is None or pixels.shape[:2] != (video.frames.height, video.frames.width):
        found = "not a readable image" if pixels is None else f"{pixels.shape[1]}x{pixels.shape[0]} pixels"
        raise DataError(f"{path}: {found}; frames of {video.frames.width}x{video.frames.height} are needed")
    cut = []
    for crop in crops:
        x0, y0, x1, y1 = crop.box
        _, data = cv2.imencode(".jpg", pixels[y0 : y1 + 1, x0 : x1 + 1])
        cut.append((crop.name, data.tobytes()))
    return cut
