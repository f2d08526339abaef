"""MOTChallenge folders of a few tiny frames, sound and broken in every way that a user's may be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.datasets.videos.video import fingerprint, remarks
from mec_transfer.tracking.association import mot_metrics
from mec_transfer.tracking.association.association import no_score_above
from tests.datasets.reading import open_videos

DETECTIONS = "train/{sequence}/det/det.txt"
GT = "1,1,11,6,10,20,1,1,1\n2,1,12.5,6,10,20,1,1,0.5\n1,2,-4,1,20,10,0,7,1\n\n3,4,91,41,30,30,1,1,0.1\n"
DET = "3,-1,11,6,10,20,0.9,-1,-1,-1\n1,-1,1,1,5,5,-0.25,-1,-1,-1\n3,-1,21,6,10,20,0.5,-1,-1,-1\n"
INFO = "[Sequence]\nname=SEQ\nimDir=img1\nframeRate=25\nseqLength=3\nimWidth=100\nimHeight=50\nimExt=.png\n"


def make(root: Path, name: str = "MOT16-02", gt: str = GT, det: str = DET, info: str = INFO, frames: int = 3) -> Path:
    folder = root / "train" / name
    for part in ("img1", "gt", "det"):
        (folder / part).mkdir(parents=True)
    for number in range(1, frames + 1):
        Image.new("RGB" if number > 1 else "L", (100, 50)).save(folder / "img1" / f"{number:06d}.png")
    (folder / "gt" / "gt.txt").write_text(gt)
    (folder / "det" / "det.txt").write_text(det)
    (folder / "seqinfo.ini").write_text(info)
    return folder


def read(root: Path, detections: str = DETECTIONS, sequences: tuple[str, ...] = ()) -> MotVideo:
    (video,) = open_videos(root, "motchallenge", "train", sequences, detections)
    assert isinstance(video, MotVideo)
    return video


def test_boxes_count_from_zero_and_stand_in_their_frames(tmp_path: Path) -> None:
    make(tmp_path)
    video = read(tmp_path)
    assert (video.name, video.frame_rate, len(video.frames)) == ("MOT16-02", 25.0, 3)
    assert [frame.scores.tolist() for frame in video.detections] == [[-0.25], [], [0.9, 0.5]]
    assert video.detections[2].boxes.tolist() == [[10, 5, 20, 25], [20, 5, 30, 25]]
    assert [boxes.tolist() for boxes in video.truth] == [[[10, 5, 20, 25]], [[11.5, 5, 21.5, 25]], [[90, 40, 120, 70]]]
    assert fingerprint([video]) != fingerprint([read(tmp_path, "train/{sequence}/gt/gt.txt")])


def test_six_columns_are_fairmots(tmp_path: Path) -> None:
    make(tmp_path, det="2,11,6,10,20,0.75\n")
    video = read(tmp_path)
    assert video.detections[1].boxes.tolist() == [[10, 5, 20, 25]]
    assert video.detections[1].scores.tolist() == [0.75]


def test_json_counts_boxes_from_zero(tmp_path: Path) -> None:
    make(tmp_path)
    items = [
        {"frame": 3, "bbox": [10, 5, 10, 20], "score": 0.5},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5.5], "score": 1},
        {"image_id": 1, "category_id": 3, "bbox": [0, 0, 5, 5], "score": 1},
    ]
    (tmp_path / "MOT16-02.json").write_text(json.dumps(items))
    video = read(tmp_path, str(tmp_path / "{sequence}.json"))
    assert [frame.boxes.tolist() for frame in video.detections] == [[[0, 0, 5, 5.5]], [], [[10, 5, 20, 25]]]


def test_a_sequence_of_several_may_have_no_object_and_no_detection(tmp_path: Path) -> None:
    folder = make(tmp_path, "MOT16-01", gt="", det="\n", info=INFO.replace("seqLength=3", "seqLength=1"), frames=1)
    make(tmp_path)
    video, _ = open_videos(tmp_path, "motchallenge", "train", (), DETECTIONS)
    assert isinstance(video, MotVideo)
    assert video.detections[0].boxes.shape == (0, 4)
    assert len(video.detections[0]) == 0
    assert video.truth[0].shape == (0, 4)
    assert remarks([video]) == [
        f"{folder / 'gt/gt.txt'}: nothing to score: no box in it",
        f"{folder / 'det/det.txt'}: nothing to follow: no detection in it",
    ]
    with pytest.raises(DataError, match=r"gt.txt: nothing to score: .*; \S+det.txt: nothing to follow"):
        read(tmp_path, sequences=("MOT16-01",))


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("2,1,12.5", "2 1 12.5", 2, "not numbers separated by commas"),
        ("2,1,12.5", "2,1,x", 2, "not numbers"),
        ("2,1,12.5,6,10", "2,1,12.5,6", 2, "8 numbers, 9 are needed (frame,identity,x,y,width"),
        ("2,1,12.5", "2,1,nan", 2, "not finite"),
        ("3,4,", "4,4,", 5, "there is no frame 4 in 'MOT16-02' (1 to 3)"),
        ("3,4,", "0,4,", 5, "there is no frame 0"),
        ("3,4,", "1.5,4,", 5, "there is no frame 1.5"),
        ("3,4,", "3,-4,", 5, "-4 is no identity"),
        ("2,1,12.5", "1,1,12.5", 2, "identity 1 is in frame 1 twice"),
        ("10,20,1,1,0.5", "0,20,1,1,0.5", 2, "empty box 0x20"),
        ("10,20,1,1,0.5", "10,20,1,14,0.5", 2, "unknown class 14"),
        ("91,41", "132,41", 5, "lies outside the image (100x50)"),
        ("91,41", "71,-60", 5, "box 30x30 at (71, -60) lies outside the image"),
    ],
)
def test_broken_ground_truth_is_named(tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
    folder = make(tmp_path, gt=GT.replace(old, new))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{folder / 'gt' / 'gt.txt'}:{line}: ")
    assert what in str(caught.value)


def test_boxes_that_do_not_count_may_lie_anywhere_and_others_as_far_out_as_they_are_large(tmp_path: Path) -> None:
    make(tmp_path, gt=GT.replace("1,2,-4,1,20,10", "1,2,-400,1,20,10").replace("91,41", "131,81"))
    assert [len(boxes) for boxes in read(tmp_path).truth] == [1, 1, 1]


@pytest.mark.parametrize(
    ("det", "line", "what"),
    [
        ("1,-1,1,1,5,5,0.5\n2,-1,1,1,5\n", 2, "5 numbers, 7 are needed (frame,id,x,y,width"),
        ("1,-1,1,1,5\n", 1, "5 numbers, 7 are needed"),
        ("9,-1,1,1,5,5,1\n", 1, "there is no frame 9"),
        ("1,-1,1,1,5,-5,1\n", 1, "empty box (0, 0, 5, -5)"),
        ("1,-1,107,1,5,5,1\n", 1, "box (106, 0, 111, 5) lies outside the image (100x50)"),
        ("1,-1,1,1,5,5,inf\n", 1, "not finite"),
    ],
)
def test_broken_detections_are_named(tmp_path: Path, det: str, line: int, what: str) -> None:
    folder = make(tmp_path, det=det)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{folder / 'det' / 'det.txt'}:{line}: ")
    assert what in str(caught.value)


SOUND = {"frame": 1, "bbox": [0, 0, 5, 5], "score": 0.5}


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"frame": 7}, "there is no frame 7"),
        ({"frame": "one"}, "frame is a string ('one'), a number is needed"),
        ({"bbox": [0, 0, 5]}, "bbox needs [x, y, width, height]"),
        ({"bbox": None}, "bbox needs [x, y, width, height]"),
        ({"bbox": [0, 0, "a", 5]}, "bbox needs [x, y, width, height]"),
        ({"bbox": [0, 0, 0, 5]}, "empty box"),
        ({"bbox": [0, -11, 5, 5]}, "lies outside the image"),
        ({"score": float("nan")}, "the score is nan, a number is needed"),
    ],
)
def test_broken_json_is_named_with_its_line(tmp_path: Path, item: dict[str, object], what: str) -> None:
    make(tmp_path)
    path = tmp_path / "MOT16-02.json"
    path.write_text(json.dumps([SOUND, {**SOUND, **item}, SOUND], indent=0).replace("},\n{", "}\n,{"))
    line = path.read_text().splitlines().index(",{") + 1
    with pytest.raises(DataError) as caught:
        read(tmp_path, "{sequence}.json")
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"), [('[\n{"frame": 1,\n', ":3: malformed JSON"), ("{}", ":1: the file must be")]
)
def test_malformed_json(tmp_path: Path, text: str, what: str) -> None:
    make(tmp_path)
    (tmp_path / "MOT16-02.json").write_text(text)
    with pytest.raises(DataError, match=f"MOT16-02.json{what}"):
        read(tmp_path, "{sequence}.json")


def test_a_score_that_is_missing(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "MOT16-02.json").write_text('[\n\n{"frame": 1, "bbox": [0, 0, 5, 5]}]')
    with pytest.raises(DataError, match=r"MOT16-02.json:3: 'score' is missing"):
        read(tmp_path, "{sequence}.json")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("seqLength=3", "seqLength=4", ":5: seqLength is 4, but the frames"),
        ("imWidth=100", "imWidth=99", ":6: imWidth is 99"),
        ("imHeight=50\n", "", ":1: imHeight is missing"),
        ("imExt=.png", "imExt=.jpg", ":8: imExt is .jpg, but there is 000001.png"),
        ("imDir=img1", "imDir=frames", ":3: imDir: "),
        ("frameRate=25", "frameRate=fast", ":4: frameRate is 'fast'"),
        ("frameRate=25", "frameRate=0", ":4: frameRate is 0"),
        ("[Sequence]", "[Video]", ":1: has no section [Sequence]"),
        ("name=SEQ", "name", ":2: malformed ini file"),
        ("[Sequence]\n", "", ":1: malformed ini file"),
    ],
)
def test_seqinfo_is_checked_against_the_frames(tmp_path: Path, old: str, new: str, what: str) -> None:
    folder = make(tmp_path, info=INFO.replace(old, new))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{folder / 'seqinfo.ini'}{what}")
    assert "\n" not in str(caught.value)


def test_missing_files_and_gaps_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with pytest.raises(DataError, match="a detector's output, and none is named: for instance --detections"):
        read(tmp_path, "")
    with pytest.raises(DataError, match=r"dets/MOT16-02.txt: no such file.*'MOT16-02'.*--detections"):
        read(tmp_path, "dets/{sequence}.txt")
    (folder / "img1" / "000002.png").unlink()
    with pytest.raises(DataError, match="frame 2 missing between 1 and 3"):
        read(tmp_path)
    (folder / "img1" / "000001.png").unlink()
    with pytest.raises(DataError, match="000003.png: the first frame must be number 1"):
        read(tmp_path)
    (folder / "gt" / "gt.txt").unlink()
    make(tmp_path, "MOT16-04")
    (tmp_path / "train" / "MOT16-04" / "gt" / "gt.txt").unlink()
    with pytest.raises(DataError, match=r"MOT16-04/gt/gt.txt: no such file; only splits with ground truth"):
        read(tmp_path, sequences=("MOT16-04",))
    with pytest.raises(DataError, match=r"has no split 'val'; it has train"):
        open_videos(tmp_path, "motchallenge", "val", (), DETECTIONS)
    with pytest.raises(DataError, match="has no sequence 'MOT16-09'; it has MOT16-02, MOT16-04"):
        read(tmp_path, sequences=("MOT16-09",))
    with pytest.raises(DataError, match=r"one file for 2 sequences; write \{sequence\}"):
        read(tmp_path, "det.txt")


def test_what_needs_no_detections_says_so(tmp_path: Path) -> None:
    for name in ("MOT16-02", "MOT16-04"):
        (make(tmp_path, name) / "det" / "det.txt").unlink()
    videos = open_videos(tmp_path, "motchallenge", "train", (), "none")
    assert [len(frame) for video in videos for frame in video.detections] == [0] * 6
    assert remarks(videos) == []
    assert all(path.name != "det.txt" for video in videos for path in video.files)
    assert "no detections are named" in no_score_above(videos, 0.5)
    with pytest.raises(DataError, match=r"gt.txt: masks are followed by a detector's output; name it"):
        open_videos(tmp_path, "mots", "train", (), "none")


def test_every_problem_of_every_sequence_is_collected(tmp_path: Path) -> None:
    for name in ("A", "B"):
        make(tmp_path, name, gt=GT.replace("3,4,", "8,4,"), det="1,-1,1,1,0,5,1\n")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).count("there is no frame 8") == 2
    assert str(caught.value).count("empty box") == 2


def test_detections_are_float64(tmp_path: Path) -> None:
    make(tmp_path)
    assert {frame.boxes.dtype for frame in read(tmp_path).detections} == {np.dtype(np.float64)}


COUNTED = "1,1,11,6,10,20,1,1,1"


@pytest.mark.parametrize(
    "gt",
    [
        COUNTED,
        f"{COUNTED},-1",  # CVAT
        "1,1,11,6,10,20,1,1",
        "1,1,11,6,10,20,1",
        "1,1,11,6,10,20,1,-1,-1,-1",  # MOT15
        "1.0,1.0,11.0,6.0,10.0,20.0,1.0,1.0,1.0",
    ],
)
def test_ground_truth_of_other_tools_is_copied_with_nine_columns(tmp_path: Path, gt: str) -> None:
    make(tmp_path, gt=f"{gt}\n")
    video = read(tmp_path)
    assert video.truth[0].tolist() == [[10, 5, 20, 25]]
    (row,) = mot_metrics.truth_files(video)["MOT16-02/gt/gt.txt"].decode().splitlines()
    fields = row.split(",")
    assert len(fields) == 9 and (fields[0], fields[1], fields[7]) == ("1", "1", "1")
    assert [float(field) for field in fields[2:7]] == [11, 6, 10, 20, 1]


@pytest.mark.parametrize(
    ("gt", "what"),
    [
        ("1,1,11,6,10,20,0.9,1,1", ":1: whether it counts is 0.9; 0 or 1 is needed"),
        ("1,1,11,6,10,20,1,1,1,-1\n2,1,11,6,10,20,1,-1,1,-1", ":2: unknown class -1"),
        ("1,1,11,6,10,20,1,0,1", ":1: unknown class 0; there are 1 to 13"),
        ("1,1,11,6,1_0,20,1,1,1", ":1: not numbers"),
        ("1,1,,6,10,20,1,1,1", ":1: not numbers"),
        ("1,1,1e300,6,10,20,0,1,1", ":1: box 10x20 at (1e+300, 6) lies outside any image"),
        (COUNTED.replace("20,1,1", "20,0,1"), "of its 1 boxes 1 do not count (column 7 is 0), 0 are no pedestrian's"),
        (COUNTED.replace("20,1,1", "20,1,3"), "of its 1 boxes 0 do not count (column 7 is 0), 1 are no pedestrian's"),
        ("", "nothing to score: no box in it"),
    ],
)
def test_ground_truth_that_would_mean_something_else_or_nothing(tmp_path: Path, gt: str, what: str) -> None:
    folder = make(tmp_path, gt=gt)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{folder / 'gt' / 'gt.txt'}:")
    assert what in str(caught.value)


def test_six_columns_that_lack_a_score_are_not_taken_for_fairmots(tmp_path: Path) -> None:
    for name, det in (("A", "1,-1,11,6,10,20\n"), ("B", "1,7,11,6,10,20\n1,8,11,6,10,0.5\n")):
        make(tmp_path, name, det=det)
        with pytest.raises(DataError, match=r"det.txt:1: six columns are frame,x,y,width,height,score"):
            read(tmp_path, sequences=(name,))


def test_detections_that_are_no_persons_are_counted_and_none_left_is_an_error(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "MOT16-02.json"
    path.write_text(json.dumps([SOUND, {**SOUND, "category_id": 3}, {**SOUND, "category_id": 0}] * 2))
    video = read(tmp_path, "{sequence}.json")
    assert [len(frame) for frame in video.detections] == [2, 0, 0]
    why = "are not followed, since a person's has category_id 1; they have category_id 3 (2), category_id 0 (2)"
    assert remarks([video]) == [f"{path}: 4 of 6 detections {why}"]
    path.write_text(json.dumps([{**SOUND, "category_id": 0}] * 3))
    with pytest.raises(DataError, match=r"json: nothing to follow: none of its 3 detections .* category_id 0 \(3\)"):
        read(tmp_path, "{sequence}.json")


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"frame": True}, "frame is true or false (True), a number is needed"),
        ({"frame": 1.5}, "frame is 1.5, a whole number is needed"),
        ({"frame": None}, "frame is missing"),
        ({"category_id": "person"}, "category_id is a string ('person')"),
        ({"category_id": None}, "category_id is missing"),
        ({"score": "high"}, "the score is a string ('high')"),
        ({"score": None}, "the score is missing"),
        ({"score": True}, "the score is true or false"),
        ({"bbox": ["0,5", 0, 5, 5]}, "bbox needs [x, y, width, height]: a value is a string ('0,5')"),
        ({"bbox": {"x": 0}}, "bbox needs [x, y, width, height]"),
        ({"bbox": [0, 0, float("inf"), 5]}, "a value is inf, a number is needed"),
    ],
)
def test_a_json_value_of_another_type_says_so(tmp_path: Path, item: dict[str, object], what: str) -> None:
    make(tmp_path)
    (tmp_path / "MOT16-02.json").write_text(json.dumps([{**SOUND, **item}]))
    with pytest.raises(DataError) as caught:
        read(tmp_path, "{sequence}.json")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "item", [{"frame": 2.0, "category_id": 1.0}, {"frame": "2", "category_id": "1", "score": "0.5"}]
)
def test_numbers_may_be_floats_or_strings_in_json(tmp_path: Path, item: dict[str, object]) -> None:
    make(tmp_path)
    (tmp_path / "MOT16-02.json").write_text(json.dumps([{**SOUND, **item, "bbox": ["0", 0, "5.0", 5]}]))
    video = read(tmp_path, "{sequence}.json")
    assert [frame.boxes.tolist() for frame in video.detections] == [[], [[0, 0, 5, 5]], []]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("imExt=.png", "imExt=png"),
        ("imExt=.png", "imExt=.PNG"),
        ("imWidth=100", "imwidth: 100.0"),
        ("im", "  im"),
        ("=img1", "=.\\img1"),
    ],
)
def test_seqinfo_as_others_write_it(tmp_path: Path, old: str, new: str) -> None:
    make(tmp_path, info=INFO.replace(old, new))
    assert read(tmp_path).frame_rate == 25


@pytest.mark.parametrize("rate", ["nan", "inf", "2_5"])
def test_a_rate_is_finite(tmp_path: Path, rate: str) -> None:
    make(tmp_path, info=INFO.replace("frameRate=25", f"framerate={rate}"))
    with pytest.raises(DataError, match=rf"seqinfo.ini:4: frameRate is '{rate}', a number is needed"):
        read(tmp_path)


def test_folders_of_no_data_are_no_sequences_and_names_may_be_any(tmp_path: Path) -> None:
    for name in ("my clip", "caf\u00e9", "__MACOSX"):
        make(tmp_path, name)
    (tmp_path / "train" / "my clip" / "img1" / "._000001.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "train" / "my clip" / "img1" / "Thumbs.db").write_bytes(b"junk")
    assert [v.name for v in open_videos(tmp_path, "motchallenge", "train", (), DETECTIONS)] == ["caf\u00e9", "my clip"]
    assert read(tmp_path, sequences=(" cafe\u0301",)).name == "caf\u00e9"  # as a Mac spells it
