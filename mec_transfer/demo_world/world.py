"""Writes the demo world's data sets in the layouts of the real ones.

`world.json` is written last: a folder that has it is whole, one that has only the mark of the beginning is made
again. A picture depends on the seed and its own name alone, never on how many there are.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from mec_transfer.common.errors import DataError, RunError, UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.progress import track
from mec_transfer.demo_world import objects, videos
from mec_transfer.demo_world.draw import random_scene
from mec_transfer.demo_world.picture import write_jpeg
from mec_transfer.demo_world.render import Rendering, render
from mec_transfer.demo_world.scene import CATEGORIES, Scene

GENERATOR = 2
"""Raised whenever the same seed gives other pixels."""
PARTS = ("classification", "pretrain", "detection", "tracking")

_MANIFEST = "world.json"
_MARK = ".unfinished-world.json"
_FORMAT = "mec-transfer demo world"
_TWO_THINGS = 0.25  # share of the unlabelled pictures


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

    Part `classification` is out/imagenet/{train,val}/<class>/*.JPEG, part `pretrain` is out/pretrain/*.JPEG, part
    `detection` is out/coco and out/voc, both with masks, and out/ILSVRC/*/DET, part `tracking` is out/{otb,lasot,
    uav123,trackingnet,got10k,vot,davis,motchallenge,mots,posetrack18} and out/ILSVRC/*/VID.
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
        for part, listed in todo.items():
            if part == "tracking":
                videos.write_videos(out, seed)
                continue
            drawn = track(listed, f"drawing {part}", len(listed), "images")
            if part == "detection":
                objects.write_objects(
                    out, [(name, _draw(f"{seed}/{name}", shown, objects.SIDE)) for name, shown in drawn]
                )
                continue
            for name, categories in drawn:
                write_jpeg(out / name, _draw(f"{seed}/{name}", categories, size.side)[1].image)
    except OSError as error:
        raise RunError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None
    counts = {part: len(listed) for part, listed in todo.items()}
    write_json(out / _MANIFEST, {**identity, "parts": {**done, **counts}})
    (out / _MARK).unlink(missing_ok=True)
    return out


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


def _pictures(part: str, seed: int, size: WorldSize) -> list[tuple[str, list[str]]]:
    """The pictures of a part: path below the world and the categories that it shows."""
    if part == "classification":
        counts = {"train": size.train_per_class, "val": size.val_per_class}
        return [
            (f"imagenet/{split}/{name}/{name}_{split}_{index:05d}.JPEG", [name])
            for split, count in counts.items()
            for name in CATEGORIES
            for index in range(count)
        ]
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


def _whole(out: Path, pictures: list[tuple[str, list[str]]], others: Sequence[str]) -> bool:
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
