"""The LaSOT layout: CLASS/CLASS-N/img/00000001.jpg and CLASS/CLASS-N/groundtruth.txt (Fan et al., CVPR 2019).

A line of the truth is x,y,w,h, a line a frame. full_occlusion.txt and out_of_view.txt hold a 0 or 1 for each frame; a
target is visible where both are 0 and its box has a size. Split `test` is the published 280 sequences, `train` every
other one, `all` both. The folder is LaSOTBenchmark, or the one that holds it.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import ClassVar

from mec_transfer.datasets.scan import list_folder
from mec_transfer.datasets.videos.box_video import BoxLayout, BoxVideo, has_size, read_box_video, read_flags
from mec_transfer.datasets.videos.frames import open_frames

_TEST = """
    airplane 1 9 13 15 basketball 1 6 7 11 bear 2 4 6 17 bicycle 2 7 9 18 bird 2 3 15 17 boat 3 4 12 17 book 3 10 11
    19 bottle 1 12 14 18 bus 2 5 17 19 car 2 6 9 17 cat 1 3 18 20 cattle 2 7 12 13 chameleon 3 6 11 20 coin 3 6 7 18
    crab 3 6 12 18 crocodile 3 4 10 14 cup 1 4 7 17 deer 4 8 10 14 dog 1 7 15 19 drone 2 7 13 15 electricfan 1 10 18
    20 elephant 1 12 16 18 flag 2 3 5 9 fox 2 3 5 20 frog 3 4 9 20 gametarget 1 2 7 13 gecko 1 5 16 19 giraffe 2 10 13
    15 goldfish 3 7 8 10 gorilla 4 6 9 13 guitar 3 8 10 16 hand 2 3 9 16 hat 1 2 5 18 helmet 5 11 13 19 hippo 1 7 9 20
    horse 1 4 12 15 kangaroo 2 5 11 14 kite 4 6 10 15 leopard 1 7 16 20 licenseplate 6 12 13 15 lion 1 5 12 20 lizard
    1 3 6 13 microphone 2 6 14 16 monkey 3 4 9 17 motorcycle 1 3 9 18 mouse 1 8 9 17 person 1 5 10 12 pig 2 10 13 18
    pool 3 7 12 15 rabbit 10 13 17 19 racing 10 15 16 20 robot 1 5 8 19 rubicCube 1 6 14 19 sepia 6 8 13 16 shark 2 3
    5 6 sheep 3 5 7 9 skateboard 3 8 16 19 spider 14 16 18 20 squirrel 8 11 13 19 surfboard 4 5 8 12 swing 10 14 17 20
    tank 6 9 14 16 tiger 4 6 12 18 train 1 7 11 20 truck 3 6 7 16 turtle 5 8 9 16 umbrella 2 9 17 19 volleyball 1 13
    18 19 yoyo 7 15 17 19 zebra 10 14 16 17
"""
_CLASS = re.compile(r"([A-Za-z]+)((?: \d+)+)")
TEST = tuple(
    f"{name}-{number}" for name, numbers in _CLASS.findall(" ".join(_TEST.split())) for number in numbers.split()
)
"""The published sequences that are measured on: LaSOT's testing_set.txt, by class and number."""
_TEXTS = ("groundtruth.txt", "full_occlusion.txt", "out_of_view.txt")


class LasotLayout(BoxLayout[Path]):
    """A folder for each class, and in it one for each sequence."""

    SPLITS: ClassVar = {"test": "the published 280", "train": "every sequence beside these", "all": "every sequence"}
    PUBLISHED: ClassVar = {"test": TEST}

    def split_names(self, folder: Path) -> list[str]:
        """Return `all` where there is a sequence; the others are parts of it."""
        return ["all"] if folder.is_dir() and self.find(folder, "all") else []

    def find(self, root: Path, split: str) -> dict[str, Path]:
        """Return sequence -> its folder, sorted."""
        base = root / "LaSOTBenchmark" if (root / "LaSOTBenchmark").is_dir() else root
        found = {
            name: base / kind / name
            for kind in list_folder(base)[0]
            for name in list_folder(base / kind)[0]
            if name.rpartition("-")[0] == kind
        }
        return {name: found[name] for name in sorted(found) if split != "train" or name not in _PUBLISHED}

    def read_video(self, name: str, split: str, source: Path, problems: list[str]) -> BoxVideo | None:
        """Read one sequence. See `BoxLayout`."""
        truth, *flags = files = tuple(source / text for text in _TEXTS)
        video = read_box_video(open_frames(source / "img", name), truth, problems)
        if video is None:
            return None
        hidden, outside = (read_flags(path, len(video.boxes), problems) for path in flags)
        if hidden is None or outside is None:
            return None
        return dataclasses.replace(video, files=files, visible=has_size(video.boxes) & ~hidden & ~outside)


_PUBLISHED = frozenset(TEST)
