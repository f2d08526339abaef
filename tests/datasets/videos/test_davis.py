from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.videos.davis import DavisVideo
from mec_transfer.datasets.videos.index_masks import encode_index_mask, read_index_mask
from mec_transfer.datasets.videos.video import remarks
from tests.datasets.reading import open_videos

FRAMES = 4
SIZE = (12, 9)


def write_sequence(root: Path, name: str, mask: Callable[[int], bytes]) -> None:
    frames, masks = root / "JPEGImages" / "480p" / name, root / "Annotations" / "480p" / name
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    for number in range(FRAMES):
        Image.new("RGB", SIZE, (number, 0, 0)).save(frames / f"{number:05d}.jpg")
        (masks / f"{number:05d}.png").write_bytes(mask(number))


def numbered(number: int) -> bytes:
    """Objects 1 and 2; void from the second mask on, and an object 3 that the first mask does not know."""
    pixels = np.zeros(SIZE[::-1], np.uint8)
    pixels[:3, :3], pixels[5:, 5:] = 1, 2
    pixels[0, 11], pixels[1, 11] = (255, 3) if number else (0, 0)
    return encode_index_mask(pixels)


def saved(path: Path, pixels: np.ndarray, mode: str = "L") -> None:
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_sequence(tmp_path, "dance", numbered)
    write_sequence(tmp_path, "park", numbered)
    for number in range(FRAMES):
        pixels = np.zeros(SIZE[::-1], np.uint8)
        pixels[2:4, 2:4] = 255
        saved(tmp_path / "Annotations" / "480p" / "park" / f"{number:05d}.png", pixels)
    for year, text in (("2017", "park\ndance\n\n"), ("480p", "")):
        (tmp_path / "ImageSets" / year).mkdir(parents=True)
        (tmp_path / "ImageSets" / year / "val.txt").write_text(text)
    lines = [f"/JPEGImages/480p/dance/{n:05d}.jpg /Annotations/480p/dance/{n:05d}.png" for n in range(FRAMES)]
    (tmp_path / "ImageSets" / "480p" / "val.txt").write_text("\n".join(lines))
    return tmp_path


def read(root: Path, split: str = "2017/val") -> tuple[DavisVideo, ...]:
    return open_videos(root, "davis", split)  # type: ignore[return-value]


def test_objects_are_as_the_first_mask_has_them_in_the_order_of_the_list(root: Path) -> None:
    park, dance = read(root)
    assert (park.name, park.objects, dance.name, dance.objects) == ("park", 1, "dance", 2)
    assert len(dance.files) == len(dance.frames) == FRAMES
    last = dance.mask(3)
    assert last.dtype == np.uint8 and sorted(set(last.ravel().tolist())) == [0, 1, 2]
    assert (last == 1).sum() == 9 and (last == 2).sum() == 28
    assert park.mask(0).sum() == 4 and park.mask(0).max() == 1


def test_2016_is_one_object_a_sequence_from_either_list(root: Path) -> None:
    (video,) = read(root, "2016/val")
    assert video.name == "dance" and video.objects == 1
    assert (video.mask(3) == 1).sum() == 9 + 28 + 1  # the object that comes later as well, the void not
    (root / "ImageSets" / "2016").mkdir()
    (root / "ImageSets" / "2016" / "val.txt").write_text("park\n")
    assert [video.name for video in read(root, "2016/val")] == ["park"]


def test_all_needs_neither_lists_nor_the_folder_480p(root: Path) -> None:
    shutil.rmtree(root / "ImageSets")
    assert [video.name for video in read(root, "all")] == ["dance", "park"]
    for kind in ("JPEGImages", "Annotations"):
        (root / kind / "480p").rename(root / "moved")
        (root / kind).rmdir()
        (root / "moved").rename(root / kind)
    assert [video.objects for video in read(root, "all")] == [2, 1]


def test_a_mask_that_is_a_jpeg_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "mask.png", "JPEG")
    with pytest.raises(DataError, match=r"mask.png: is a JPEG, whose compression changes numbers; a mask is a PNG"):
        read_index_mask(tmp_path / "mask.png")


def test_a_written_mask_is_read_back_in_vocs_colours(tmp_path: Path) -> None:
    numbers = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (tmp_path / "mask.png").write_bytes(encode_index_mask(numbers))
    pixels, palette = read_index_mask(tmp_path / "mask.png")
    assert palette and (pixels == numbers).all()
    colours = Image.open(tmp_path / "mask.png").convert("RGB")
    assert [colours.getpixel((n, 0)) for n in (0, 1, 2, 3, 8)] == [
        *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (64, 0, 0)),
    ]


def dance(root: Path, number: int) -> Path:
    return root / "Annotations" / "480p" / "dance" / f"{number:05d}.png"


def spoil(root: Path, how: str) -> None:
    pixels = np.zeros(SIZE[::-1], np.uint8)
    first, third = dance(root, 0), dance(root, 2)
    if how == "gap":
        pixels[0, :3] = [1, 3, 7]
        first.write_bytes(encode_index_mask(pixels))
    elif how in ("empty", "void"):
        pixels[0, 0] = 255 * (how == "void")
        first.write_bytes(encode_index_mask(pixels))
    elif how == "size":
        third.write_bytes(encode_index_mask(pixels[:-1]))
    elif how == "colours":
        saved(third, pixels, "RGB")
    elif how == "truncated":
        third.write_bytes(third.read_bytes()[:60])
    elif how == "missing":
        third.unlink()
    elif how == "first only":
        for number in range(1, FRAMES):
            dance(root, number).unlink()
    elif how == "more":
        shutil.copy(third, dance(root, 9))
    elif how == "no masks":
        shutil.rmtree(third.parent)
    elif how == "frame":
        (root / "JPEGImages" / "480p" / "dance" / "00001.jpg").unlink()
    elif how == "short":
        for number in (2, 3):
            dance(root, number).unlink()
            (root / "JPEGImages" / "480p" / "dance" / f"{number:05d}.jpg").unlink()
    elif how == "twice":
        (root / "ImageSets" / "2017" / "val.txt").write_text("park\n\npark\n")
    elif how == "outside":
        (root / "ImageSets" / "2017" / "val.txt").write_text("park\n../dance\n")
    elif how == "no list":
        (root / "ImageSets" / "2017" / "val.txt").unlink()
    elif how == "nothing listed":
        (root / "ImageSets" / "2017" / "val.txt").write_text("\n")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("gap", r"dance/00000\.png: objects must be numbered 1, 2, ... without a gap; it has 1, 3, 7"),
        ("empty", r"dance/00000\.png: no object in the first mask"),
        ("void", r"dance/00000\.png: no object in the first mask"),
        ("size", r"dance/00002\.png: 12x8 pixels, but the frames have 12x9"),
        ("colours", r"dance/00002\.png: has mode RGB"),
        ("truncated", r"dance/00002\.png: not a readable image"),
        ("missing", r"dance/00002\.png: no such mask; 3 there, 4 needed"),
        ("first only", r"dance/00001\.png: no such mask; 1 there, 4 needed \(the first frame has a mask, all need one"),
        ("more", r"dance/00009\.png: a mask without a frame; 5 masks, 4 frames"),
        ("no masks", r"Annotations/480p/dance: no such folder"),
        ("frame", r"JPEGImages/480p/dance: frame 1 missing between 0 and 3"),
        ("short", r"JPEGImages/480p/dance: 2 frames; .* at least 3"),
        ("twice", r"val\.txt:3: 'park' is listed twice, first in line 1"),
        ("outside", r"val\.txt:2: '\.\./dance' is not the name of a sequence"),
        ("no list", r"has no ImageSets/2017/val\.txt"),
        ("nothing listed", r"val\.txt:1: lists no sequence"),
    ],
)
def test_what_is_wrong_is_said_with_its_file(root: Path, how: str, message: str) -> None:
    spoil(root, how)
    with pytest.raises(DataError, match=message) as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_all_problems_come_at_once(root: Path) -> None:
    spoil(root, "size")
    spoil(root, "gap")
    (root / "ImageSets" / "2017" / "val.txt").write_text("dance\nlost\n")
    with pytest.raises(DataError, match=r"00002\.png: 12x8 .*; .*JPEGImages/480p/lost: no such folder"):
        read(root)


def test_wrong_names_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match="has no split 'val'; splits are called 2017/val"):
        read(root, "val")
    with pytest.raises(DataError, match="has no sequence 'danse'; it has park, dance"):
        open_videos(root, "davis", "2017/val", ["danse"])
    with pytest.raises(DataError, match="takes no detections"):
        open_videos(root, "davis", "2017/val", (), "det.txt")


def test_lists_as_others_write_them(root: Path) -> None:
    (root / "JPEGImages" / "480p" / "dance").rename(root / "JPEGImages" / "480p" / "my dance")
    (root / "Annotations" / "480p" / "dance").rename(root / "Annotations" / "480p" / "my dance")
    listed = root / "ImageSets" / "2017" / "val.txt"
    listed.write_text("park 4 1,\nmy dance \t\n")
    assert [video.name for video in read(root)] == ["park", "my dance"]
    first = root / "ImageSets" / "480p" / "val.txt"
    first.write_text("\\\\JPEGImages\\480p\\park\\00000.jpg \\\\Annotations\\480p\\park\\00000.png\r\n")
    assert [video.name for video in read(root, "2016/val")] == ["park"]
    listed.write_text("park\nmy dance.jpg\n")
    with pytest.raises(DataError, match=r"val.txt:2: 'my dance.jpg' is not the name of a sequence"):
        read(root)


def test_another_release_is_named(root: Path) -> None:
    for kind in ("JPEGImages", "Annotations"):
        (root / kind / "480p").rename(root / kind / "Full-Resolution")
    for split in ("2017/val", "all"):
        with pytest.raises(DataError, match=r"Full-Resolution: DAVIS is measured at 480p"):
            read(root, split)


@pytest.mark.parametrize("split", ["2017/val", "2016/val"])
def test_masks_that_are_empty_after_the_first_leave_nothing_to_score(root: Path, split: str) -> None:
    (root / "ImageSets" / "2017" / "val.txt").write_text("dance\n")
    for number in range(1, FRAMES):
        path = root / "Annotations" / "480p" / "dance" / f"{number:05d}.png"
        path.write_bytes(encode_index_mask(np.zeros(SIZE[::-1], np.uint8)))
    with pytest.raises(
        DataError, match=r"00001.png: nothing to score: no object of the first mask .* 2 measured masks"
    ):
        read(root, split)
    (root / "Annotations" / "480p" / "dance" / "00002.png").write_bytes(numbered(2))
    assert remarks(read(root, split)) == []
