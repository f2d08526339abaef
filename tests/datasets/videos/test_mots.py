"""MOTS20 folders of a few tiny frames, sound and broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.videos.mots import MotsVideo
from mec_transfer.datasets.videos.video import remarks
from tests.datasets.reading import open_videos

HEIGHT, WIDTH = 30, 40


def rle(x0: int, y0: int, x1: int, y1: int, height: int = HEIGHT, width: int = WIDTH) -> str:
    mask = np.zeros((height, width), dtype=np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    return coco_mask.encode(mask)["counts"].decode()


ONE, TWO, EMPTY = rle(2, 3, 12, 23), rle(20, 3, 30, 23), rle(0, 0, 0, 0)
GT = (
    f"1 2001 2 30 40 {ONE}\n1 2002 2 30 40 {TWO}\n\n2 2001 2 30 40 {ONE}\n1 10000 10 30 40 {rle(35, 0, 40, 30)}\n"
    f"1 10000 10 30 40 {rle(36, 0, 40, 10)}\n"
)
DET = f"2 7 2 30 40 {ONE}\n1 1 2 30 40 {TWO}\n1 1 1 30 40 {ONE}\n1 3 2 30 40 {rle(2, 3, 25, 10)}\n"


def make(root: Path, gt: str = GT, det: str = DET, frames: int = 2, name: str = "MOTS20-02") -> Path:
    folder = root / "train" / name
    for part in ("img1", "gt", "det"):
        (folder / part).mkdir(parents=True)
    for number in range(1, frames + 1):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "img1" / f"{number:06d}.jpg")
    (folder / "gt" / "gt.txt").write_text(gt)
    (folder / "det" / "det.txt").write_text(det)
    info = f"[Sequence]\nframeRate=30\nseqLength={frames}\nimWidth={WIDTH}\nimHeight={HEIGHT}\nimExt=.jpg\n"
    (folder / "seqinfo.ini").write_text(info)
    return folder


def read(root: Path, detections: str = "train/{sequence}/det/det.txt") -> MotsVideo:
    (video,) = open_videos(root, "mots", "train", (), detections)
    assert isinstance(video, MotsVideo)
    return video


def test_masks_and_the_boxes_around_them(tmp_path: Path) -> None:
    make(tmp_path)
    video = read(tmp_path)
    first, second = video.detections
    assert first.boxes.tolist() == [[20, 3, 30, 23], [2, 3, 25, 10]]  # the car is left out, overlap is not minded
    assert first.scores.tolist() == [1, 1]
    assert second.masks is not None
    assert coco_mask.decode(second.masks[0]).sum() == 200
    assert coco_mask.toBbox(second.masks[0]).tolist() == [2, 3, 10, 20]


@pytest.mark.parametrize(
    "line",
    [f"1 5 2 0.25 30 40 {ONE}", f"0 2.0 3.0 12.0 23.0 0.25 2 30 40 {ONE}", f"0 2 3 12 23 0.25 2 30 40 {ONE} .1 .2"],
)
def test_text_with_scores(tmp_path: Path, line: str) -> None:
    make(tmp_path, det=line + "\n")
    first, second = read(tmp_path).detections
    assert (first.boxes.tolist(), first.scores.tolist()) == ([[2, 3, 12, 23]], [0.25])
    assert len(second) == 0


def test_json_masks(tmp_path: Path) -> None:
    make(tmp_path)
    item = {"image_id": 2, "category_id": 1, "segmentation": {"size": [30, 40], "counts": TWO}, "score": 0.5}
    (tmp_path / "MOTS20-02.json").write_text(json.dumps([item, {**item, "category_id": 2}]))
    video = read(tmp_path, "{sequence}.json")
    assert [frame.boxes.tolist() for frame in video.detections] == [[], [[20, 3, 30, 23]]]


def test_a_sequence_of_several_may_have_no_object_and_no_detection(tmp_path: Path) -> None:
    folder = make(tmp_path, gt="", det="", frames=1, name="MOTS20-01")
    make(tmp_path)
    empty, _ = open_videos(tmp_path, "mots", "train", (), "train/{sequence}/det/det.txt")
    assert isinstance(empty, MotsVideo)
    (frame,) = empty.detections
    assert (frame.boxes.shape, frame.masks) == ((0, 4), ())
    assert remarks([empty]) == [
        f"{folder / 'gt/gt.txt'}: nothing to score: no mask is a pedestrian's (class 2); it has no mask",
        f"{folder / 'det/det.txt'}: nothing to follow: no detection in it",
    ]
    with pytest.raises(DataError, match=r"gt.txt: nothing to score: .*; \S+det.txt: nothing to follow"):
        open_videos(tmp_path, "mots", "train", ("MOTS20-01",), "train/{sequence}/det/det.txt")


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("2 2001 2 30 40", "2 2001 2 30", 4, "not a line of `frame id class height width rle`"),
        ("2 2001 2", "x 2001 2", 4, "not a line of"),
        ("2 2001 2", "3 2001 2", 4, "there is no frame 3 in 'MOTS20-02' (1 to 2)"),
        ("2 2001 2", "2 2001 3", 4, "unknown class 3"),
        ("2 2001 2 30 40", "2 2001 2 40 30", 4, "a mask of 30x40 pixels, but the frames have 40x30"),
        (f"2 2001 2 30 40 {ONE}", f"2 2001 2 30 40 {ONE[:-1]}", 4, "malformed RLE"),
        (f"2 2001 2 30 40 {ONE}", f"2 2001 2 30 40 {ONE}~", 4, "malformed RLE"),
        (f"2 2001 2 30 40 {ONE}", f"2 2001 2 30 40 {EMPTY}", 4, "empty mask"),
        ("1 2002 2", "1 2001 2", 2, "identity 2001 is in frame 1 twice"),
        (TWO, rle(11, 22, 30, 23), 2, "frame 1: the mask shares pixels with another one's"),
        (TWO, rle(30, 22, 36, 23), 2, "frame 1: the mask shares pixels"),
    ],
)
def test_broken_ground_truth_is_named(tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
    assert old in GT
    folder = make(tmp_path, gt=GT.replace(old, new))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{folder / 'gt' / 'gt.txt'}:{line}: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (f"1 5 2 {ONE}", "not a line of `frame id class [score] height width rle`"),
        (f"1 5 2 inf 30 40 {ONE}", "not a line of"),
        (f"9 5 2 30 40 {ONE}", "there is no frame 9"),
        (f"2 2 3 12 23 0.25 2 30 40 {ONE}", "there is no frame 3"),
        (f"1 5 2 31 40 {ONE}", "a mask of 40x31 pixels"),
        ("1 5 2 30 40 abc", "malformed RLE"),
        (f"1 5 2 30 40 {EMPTY}", "empty mask"),
    ],
)
def test_broken_detections_are_named(tmp_path: Path, line: str, what: str) -> None:
    folder = make(tmp_path, det=DET + line + "\n")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{folder / 'det' / 'det.txt'}:5: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        ({"size": [30, 40]}, "segmentation needs {'size'"),
        ({"size": 30, "counts": ONE}, "segmentation needs {'size'"),
        ({"size": [30, 40], "counts": [3, 4]}, "segmentation needs {'size'"),
        ([[1, 2, 3, 4]], "segmentation needs {'size'"),
        ({"size": [30, 40], "counts": ONE + "1"}, "malformed RLE"),
    ],
)
def test_broken_json_is_named(tmp_path: Path, segmentation: object, what: str) -> None:
    make(tmp_path)
    (tmp_path / "MOTS20-02.json").write_text(json.dumps([{"frame": 1, "score": 1, "segmentation": segmentation}]))
    with pytest.raises(DataError) as caught:
        read(tmp_path, "{sequence}.json")
    assert str(caught.value).startswith(f"{tmp_path / 'MOTS20-02.json'}:1: ")
    assert what in str(caught.value)


def test_masks_of_other_classes_are_counted_and_none_left_is_an_error(tmp_path: Path) -> None:
    folder = make(tmp_path)
    why = "1 of 4 detections are not followed, since a person's has class 2; they have class 1 (1)"
    assert remarks([read(tmp_path)]) == [f"{folder / 'det/det.txt'}: {why}"]
    (folder / "det" / "det.txt").write_text(DET.replace(" 2 30 40", " 1 30 40"))
    with pytest.raises(
        DataError, match=r"det.txt: nothing to follow: none of its 4 detections .* class 2; .* class 1 \(4\)"
    ):
        read(tmp_path)
    (folder / "gt" / "gt.txt").write_text(GT.replace(" 2 30 40", " 1 30 40"))
    with pytest.raises(
        DataError, match=r"gt.txt: nothing to score: .* 3 of class 1 \(car\), 2 of class 10 \(ignored\)"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"segmentation": {"size": ["30px", 40], "counts": ONE}}, "a side is a string ('30px')"),
        ({"segmentation": {"size": [30], "counts": ONE}}, "segmentation needs {'size'"),
        ({"segmentation": {"size": [30, 40], "counts": "\u00e9"}}, "malformed RLE"),
        ({"frame": "1.jpg"}, "frame is a string ('1.jpg')"),
        ({"score": None}, "the score is missing"),
        ({"category_id": "two"}, "category_id is a string ('two')"),
    ],
)
def test_a_json_value_of_another_type_says_so(tmp_path: Path, item: dict[str, object], what: str) -> None:
    make(tmp_path)
    sound = {"frame": 1, "score": 1, "segmentation": {"size": [30, 40], "counts": ONE}}
    (tmp_path / "MOTS20-02.json").write_text(json.dumps([{**sound, **item}]))
    with pytest.raises(DataError) as caught:
        read(tmp_path, "{sequence}.json")
    assert what in str(caught.value)
