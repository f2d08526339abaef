"""The OTB layout: SEQUENCE/img/0001.jpg and SEQUENCE/groundtruth_rect.txt (Wu, Lim, Yang, TPAMI 2015).

A line of the truth is x, y, w, h in pixels counted from 1, a line a frame; commas, semicolons, tabs or blanks stand
between (`annotations.split_fields`). A box with NaN, or without width or height, says that the target is not there.
Split `OTB2015` is the hundred published sequences, `all` is every folder that is a sequence. A folder with several
targets (groundtruth_rect.1.txt, groundtruth_rect.2.txt) is a sequence for each, named as pysot names them: `Jogging-1`,
`Jogging-2`. Copies of the folder under these names are read too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from mec_transfer.datasets.scan import list_folder
from mec_transfer.datasets.videos.box_video import BoxLayout, BoxVideo, make_box_video, parse_boxes, part_of
from mec_transfer.datasets.videos.frames import open_frames

_NAMES = """
    Basketball Biker Bird1 Bird2 BlurBody BlurCar1 BlurCar2 BlurCar3 BlurCar4 BlurFace BlurOwl Board Bolt Bolt2 Box
    Boy Car1 Car2 Car24 Car4 CarDark CarScale ClifBar Coke Couple Coupon Crossing Crowds Dancer Dancer2 David David2
    David3 Deer Diving Dog Dog1 Doll DragonBaby Dudek FaceOcc1 FaceOcc2 Fish FleetFace Football Football1 Freeman1
    Freeman3 Freeman4 Girl Girl2 Gym Human2 Human3 Human4-2 Human5 Human6 Human7 Human8 Human9 Ironman Jogging-1
    Jogging-2 Jump Jumping KiteSurf Lemming Liquor Man Matrix Mhyang MotorRolling MountainBike Panda RedTeam Rubik
    Shaking Singer1 Singer2 Skater Skater2 Skating1 Skating2-1 Skating2-2 Skiing Soccer Subway Surfer Suv Sylvester
    Tiger1 Tiger2 Toy Trans Trellis Twinnings Vase Walking Walking2 Woman
"""
OTB2015 = tuple(_NAMES.split())
"""The published sequences."""

_PARTS = {
    "BlurCar1": (247, 988),
    "BlurCar3": (3, 359),
    "BlurCar4": (18, 397),
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
}
"""Which frames the truth is of, where the folder has more (pytracking evaluation/otbdataset.py, got10k otb.py)."""
_LEFT_OUT = {"Tiger1": 5}
"""Frames that are there and have a truth, but are not tracked (pytracking, `initOmit`)."""
_TRUTH = re.compile(r"groundtruth_rect(?:\.(\d+))?\.txt")


class OtbLayout(BoxLayout[tuple[Path, Path]]):
    """Folders of frames with one target, or several, each."""

    SPLITS: ClassVar = {"OTB2015": "the published hundred", "all": "every folder that is a sequence"}
    PUBLISHED: ClassVar = {"OTB2015": OTB2015}

    def split_names(self, folder: Path) -> list[str]:
        """Return `all` where there is a sequence; the published hundred are a part of it."""
        return ["all"] if folder.is_dir() and _find_targets(folder) else []

    def find(self, root: Path, split: str) -> dict[str, tuple[Path, Path]]:
        """Return sequence -> its folder and its truth."""
        return _find_targets(root)

    def read_video(self, name: str, split: str, source: tuple[Path, Path], problems: list[str]) -> BoxVideo | None:
        """Read one sequence; adds to `problems` and returns None where its truth is broken. Raises DataError."""
        folder, truth = source
        left_out = _LEFT_OUT.get(name, 0) if split == "OTB2015" else 0
        frames = open_frames(folder / "img", name)
        boxes, broken = parse_boxes(truth)
        problems += broken
        if broken:
            return None
        if len(boxes) != len(frames) and name in _PARTS:
            frames = part_of(frames, *_PARTS[name])
        if len(frames) <= left_out:
            problems.append(f"{folder / 'img'}: {len(frames)} frames, but tracking begins in frame {left_out + 1}")
            return None
        frames = part_of(frames, frames.numbers[0] + left_out, frames.numbers[-1])
        return make_box_video(frames, truth, boxes[left_out:], problems, left_out + 1)


def _find_targets(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return sequence -> its folder and its truth, sorted; a folder without frames or truth is no sequence."""
    found: dict[str, tuple[Path, Path]] = {}
    for name in list_folder(root)[0]:
        folder = root / name
        files = [match for file in list_folder(folder)[1] if (match := _TRUTH.fullmatch(file))]
        # The published Human4 has an empty groundtruth_rect.1.txt beside the second target's.
        files = [match for match in files if len(files) == 1 or (folder / match.string).stat().st_size]
        copied = next(
            (match for match in files if name in OTB2015 and match[1] and name.endswith(f"-{match[1]}")), None
        )
        if copied:
            found[name] = (folder, folder / copied.string)
        elif files:
            for match in files:
                found.setdefault(f"{name}-{match[1]}" if match[1] else name, (folder, folder / match.string))
        elif (folder / "img").is_dir():
            found[name] = (folder, folder / "groundtruth_rect.txt")
    return found
