from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mec_transfer.datasets.videos.frames import open_frames
from mec_transfer.tracking.overlay import Marks, colour, draw_marks, write_animation

GREY = np.full((40, 60, 3), 100, dtype=np.uint8)


def test_boxes_masks_and_poses_are_drawn_in_their_identitys_colour() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[30:35, 5:10] = True
    points = np.array([[40.0, 10.0], [50.0, 20.0], [np.nan, np.nan]])
    marks = Marks(boxes={3: (10, 5, 30, 20)}, masks={4: mask}, points={5: points}, bones=((0, 1), (1, 2)))
    drawn = np.asarray(draw_marks(GREY, marks))
    assert drawn.shape == (40, 60, 3)
    assert tuple(drawn[20, 20]) == colour(3) and tuple(drawn[12, 20]) == (100, 100, 100)
    veiled = [round(65 + 0.35 * value) for value in colour(4)]
    assert np.abs(drawn[32, 7].astype(int) - veiled).max() <= 1
    assert tuple(drawn[30, 7]) == colour(4) and tuple(drawn[29, 7]) == (100, 100, 100)
    assert tuple(drawn[15, 45]) == colour(5) and tuple(drawn[10, 40]) == colour(5)


def test_neighbouring_identities_look_unlike_each_other() -> None:
    for identity in range(1, 50):
        assert np.abs(np.subtract(colour(identity), colour(identity + 1))).sum() > 150


def test_a_long_video_of_large_frames_gives_a_small_animation(tmp_path: Path) -> None:
    for number in range(130):
        Image.new("RGB", (1000, 500), (number, 0, 0)).save(tmp_path / f"{number:05d}.png")
    frames = open_frames(tmp_path, "long")
    asked: list[int] = []

    def marks(index: int) -> Marks:
        asked.append(index)
        return Marks(boxes={1: (100 + index, 100, 300 + index, 300)})

    write_animation(tmp_path / "pictures/long.gif", frames, marks)
    assert asked == list(range(0, 130, 3))
    with Image.open(tmp_path / "pictures/long.gif") as picture:
        assert (picture.size, picture.n_frames, picture.info["duration"]) == ((480, 258), 44, 300)


def test_small_videos_are_enlarged_and_told_of(tmp_path: Path) -> None:
    for number in range(2):
        Image.new("RGB", (60, 40), (90, 90, 90)).save(tmp_path / f"{number:05d}.png")
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 20:40] = True
    frames = open_frames(tmp_path, "small")
    write_animation(tmp_path / "small.gif", frames, lambda index: Marks(true_masks=(mask,)), "best: small, J&F 50.0")
    with Image.open(tmp_path / "small.gif") as picture:
        assert picture.size == (180, 138)
        drawn = np.asarray(picture.convert("RGB"))
    assert tuple(drawn[30, 90]) == (255, 255, 255) and abs(int(drawn[60, 90, 0]) - 90) < 8  # an outline alone
    assert drawn[121:].min() < 100  # the words
