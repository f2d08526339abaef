from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.videos.box_video import read_boxes
from mec_transfer.datasets.videos.otb import OTB2015
from mec_transfer.datasets.videos.video import remarks
from tests.datasets.reading import open_videos

LINE = "5,6,10,8"


def draw(folder: Path, numbers: range | tuple[int, ...], **truths: str) -> Path:
    """Frames of 40 x 30 pixels; `truths` by what stands between `groundtruth_rect` and `.txt`, a dot written as _."""
    (folder / "img").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", (40, 30), (number % 256, 0, 0)).save(folder / "img" / f"{number:04d}.jpg")
    for name, text in truths.items():
        (folder / f"groundtruth_rect{name.removeprefix('truth').replace('_', '.')}.txt").write_text(text)
    return folder


def lines(count: int, line: str = LINE) -> str:
    return f"{line}\n" * count


def only(root: Path, split: str = "all", sequences: tuple[str, ...] = ()):
    (video,) = open_videos(root, "otb", split, sequences)
    return video


def test_the_hundred_published_names() -> None:
    assert len(set(OTB2015)) == 100
    assert {"Jogging-1", "Jogging-2", "Skating2-1", "Skating2-2", "Human4-2"} <= set(OTB2015)
    assert not {"Jogging", "Skating2", "Human4"} & set(OTB2015)


@pytest.mark.parametrize("line", ["5,6,10,8", "5\t6\t10\t8", " 5  6 10 8 ", "5, 6,\t10, 8", "5.0,6.0,1e1,8.00"])
def test_any_separator(tmp_path: Path, line: str) -> None:
    draw(tmp_path / "Boat", range(1, 4), truth=lines(3, line))
    video = only(tmp_path)
    assert video.name == "Boat" and len(video.frames) == 3
    np.testing.assert_array_equal(video.boxes, [[5, 6, 10, 8]] * 3)


def test_blank_lines_at_the_end_a_byte_order_mark_and_absent_targets(tmp_path: Path) -> None:
    draw(tmp_path / "Boat", range(1, 5), truth=f"\ufeff{LINE}\nNaN,NaN,NaN,NaN\n0,0,0,0\n{LINE}\n\n\n")
    boxes = only(tmp_path).boxes
    assert np.isnan(boxes[1]).all() and not boxes[2].any() and len(boxes) == 4


def test_several_targets_are_several_sequences(tmp_path: Path) -> None:
    draw(tmp_path / "Jogging", range(1, 3), truth_1=lines(2), truth_2=lines(2, "1,2,3,4"))
    draw(tmp_path / "Human4", range(1, 3), truth_1="", truth_2=lines(2))
    draw(tmp_path / "Skating2-2", range(1, 3), truth_1=lines(2), truth_2=lines(2, "2,2,4,4"))
    (tmp_path / "notes").mkdir()
    videos = {video.name: video for video in open_videos(tmp_path, "otb", "all")}
    assert sorted(videos) == ["Human4-2", "Jogging-1", "Jogging-2", "Skating2-2"]
    assert videos["Jogging-2"].boxes[0].tolist() == [1, 2, 3, 4]
    assert videos["Skating2-2"].boxes[0].tolist() == [2, 2, 4, 4]
    picked = open_videos(tmp_path, "otb", "OTB2015", ("Jogging-2", "Human4-2"))
    assert [video.name for video in picked] == ["Jogging-2", "Human4-2"]


def test_published_parts_of_longer_folders(tmp_path: Path) -> None:
    draw(tmp_path / "David", range(290, 775), truth=lines(471))
    draw(tmp_path / "BlurCar1", range(240, 990), truth=lines(742))
    draw(tmp_path / "Diving", range(1, 5), truth=lines(4))  # somebody's own, all of it with a truth
    david, car, diving = open_videos(tmp_path, "otb", "all", ("David", "BlurCar1", "Diving"))
    assert (david.frames.numbers[0], david.frames.numbers[-1], len(david.frames.paths)) == (300, 770, 471)
    assert (car.frames.numbers[0], car.frames.paths[-1].name) == (247, "0988.jpg")
    assert len(diving.frames) == 4


def test_tiger1_starts_at_its_sixth_frame_in_the_published_split_only(tmp_path: Path) -> None:
    text = lines(5, "0,0,0,0") + "9,9,5,5\n" + lines(2)
    draw(tmp_path / "Tiger1", range(1, 9), truth=text)
    video = only(tmp_path, "OTB2015", ("Tiger1",))
    assert video.frames.numbers == (6, 7, 8) and video.boxes[0].tolist() == [9, 9, 5, 5]
    with pytest.raises(DataError, match=r"groundtruth_rect\.txt:1: the first frame's box is empty"):
        only(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{LINE}\n1,2,3\n{LINE}\n", r"rect\.txt:2: 3 values where four are needed"),
        (f"{LINE}\n\n{LINE}\n", r"rect\.txt:2: 0 values"),
        (f"{LINE}\n1,2,3,four\n{LINE}\n", r"rect\.txt:2: 'four' is not a number"),
        (f"{LINE}\n{LINE}\n1,2,inf,4\n", r"rect\.txt:3: a box cannot be infinite"),
        (f"{LINE}\n{LINE}\n1,2,-3,4\n", r"rect\.txt:3: negative size -3x4"),
        (f"{LINE}\n{LINE}\n", r"rect\.txt: 2 boxes, but \S+img has 3 frames"),
        (lines(4), r"rect\.txt: 4 boxes, but \S+img has 3 frames"),
        (f"5,6,10,0\n{lines(2)}", r"rect\.txt:1: the first frame's box is empty \(10x0\)"),
        (f"nan,nan,nan,nan\n{lines(2)}", r"rect\.txt:1: the first frame's box is empty"),
        (f"41,6,10,8\n{lines(2)}", r"rect\.txt:1: the first frame's box 41,6,10,8 lies outside the image \(40x30\)"),
        (f"5,-20,10,8\n{lines(2)}", r"rect\.txt:1: .* lies outside the image"),
        ("", r"rect\.txt: empty"),
    ],
)
def test_broken_truth_is_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    draw(tmp_path / "Boat", range(1, 4), truth=text)
    with pytest.raises(DataError, match=message):
        open_videos(tmp_path, "otb", "all")


def test_everything_that_is_broken_is_collected(tmp_path: Path) -> None:
    draw(tmp_path / "A", range(1, 3), truth="1,2,3\n1,2,x,4\n")
    draw(tmp_path / "B", (1, 3), truth=lines(2))
    draw(tmp_path / "C", range(1, 3))
    draw(tmp_path / "D", (), truth=lines(2))
    (draw(tmp_path / "E", range(1, 3)) / "groundtruth_rect.txt").write_bytes(b"\xff\xfe1,2,3,4")
    with pytest.raises(DataError) as caught:
        open_videos(tmp_path, "otb", "all")
    for part in ("A/groundtruth_rect.txt:1: 3 values", ":2: 'x'", "frame 2 missing", "C/groundtruth_rect.txt: no such"):
        assert part in str(caught.value)
    assert "and 1 more" in str(caught.value)  # six problems, five are shown
    for name, part in (("D", "no frame of sequence 'D'"), ("E", "E/groundtruth_rect.txt:1: not a text file")):
        with pytest.raises(DataError, match=part):
            open_videos(tmp_path, "otb", "all", (name,))


def test_missing_sequences_and_splits(tmp_path: Path) -> None:
    draw(tmp_path / "Biker", range(1, 3), truth=lines(2))
    with pytest.raises(DataError, match=r"99 of 100 sequences are not there: Basketball, Bird1"):
        open_videos(tmp_path, "otb", "OTB2015")
    with pytest.raises(DataError, match=r"no split 'OTB100'; there are OTB2015"):
        open_videos(tmp_path, "otb", "OTB100")
    with pytest.raises(DataError, match=r"has no sequence 'Jogging'"):
        open_videos(tmp_path, "otb", "OTB2015", ("Jogging",))


def test_result_files_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "Boat.txt"
    path.write_text("1.5,2,3,4\n5,6,7\n")
    with pytest.raises(DataError, match=r"Boat\.txt:2: 3 values"):
        read_boxes(path)
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        read_boxes(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("truth", "frames"), [(LINE, 1), (f"{LINE}\nNaN,NaN,NaN,NaN\n0,0,0,0\n", 3), (f"{LINE}\n-3,6,10,8\n", 2)]
)
def test_a_video_whose_target_is_never_seen_again_says_nothing(tmp_path: Path, truth: str, frames: int) -> None:
    path = draw(tmp_path / "Boat", range(1, frames + 1), truth=truth) / "groundtruth_rect.txt"
    with pytest.raises(DataError, match=r"rect\.txt: nothing to score: no frame after the first has a box"):
        only(tmp_path)
    draw(tmp_path / "Car", range(1, 4), truth=lines(3))
    boat, car = open_videos(tmp_path, "otb", "all")
    assert remarks([car]) == []
    (told,) = remarks([boat, car])
    assert told.startswith(f"{path}: nothing to score")
