"""A sound folder of each tracking layout with a few tiny frames, for tests that spoil or respell its text files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mec_transfer.datasets.videos.video import Video
from tests.datasets.reading import read_videos
from tests.datasets.videos import test_box_layouts, test_davis, test_motchallenge, test_mots, test_otb, test_posetrack

SEQUENCE_DETECTIONS = "train/{sequence}/det/det.txt"
SPLITS = {
    "otb": ("all", ""),
    "lasot": ("all", ""),
    "uav123": ("all", ""),
    "trackingnet": ("TRAIN", ""),
    "got10k": ("train", ""),
    "vot": ("all", ""),
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
        "lasot": lambda root: test_box_layouts.lasot(root, "dog-1"),
        "uav123": lambda root: test_box_layouts.uav123(root, "bike", "bike", range(1, 4)),
        "trackingnet": lambda root: test_box_layouts.trackingnet(root, "TRAIN_0", "a_0"),
        "got10k": _write_got10k,
        "vot": _write_vot,
        "davis": _write_davis,
        "motchallenge": test_motchallenge.make,
        "mots": test_mots.make,
        "posetrack18": test_posetrack.make,
    }
    writers[layout](root)
    return sorted(path for path in root.rglob("*") if path.suffix in (".txt", ".ini", ".json", ".label"))


def read(root: Path, layout: str) -> tuple[list[Video], list[str]]:
    """Return the videos and the problems."""
    split, detections = SPLITS[layout]
    return read_videos(root, layout, split, (), detections)


def _write_davis(root: Path) -> None:
    test_davis.write_sequence(root, "dance", test_davis.numbered)
    test_davis.write_sequence(root, "my clip", test_davis.numbered)
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("dance\nmy clip\n")


def _write_got10k(root: Path) -> None:
    test_box_layouts.got10k(root / "train", "GOT-10k_Train_000001")
    (root / "train" / "list.txt").write_text("GOT-10k_Train_000001\n")


def _write_vot(root: Path) -> None:
    test_box_layouts.vot(root, "ants1")
    test_box_layouts.vot(root, "bag", "5,6,10,8\n" * 3)
    (root / "list.txt").write_text("ants1\nbag\n")
