"""Writes the demo world's data sets in the layouts of the real ones.

`world.json` is written last: a folder that has it is whole, one that has only the mark of the beginning is made
again. A picture depends on the seed and its own name alone, never on how many there are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from mec_transfer.common.errors import DataError, RunError, UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.interrupt import blocked_signals
from mec_transfer.common.processes import tie_to_parent
from mec_transfer.common.progress import track
from mec_transfer.common.runtime import usable_cores
from mec_transfer.demo_world import objects, videos
from mec_transfer.demo_world.draw import random_scene
from mec_transfer.demo_world.picture import without_colour, write_jpeg
from mec_transfer.demo_world.render import Rendering, render
from mec_transfer.demo_world.scene import CATEGORIES, Scene

GENERATOR = 2
"""Raised whenever the same seed gives other pixels."""
PARTS = ("classification", "grey", "pretrain", "detection", "tracking")

_MANIFEST = "world.json"
_MARK = ".unfinished-world.json"
_FORMAT = "mec-transfer demo world"
_TWO_THINGS = 0.25  # share of the unlabelled pictures
_WITH_MORE = ("detection", "tracking")
"""Parts that write more than pictures."""
_WORTH_A_PROCESS = 200
"""Pictures that take longer to draw than a process takes to start."""

Picture = tuple[str, list[str]]
"""Its path below the world and the categories that it shows."""
_GREY = (*CATEGORIES,)[::2]
"""The categories of part `grey`."""
_GREY_FOLDER = "imagenet_grey/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldSize:
    """How much of the world is drawn."""

    train_per_class: int = 100
    val_per_class: int = 20
    unlabelled: int = 2000
    side: int = 72
    """Width and height of the pictures in pixels."""


def write_demo_world(out: Path, seed: int = 0, parts: tuple[str, ...] = PARTS, size: WorldSize | None = None) -> Path:
    """Write the demo world to `out` and return `out`; done at once when it is there already.

    Part `classification` is out/imagenet/{train,val}/<class>/*.JPEG, part `grey` is out/imagenet_grey/<class>/*.JPEG,
    pictures without colour of every second class, part `pretrain` is out/pretrain/*.JPEG, part `detection` is out/coco
    and out/voc, both with masks, and out/ILSVRC/*/DET, part `tracking` is out/{otb,lasot,uav123,trackingnet,got10k,vot,
    davis,motchallenge,mots,posetrack18} and out/ILSVRC/*/VID.
    A part that is missing or has lost files is drawn (again).

    Raises:
        DataError: `out` holds something else, or the world of another seed, size or generator.
        RunError: the disk is full or the folder cannot be written.
    """
    size = size or WorldSize()
    identity = {
        "format": _FORMAT,
        "generator": GENERATOR,
        "seed": seed,
        "size": dataclasses.asdict(size),
    }
    done = _read_manifest(out, identity)
    pictures = {part: _pictures(part, seed, size) for part in parts}
    todo = {
        part: listed
        for part, listed in pictures.items()
        if done.get(part) != len(listed) or not _whole(out, listed, _other_files(part))
    }
    if not todo:
        return out
    write_json(out / _MARK, identity)
    try:
        pictures_alone = [picture for part, listed in todo.items() if part not in _WITH_MORE for picture in listed]
        for name, _ in pictures_alone:
            (out / name).unlink(missing_ok=True)  # what is there from now on is whole
        with _helpers(out, seed, size.side, pictures_alone):
            for part, listed in todo.items():
                if part == "tracking":
                    videos.write_videos(out, seed)
                elif part == "detection":
                    drawn = track(listed, "drawing detection", len(listed), "images")
                    objects.write_objects(
                        out, [(name, _draw(f"{seed}/{name}", shown, objects.SIDE)) for name, shown in drawn]
                    )
            _draw_missing(out, seed, size.side, track(pictures_alone, "drawing images", len(pictures_alone), "images"))
    except OSError as error:
        raise RunError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None
    counts = {part: len(listed) for part, listed in todo.items()}
    write_json(out / _MANIFEST, {**identity, "parts": {**done, **counts}})
    (out / _MARK).unlink(missing_ok=True)
    return out


@contextlib.contextmanager
def _helpers(out: Path, seed: int, side: int, pictures: Sequence[Picture]) -> Iterator[None]:
    """Let the other cores draw pictures meanwhile, each beginning at another place of the list.

    Nobody waits for them or asks what they did: whoever comes to a picture that is not there draws it, and so does this
    process at the end, where an error is told. A picture that two draw at the same moment is the same one.
    """
    count = min(usable_cores(), math.ceil(len(pictures) / _WORTH_A_PROCESS)) - 1
    if not sys.platform.startswith("linux"):  # elsewhere a fork is not safe
        count = 0
    started = []
    try:
        for number in range(1, count + 1):
            start = len(pictures) * number // (count + 1)
            own = [*pictures[start:], *pictures[:start]]
            helper = multiprocessing.get_context("fork").Process(
                target=_help, args=(os.getpid(), out, seed, side, own), daemon=True
            )
            with blocked_signals():  # a signal is for this process, which then ends them
                helper.start()
            started.append(helper)
        yield
    except BaseException:
        for helper in started:
            helper.kill()
        raise
    finally:
        for helper in started:
            helper.join()


def _help(parent: int, out: Path, seed: int, side: int, pictures: Sequence[Picture]) -> None:
    tie_to_parent(parent)
    with contextlib.suppress(OSError):  # the one that is helped comes upon it too
        _draw_missing(out, seed, side, pictures)


def _draw_missing(out: Path, seed: int, side: int, pictures: Iterable[Picture]) -> None:
    for name, categories in pictures:
        if not (out / name).exists():
            pixels = _draw(f"{seed}/{name}", categories, side)[1].image
            write_jpeg(out / name, without_colour(pixels) if name.startswith(_GREY_FOLDER) else pixels)


def _read_manifest(out: Path, identity: dict[str, Any]) -> dict[str, int]:
    """Return the finished parts (name -> number of files) of the world that `out` holds, if it holds one."""
    if not out.exists():
        return {}
    if not out.is_dir():
        raise DataError(f"{out}: is a file, a folder is needed")
    file = next((out / name for name in (_MANIFEST, _MARK) if (out / name).is_file()), None)
    if file is None:
        strange = next((entry.name for entry in out.iterdir() if not entry.name.startswith(".")), None)
        if strange:
            raise DataError(f"{out}: holds something else ({strange}); the demo world needs a folder of its own")
        return {}
    try:
        manifest = read_json(file)
    except UserError as error:
        raise DataError(f"{error}; remove {out} and make the world again") from None
    for key, wanted in identity.items():
        found = manifest.get(key) if isinstance(manifest, dict) else None
        if found != wanted:
            raise DataError(
                f"{file}: '{key}' is {found!r}, asked for is {wanted!r}; choose another folder or remove it"
            )
    parts: dict[str, int] = manifest.get("parts", {})
    return parts


def _pictures(part: str, seed: int, size: WorldSize) -> list[Picture]:
    """Return the pictures of a part."""
    if part == "classification":
        counts = {"train": size.train_per_class, "val": size.val_per_class}
        return [
            (f"imagenet/{split}/{name}/{name}_{split}_{index:05d}.JPEG", [name])
            for split, count in counts.items()
            for name in CATEGORIES
            for index in range(count)
        ]
    if part == "grey":
        places = [(name, index) for name in _GREY for index in range(size.val_per_class)]
        return [(f"{_GREY_FOLDER}{name}/{name}_grey_{index:05d}.JPEG", [name]) for name, index in places]
    if part == "pretrain":
        names = [f"pretrain/{index:06d}.JPEG" for index in range(size.unlabelled)]
        return [(name, _unlabelled_categories(Random(f"{seed}/{name}/categories"))) for name in names]
    if part == "detection":
        return [(name, _unlabelled_categories(Random(f"{seed}/{name}/categories"))) for name in objects.picture_names()]
    if part == "tracking":
        return [(name, []) for name in videos.file_names()[0]]
    raise DataError(f"'{part}' is not a part of the demo world; there are: {', '.join(PARTS)}")


def _other_files(part: str) -> Sequence[str]:
    """What a part consists of besides its pictures."""
    if part == "tracking":
        return videos.file_names()[1]
    return objects.FILES if part == "detection" else ()


def _unlabelled_categories(chance: Random) -> list[str]:
    return chance.sample(list(CATEGORIES), 2 if chance.random() < _TWO_THINGS else 1)


def _draw(key: str, categories: list[str], side: int) -> tuple[Scene, Rendering]:
    scene = random_scene(Random(key), categories, side)
    return scene, render(scene, side, side)


def _whole(out: Path, pictures: list[Picture], others: Sequence[str]) -> bool:
    """Whether every picture and other file is there and not empty."""
    by_folder: dict[Path, set[str]] = {}
    for name in (*(name for name, _ in pictures), *others):
        path = out / name
        by_folder.setdefault(path.parent, set()).add(path.name)
    return all(names <= _filled(folder) for folder, names in by_folder.items())


def _filled(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.stat().st_size}
    except FileNotFoundError:
        return set()
