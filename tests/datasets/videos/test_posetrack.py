"""PoseTrack18 folders of a few tiny frames, sound and broken."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.videos.detections import JOINTS
from mec_transfer.datasets.videos.pose_files import pose_box, read_pose_file
from mec_transfer.datasets.videos.posetrack import PoseVideo
from tests.datasets.reading import open_videos

NAMES = ["nose", "left_ear", *reversed(JOINTS[:13]), "right_ear", "head_top"]
CATEGORY = {"id": 1, "name": "person", "keypoints": NAMES}


def person(image: int, track: int, x: float, y: float, absent: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a person whose joint number k of `JOINTS` is at (x + k, y + 2k)."""
    keypoints: list[float] = []
    for name in NAMES:
        there = name in JOINTS and name not in absent
        keypoints += [x + JOINTS.index(name), y + 2 * JOINTS.index(name), 1] if there else [0, 0, 0]
    return {"image_id": image, "track_id": track, "keypoints": keypoints, "bbox_head": [x, y, 30, 40]}


def images(frames: int = 3) -> list[dict[str, Any]]:
    return [{"id": 70 + t, "file_name": f"images/val/000_x/{t:06d}.jpg"} for t in range(frames)]


def truth() -> dict[str, Any]:
    persons = [person(70, 0, 10, 5), person(72, 0, 11, 5, absent=("nose",)), person(70, 3, 30, 8)]
    listed = images()
    listed[0] |= {"ignore_regions_x": [[0, 9, 0]], "ignore_regions_y": [[0, 0, 9]], "is_labeled": True}
    return {"images": listed, "annotations": persons, "categories": [CATEGORY]}


def found() -> dict[str, Any]:
    sure = person(71, 0, 10, 5, absent=JOINTS[1:14]) | {"scores": [0.25] * 16 + [0.75]}
    nobody = person(71, 0, 1, 1, absent=JOINTS) | {"score": 0.5}
    return {"images": images(), "annotations": [person(72, 0, 3.7, 4.2), sure, nobody], "categories": [CATEGORY]}


def make(root: Path, gt: dict[str, Any] | None = None, det: dict[str, Any] | None = None) -> None:
    for number in range(3):
        path = root / f"images/val/000_x/{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60)).save(path)
    for folder, data in (("annotations/val", gt or truth()), ("poses", det or found())):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "000_x.json").write_text(json.dumps(data, indent=1))


def read(root: Path, detections: str = "poses/{sequence}.json") -> PoseVideo:
    (video,) = open_videos(root, "posetrack18", "val", (), detections)
    assert isinstance(video, PoseVideo)
    return video


def test_joints_stand_in_posetracks_own_order_whatever_the_files(tmp_path: Path) -> None:
    make(tmp_path)
    video = read(tmp_path)
    assert (video.name, video.frame_rate, video.frames.numbers) == ("000_x", 6, (0, 1, 2))
    assert [len(frame) for frame in video.detections] == [0, 1, 1]  # the person without a joint is left out
    last = video.detections[2]
    assert last.poses is not None
    expected = [[3.7 + joint, 4.2 + 2 * joint, 1] for joint in range(15)]
    np.testing.assert_allclose(last.poses, [expected], atol=1e-12)
    assert last.boxes.tolist() == [[3, 4, 17, 32]]
    sure = video.detections[1]
    assert sure.scores.tolist() == [0.5]  # the mean of its two joints'
    assert sure.poses is not None
    assert np.isnan(sure.poses[0, 1:14]).all()
    assert sure.poses[0, [0, 14]].tolist() == [[10, 5, 0.25], [24, 33, 0.75]]
    assert video.detections[0].poses is not None
    assert video.detections[0].poses.shape == (0, 15, 3)


def test_ground_truth_has_identities_heads_and_ignored_regions(tmp_path: Path) -> None:
    make(tmp_path)
    frames = read_pose_file(tmp_path / "annotations/val/000_x.json", [], identified=True, heads=True)
    assert [frame.identities.tolist() for frame in frames] == [[0, 3], [], [0]]
    assert frames[0].heads.tolist() == [30, 30]  # 0.6 x 50
    assert [region.tolist() for region in frames[0].regions] == [[[0, 0], [9, 0], [0, 9]]]
    assert np.isnan(frames[2].poses[0, JOINTS.index("nose")]).all()
    make(tmp_path, det=truth())
    assert read(tmp_path).detections[0].scores.tolist() == [1, 1]  # the truth can stand in for a detector


def test_a_box_is_unitracks() -> None:
    pose = np.full((15, 3), np.nan)
    pose[4] = (7.9, -3.9, 1)
    assert pose_box(pose) == (7, -3, 17, 7)
    pose[5] = (9.2, -3.1, 1)
    assert pose_box(pose) == (7, -3, 9, 7)


def test_frames_that_the_annotations_do_not_list_are_not_followed(tmp_path: Path) -> None:
    gt = truth()
    del gt["images"][1]
    det = {**found(), "images": gt["images"]}
    det["annotations"] = [item for item in det["annotations"] if item["image_id"] in (70, 72)]
    make(tmp_path, gt, det)
    video = read(tmp_path)
    assert [path.name for path in video.frames.paths] == ["000000.jpg", "000002.jpg"]
    assert video.frames.numbers == (0, 2)


def change(data: dict[str, Any], path: list[Any], value: Any) -> dict[str, Any]:
    data = copy.deepcopy(data)
    target = data
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "entry", "what"),
    [
        (["annotations", 1, "image_id"], 9, 1, "there is no image 9"),
        (["annotations", 1, "track_id"], None, 1, "track_id is missing"),
        (["annotations", 1, "track_id"], -2, 1, "track_id is -2"),
        (["annotations", 2, "track_id"], 0, 2, "track_id 0 is in image 70 twice"),
        (["annotations", 1, "keypoints"], [1, 2, 3], 1, "keypoints needs 51 finite numbers"),
        (["annotations", 1, "keypoints"], None, 1, "keypoints needs 51 finite numbers"),
        (["annotations", 1, "keypoints", 4], float("nan"), 1, "keypoints needs 51 finite numbers"),
        (["annotations", 1, "bbox_head"], [1, 2, 0, 0], 1, "bbox_head is empty"),
        (["annotations", 1, "bbox_head"], None, 1, "bbox_head needs 4 finite numbers"),
        (["annotations", 1, "scores"], [1, 2], 1, "scores needs 17 finite numbers"),
        (["annotations", 1, "score"], "high", 1, "score is a string ('high'), a number is needed"),
        (["images", 0, "ignore_regions_y"], [], 0, "ignore_regions_x and ignore_regions_y"),
        (["images", 0, "ignore_regions_x"], [[1, 2]], 0, "ignore_regions_x and ignore_regions_y"),
        (["images", 0, "ignore_regions_x"], [[1, 2, 3, 4]], 0, "an ignore region needs 4 finite numbers"),
        (["images", 1, "id"], 70, 1, "id 70 is there twice"),
        (["images", 1, "file_name"], 3, 1, "needs an id (a number) and a file_name"),
        (["images", 1, "file_name"], "images/val/000_x/000009.jpg", 1, "000009.jpg is missing"),
        (["images", 1, "file_name"], "images/val/000_x/000002.jpg", 2, "000002.jpg after 000002.jpg"),
    ],
)
def test_broken_ground_truth_is_named_with_its_line(
    tmp_path: Path, path: list[Any], value: Any, entry: int, what: str
) -> None:
    make(tmp_path, change(truth(), path, value))
    file = tmp_path / "annotations/val/000_x.json"
    lines = file.read_text().splitlines()
    start = lines.index(f' "{path[0]}": [')
    line = [number for number, text in enumerate(lines, start=1) if text == "  {" and number > start][entry]
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (["images"], images(2), ":1: lists 2 images, the ground truth 3"),
        (["images", 2, "file_name"], "000007.jpg", "000007.jpg, where the ground truth has 000002.jpg"),
        (["categories"], [], ":1: 'categories' needs one entry, whose 'keypoints' hold right_ankle"),
        (["categories", 0, "keypoints", 0], "tail", ":1: 'categories' needs one entry"),
        (["annotations"], {}, ":1: 'annotations' must be a list of objects"),
    ],
)
def test_broken_detections_are_named(tmp_path: Path, path: list[Any], value: Any, what: str) -> None:
    det = found()
    det["annotations"] = det["annotations"][1:]
    make(tmp_path, det=change(det, path, value))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "poses/000_x.json"))
    assert what in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match="none is named: for instance --detections"):
        read(tmp_path, "")
    with pytest.raises(DataError, match="elsewhere/000_x.json: no such file"):
        read(tmp_path, "elsewhere/{sequence}.json")
    with pytest.raises(DataError, match="has no split 'test'; it has val"):
        open_videos(tmp_path, "posetrack18", "test", (), "")
    (tmp_path / "annotations/val/001_y.json").write_text("{}")
    with pytest.raises(DataError, match="one file for 2 sequences"):
        read(tmp_path, "all.json")
    (tmp_path / "images/val/000_x/000001.jpg").unlink()
    with pytest.raises(DataError, match="frame 1 missing between 0 and 2"):
        open_videos(tmp_path, "posetrack18", "val", ("000_x",), "poses/{sequence}.json")


def annolist() -> dict[str, Any]:
    points = [{"id": [joint], "x": [10 + joint], "y": [5], "score": [0.5]} for joint in (0, 14)]
    person = {"annopoints": [{"point": points}], "score": [0.25], "track_id": [1000]}
    bare = {"annopoints": [{"point": [{"id": [3], "x": [1.5], "y": [2]}]}]}
    rectangles = [[person, bare], [], [{"annopoints": []}]]
    return {
        "annolist": [
            {"image": [{"name": f"images/val/000_x/{t:06d}.jpg"}], "annorect": persons}
            for t, persons in enumerate(rectangles)
        ]
    }


def test_detections_may_have_posetrack17s_form(tmp_path: Path) -> None:
    make(tmp_path, det=annolist())
    first, second, third = read(tmp_path).detections
    assert first.poses is not None
    assert first.poses[0, [0, 14]].tolist() == [[10, 5, 0.5], [24, 5, 0.5]]
    assert np.isnan(first.poses[0, 1:14]).all()
    assert first.poses[1, 3].tolist() == [1.5, 2, 1]
    assert first.scores.tolist() == [0.25, 1]
    assert first.boxes.tolist() == [[10, 5, 24, 15], [1, 2, 11, 12]]
    assert (len(second), len(third)) == (0, 0)


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (["image"], [], "needs an image with a name"),
        (["annorect"], None, "needs an image with a name, and annorect"),
        (["annorect", 0, "score"], ["a"], "score is a string ('a'), a number is needed"),
        (["annorect", 0, "annopoints", 0, "point", 1, "id"], [15], "a point has id 15; there are 0 to 14"),
        (["annorect", 0, "annopoints", 0, "point", 1, "x"], [1, 2], "x is a list ([1, 2]), a number is needed"),
        (["image", 0, "name"], "000009.jpg", "lists image 000009.jpg, where the ground truth has 000000.jpg"),
    ],
)
def test_broken_posetrack17_detections_are_named(tmp_path: Path, path: list[Any], value: Any, what: str) -> None:
    make(tmp_path, det=change(annolist(), ["annolist", 0, *path], value))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    line = 1 if "lists image" in what else 3
    assert str(caught.value).startswith(f"{tmp_path / 'poses/000_x.json'}:{line}: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (["images", 1, "id"], "b", "id is a string ('b'), a number is needed"),
        (["images", 1, "id"], True, "id is true or false"),
        (["annotations", 1, "image_id"], "c", "image_id is a string ('c')"),
        (["annotations", 1, "image_id"], [72], "image_id is a list"),
        (["annotations", 1, "track_id"], "x", "track_id is a string ('x')"),
        (["annotations", 1, "keypoints", 3], "five", "keypoints needs 51 finite numbers: a value is a string ('five')"),
        (["annotations", 1, "keypoints", 0], 1e300, "a point is more than 1e+06 pixels away"),
    ],
)
def test_a_value_of_another_type_says_so(tmp_path: Path, path: list[Any], value: Any, what: str) -> None:
    make(tmp_path, change(truth(), path, value))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert what in str(caught.value)


def test_ids_may_be_strings(tmp_path: Path) -> None:
    gt = truth()
    for image in gt["images"]:
        image["id"] = str(image["id"])
    gt["annotations"][0] |= {"image_id": "70", "track_id": "7"}
    make(tmp_path, gt)
    frames = read_pose_file(tmp_path / "annotations/val/000_x.json", [], identified=True, heads=True)
    assert [frame.identities.tolist() for frame in frames] == [[7, 3], [], [0]]


def test_an_image_without_an_id_is_named(tmp_path: Path) -> None:
    gt = truth()
    del gt["images"][1]["id"]
    make(tmp_path, gt)
    with pytest.raises(DataError, match=r"000_x.json:\d+: needs an id \(a number\) and a file_name"):
        read(tmp_path)


def test_paths_may_have_backslashes(tmp_path: Path) -> None:
    gt, det = truth(), found()
    for data in (gt, det):
        for image in data["images"]:
            image["file_name"] = image["file_name"].replace("/", "\\")
    make(tmp_path, gt, det)
    assert [path.name for path in read(tmp_path).frames.paths] == ["000000.jpg", "000001.jpg", "000002.jpg"]
    assert [len(frame) for frame in read(tmp_path).detections] == [0, 1, 1]


EVERYWHERE = {"ignore_regions_x": [[-9, 999, 999, -9]], "ignore_regions_y": [[-9, -9, 999, 999]]}


def test_nobody_left_to_score_is_an_error(tmp_path: Path) -> None:
    for persons, listed, what in (
        ([], images(), "none of its 0 persons"),
        ([person(70, 0, 10, 5, absent=JOINTS), person(71, 1, 10, 5, absent=JOINTS)], images(), "none of its 2 persons"),
        (truth()["annotations"], [image | EVERYWHERE for image in images()], "none of its 3 persons"),
    ):
        make(tmp_path, {"images": listed, "annotations": persons, "categories": [CATEGORY]})
        with pytest.raises(
            DataError, match=rf"000_x.json: nothing to score: {what} has a keypoint outside the ignored"
        ):
            read(tmp_path)


def test_no_detected_pose_is_an_error(tmp_path: Path) -> None:
    nobody = [person(71, 0, 1, 1, absent=JOINTS) | {"score": 0.5}]
    make(tmp_path, det={"images": images(), "annotations": nobody, "categories": [CATEGORY]})
    with pytest.raises(DataError, match=r"poses/000_x.json: nothing to follow: no detection in it"):
        read(tmp_path)
