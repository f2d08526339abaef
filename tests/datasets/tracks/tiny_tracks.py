"""Small folders of the layouts of tracks, for tests that read, spoil or compare them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

DOG, CAR, OTHER = "n02084071", "n02958343", "n00007846"
Thing = tuple[str, str, tuple[int, int, int, int], int]
"""Track, class, corners, occluded."""
VIDEO = {
    "train/ILSVRC2015_VID_train_0001/b": [
        [("1", DOG, (3, 4, 20, 18), 0), ("0", CAR, (0, 0, 9, 9), 0)],
        [],
        [("0", CAR, (1, 1, 10, 9), 1), ("5", OTHER, (1, 1, 5, 5), 0), ("1", DOG, (5, 4, 22, 18), 0)],
        [("2", DOG, (8, 8, 8, 15), 0)],
    ],
    "train/ILSVRC2015_VID_train_0000/a": [[("0", DOG, (2, 3, 12, 13), 0)], [("0", DOG, (4, 3, 14, 13), 0)]],
}
"""Videos in an order that is not the sorted one, their frames and what is in these."""
PICTURES = {
    "train/ILSVRC2013_train/n01/n01_10": [("", DOG, (1, 2, 11, 22), 0), ("", OTHER, (5, 5, 9, 9), 0)],
    "train/ILSVRC2013_train/n01/n01_2": [],
    "train/ILSVRC2013_train/n01/n01_3": [("", CAR, (0, 0, 30, 20), 0)],
    "train/ILSVRC2013_train/n015/n015_1": [("", OTHER, (3, 3, 3, 9), 0)],
    "train/ILSVRC2014_train_0000/ILSVRC2014_train_00000002": [("", CAR, (7, 7, 17, 12), 0)],
    "train/ILSVRC2014_train_0006/ILSVRC2014_train_00060001": [("", DOG, (1, 1, 2, 2), 0)],
}
LISTED = ("train/ILSVRC2014_train_0000/ILSVRC2014_train_00000002", "train/ILSVRC2013_train/n01/n01_3")
SPLITS = {"imagenet_vid": "train", "imagenet_det": "train", "coco_tracks": "train2017"}


def xml(name: str, things: Sequence[Thing], order: str = "xmax xmin ymax ymin") -> str:
    """An annotation as ImageNet writes it."""
    parts = []
    for track, kind, (x0, y0, x1, y1), occluded in things:
        corners = {"xmin": x0, "ymin": y0, "xmax": x1, "ymax": y1}
        box = "".join(f"\t\t\t<{key}>{corners[key]}</{key}>\n" for key in order.split())
        first = f"\t\t<trackid>{track}</trackid>\n" if track else ""
        flags = f"\t\t<occluded>{occluded}</occluded>\n\t\t<generated>0</generated>\n" if track else ""
        parts.append(
            f"\t<object>\n{first}\t\t<name>{kind}</name>\n\t\t<bndbox>\n{box}\t\t</bndbox>\n{flags}\t</object>\n"
        )
    size = "\t<size>\n\t\t<width>30</width>\n\t\t<height>20</height>\n\t</size>\n"
    source = "\t<source>\n\t\t<database>ILSVRC_2015</database>\n\t</source>\n"
    head = f"\t<folder>x</folder>\n\t<filename>{name}</filename>\n{source}{size}"
    return f"<annotation>\n{head}{''.join(parts)}</annotation>\n"


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), (90, 120, 30)).save(path, "JPEG")


def _text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_vid(root: Path, listed: bool = True) -> list[Path]:
    """Write ImageNet VID; return its text files."""
    lines, files = [], []
    for video, frames in VIDEO.items():
        for number, things in enumerate(frames):
            path = root / "Annotations" / "VID" / video / f"{number:06d}.xml"
            files.append(_text(path, xml(f"{number:06d}", things)))
            _picture(root / "Data" / "VID" / video / f"{number:06d}.JPEG")
            lines.append(f"{video} 1 {number + 1} {len(frames)}")
    return [_text(root / "Lists" / "VID_train_15frames.txt", "\n".join(lines)), *files] if listed else files


def write_det(root: Path, listed: bool = True) -> list[Path]:
    """Write ImageNet DET; return its text files."""
    files = []
    for name, things in PICTURES.items():
        path = root / "Annotations" / "DET" / f"{name}.xml"
        files.append(_text(path, xml(Path(name).name, things, "xmin xmax ymin ymax")))
        _picture(root / "Data" / "DET" / f"{name}.JPEG")
    text = "".join(f"{name} 1\n" for name in LISTED)
    return [_text(root / "Lists" / "DET_train_30classes.txt", text), *files] if listed else files


def write_coco(root: Path) -> list[Path]:
    """Write a COCO split whose annotations are in no order; return its JSON."""
    rows = ((9, 2, 0), (4, 1, 0), (7, 2, 1), (1, 3, 0), (5, 1, 0))
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "bbox": [number, 2.5, 10, 8 if number != 5 else 0],
            "iscrowd": crowd,
            "area": 80,
        }
        for number, image, crowd in rows
    ]
    for number in (1, 2, 3, 4):
        _picture(root / "train2017" / f"{number}.jpg")
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 30, "height": 20} for number in (3, 1, 2, 4)]
    data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    return [_text(root / "annotations" / "instances_train2017.json", json.dumps(data, indent=1))]


WRITERS: dict[str, Callable[[Path], list[Path]]] = {
    "imagenet_vid": write_vid,
    "imagenet_det": write_det,
    "coco_tracks": write_coco,
}


def plain(track: object) -> tuple[list[str], list[int], np.ndarray, list[bool]]:
    """What is in a track, as values to compare."""
    return (
        [str(path) for path in track.paths],  # type: ignore[attr-defined]
        track.frame_ids.tolist(),  # type: ignore[attr-defined]
        track.boxes,  # type: ignore[attr-defined]
        track.visible.tolist(),  # type: ignore[attr-defined]
    )
