"""The layout of ImageNet VID: Annotations/VID/train/**/000000.xml and Data/VID/train/**/000000.JPEG.

A track is a target of one of the thirty classes in one video, hidden where its <occluded> is 1, as MMTracking's
converter (tools/convert_datasets/ilsvrc/imagenet2coco_vid.py) makes them, in its order. Where Lists or ImageSets hold
FGFA's VID_train_15frames.txt (VID_val_videos.txt), that says which videos there are, in which order and how long;
without it they are all folders with annotations, sorted, and all their frames.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mec_transfer.common.errors import DataError
from mec_transfer.common.progress import track
from mec_transfer.datasets.annotations import read_lines
from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.scan import file_names, list_folder, look_at_all
from mec_transfer.datasets.tracks.ilsvrc_xml import CLASSES, FoundObject, read_objects
from mec_transfer.datasets.tracks.layout import Reading, TracksLayout
from mec_transfer.datasets.values import few

_LIST_FOLDERS = ("Lists", "ImageSets", "ImageSets/VID")
_LENGTH = re.compile("[0-9]{1,6}")
_LISTS = {"train": "VID_train_15frames.txt", "val": "VID_val_videos.txt"}


class ImageNetVidLayout(TracksLayout):
    """The folder that holds Annotations and Data."""

    def split_names(self, folder: Path) -> list[str]:
        """Return the folders of Annotations/VID that hold annotations: `train`, `val`."""
        base = folder / "Annotations" / "VID"
        return [name for name in (list_folder(base)[0] if base.is_dir() else []) if name in _LISTS]

    def read(self, config: TracksDatasetConfig, folder: Path, into: Reading) -> None:
        """Read a split. See `TracksLayout`."""
        if config.split not in self.split_names(folder):
            raise DataError(f"{folder}: has no Annotations/VID/{config.split}; splits are {' and '.join(_LISTS)}")
        listed = find_list(folder, _LISTS[config.split], into)
        videos = _listed_videos(listed) if listed else _all_videos(folder, config.split, into)
        sample: list[str] = []
        for video, length in track(videos.items(), "reading ImageNet VID", len(videos), "videos"):
            annotations, images = (folder / kind / "VID" / video for kind in ("Annotations", "Data"))
            into.watch(annotations, images)
            try:
                sample += _read_video(annotations, images, length, into)[:1]
            except DataError as error:
                into.problems.append(str(error))
        into.watch_some(sample)


def find_list(folder: Path, name: str, into: Reading) -> Path | None:
    """Return a list of the published split, where the folder has it."""
    places = [folder / place / name for place in _LIST_FOLDERS]
    into.watch(*places)
    return next((path for path in places if path.is_file()), None)


def _listed_videos(path: Path) -> dict[str, int]:
    """Return video -> frames, in the list's order: `train/VIDEO 1 10 300`, the last number being the frames."""
    videos: dict[str, int] = {}
    for number, line in read_lines(path):
        words = line.split()
        if len(words) < 2 or not _LENGTH.fullmatch(words[-1]) or ".." in words[0] or words[0].startswith("/"):
            raise DataError(f"{path}:{number}: '{line.strip()}' is not a video's name, its numbers and its length")
        videos.setdefault(words[0], int(words[-1]))
    if not videos:
        raise DataError(f"{path}: lists no video")
    return videos


def _all_videos(folder: Path, split: str, into: Reading) -> dict[str, int]:
    """Return video -> 0, which stands for as many frames as there are annotations. Raises DataError."""
    base, videos, waiting = folder / "Annotations" / "VID", dict[str, int](), [split]
    while waiting:
        name = waiting.pop()
        into.watch(base / name)
        folders, files = list_folder(base / name)
        waiting += [f"{name}/{inner}" for inner in reversed(folders)]
        if any(file.endswith(".xml") for file in files):
            videos[name] = 0
    return dict(sorted(videos.items()))


def _read_video(annotations: Path, images: Path, length: int, into: Reading) -> list[str]:
    """Read a video's annotations; return the files. Raises DataError."""
    there = {name for name in file_names(annotations) if name.endswith(".xml")}
    if length > len(there):
        raise DataError(f"{annotations}: {len(there)} annotations, but the list says that it has {length} frames")
    wanted = [f"{frame:06d}" for frame in range(length or len(there))]
    if missing := [f"{name}.xml" for name in wanted if f"{name}.xml" not in there]:
        raise DataError(f"{annotations}: {len(missing)} of {len(wanted)} annotations are missing: {few(missing)}")
    paths = [f"{annotations}/{name}.xml" for name in wanted]
    pictures, lost = file_names(images), list[str]()
    first, numbers = into.tracks, dict[str, int]()
    for frame, (path, found) in enumerate(zip(paths, look_at_all(read_or_tell, paths))):
        if isinstance(found, str):
            into.problems.append(found)
            continue
        kept = [thing for thing in found if thing.name in CLASSES]
        if problem := _track_problem(kept):
            into.problems.append(f"{path}:1: {problem}")
        elif kept and f"{wanted[frame]}.JPEG" not in pictures:
            lost.append(f"{wanted[frame]}.JPEG")
        elif kept:
            image = into.add_image(os.fspath(images), f"{wanted[frame]}.JPEG")
            for thing in kept:
                number = numbers.setdefault(thing.track, first + len(numbers))
                into.add_row(number, image, frame, thing.box, not thing.occluded)
    into.tracks += len(numbers)
    if lost:
        into.problems.append(f"{images}: {len(lost)} of {len(wanted)} frames are missing: {few(lost)}")
    return paths


def _track_problem(things: list[FoundObject]) -> str:
    """Say what keeps the objects of a frame from being told apart; nothing where they are."""
    tracks = [thing.track for thing in things]
    if "" in tracks:
        return "an object has no <trackid>"
    twice = next((name for name in tracks if tracks.count(name) > 1), None)
    return "" if twice is None else f"track {twice} is in this frame twice"


def read_or_tell(path: str) -> list[FoundObject] | str:
    """Return a file's objects, or what is wrong with it, beginning with path and line."""
    try:
        return read_objects(path)
    except ValueError as error:
        return str(error)
