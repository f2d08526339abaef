from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.videos.frames import open_frames


def write(folder: Path, *names: str, mode: str = "RGB", size: tuple[int, int] = (7, 5)) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        value = int("".join(c for c in Path(name).stem if c.isdigit()) or 0) % 250
        Image.new(mode, size, value if mode == "L" else (value, 0, 9)).save(folder / name)
    return folder


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = open_frames(write(tmp_path / "a", "img9.png", "img10.png", "img11.png"), "a")
    assert frames.numbers == (9, 10, 11)
    assert (frames.width, frames.height, len(frames)) == (7, 5, 3)
    assert [int(frames.read(index)[0, 0, 0]) for index in range(3)] == [9, 10, 11]


def test_a_grey_frame_gives_three_equal_channels(tmp_path: Path) -> None:
    pixels = open_frames(write(tmp_path / "a", "0001.png", mode="L"), "a").read(0)
    assert pixels.shape == (5, 7, 3)
    assert (pixels == 1).all() and pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no frame of sequence 'a'"),
        (("0001.png", "0002.png", "0005.png"), r"frame 3 and 1 more missing between 1 and 5"),
        (("0001.png", "1.png"), "frame 1 is there twice"),
        (("0001.png", "cover.png"), "cover.png: the name does not end in a frame number"),
    ],
)
def test_what_is_wrong_with_the_names_is_said(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_frames(write(tmp_path / "a", *names), "a")


def test_empty_broken_and_differing_frames_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", "1.png", "2.png")
    write(folder, "2.png", size=(8, 5))
    with pytest.raises(DataError, match=r"2\.png: 8x5 pixels, but the first frame of 'a' has 7x5"):
        open_frames(folder, "a").read(1)
    (folder / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2\.png: empty"):
        open_frames(folder, "a")
    (folder / "1.png").write_bytes(b"not a picture")
    (folder / "2.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1\.png: not a readable image"):
        open_frames(folder, "a")


def test_reading_ahead_gives_every_frame_and_the_error_in_its_place(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", "1.png", "2.png", "3.png")
    frames = open_frames(folder, "a")
    assert [int(pixels[0, 0, 0]) for pixels in frames.read_all()] == [1, 2, 3]
    assert [pixels.flags.writeable for pixels in frames.read_all()] == [True] * 3
    write(folder, "3.png", size=(8, 5))
    ahead = frames.read_all()
    assert next(ahead)[0, 0, 0] == 1 and next(ahead)[0, 0, 0] == 2
    with pytest.raises(DataError, match=r"3\.png: 8x5 pixels"):
        next(ahead)


def test_times_of_day_as_numbers_are_told_apart_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", "20240101000000.png", "20241231235959.png")
    with pytest.raises(DataError, match=r"frame 20240101000001 and 1130235957 more missing"):
        open_frames(folder, "a")


def test_a_broken_link_and_what_systems_leave(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", "1.png", "2.png")
    (folder / "._1.png").write_bytes(b"\0\5\x16\7")
    (folder / "Thumbs.db").write_bytes(b"junk")
    assert len(open_frames(folder, "a")) == 2
    (folder / "3.png").symlink_to(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"3\.png: missing or a broken link"):
        open_frames(folder, "a")
