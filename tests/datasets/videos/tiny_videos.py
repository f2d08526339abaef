"""A sound folder of each tracking layout with a few tiny frames, for tests that spoil or respell its text files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mec_transfer.datasets.videos.video import Video
from tests.datasets.reading import read_videos
from tests.datasets.videos import test_davis, test_motchallenge, test_mots, test_otb, test_posetrack

SEQUENCE_DETECTIONS = "train/{sequence}/det/det.txt"
SPLITS = {
    "otb": ("all", ""),
    "davis": ("2017/val", ""),
    "motchallenge": ("train", SEQUENCE_DETECTIONS),
    "mots": ("train", SEQUENCE_DETECTIONS),
    "posetrack18": ("val", "poses/{sequence}.json"),
}
"""Layout -> its split and where its detections are."""


def write(root: Path, layout: str) -> list[Path]:
    """Write a data set; return its text files."""
    writers: dict[str, Callable[[Path], object]] = {
        "otb": lambda root: test_otb.draw(
            root / "Boat", range(1, 5), truth="5,6,10,8\n6,6,10,8\nNaN,NaN,NaN,NaN\n7,6,9,8\n"
        ),
        "davis": _write_davis,
        "motchallenge": test_motchallenge.make,
        "mots": test_mots.make,
        "posetrack18": test_posetrack.make,
    }
    writers[layout](root)
    return sorted(path for path in root.rglob("*") if path.suffix in (".txt", ".ini", ".json"))


def read(root: Path, layout: str) -> tuple[list[Video], list[str]]:
    """Return the videos and the problems."""
    split, detections = SPLITS[layout]
    return read_videos(root, layout, split, (), detections)


def _write_davis(root: Path) -> None:
    test_davis.write_sequence(root, "dance", test_davis.numbered)
    test_davis.write_sequence(root, "my clip", test_davis.numbered)
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("dance\nmy clip\n")
