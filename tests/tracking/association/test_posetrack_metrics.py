"""Pose metrics: fractions computed by hand, and what PoseTrack's own evaluation gave for the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mec_transfer.common.errors import UserError
from mec_transfer.datasets.videos.detections import JOINTS
from mec_transfer.datasets.videos.frames import Frames
from mec_transfer.datasets.videos.posetrack import PoseVideo
from mec_transfer.tracking.association import posetrack_metrics
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files

FRAMES = 5
HEAD = [100, 50, 30, 40]
"""Its diagonal is 50 pixels: the head size is 30, and a joint may be 15 off."""
Persons = list[dict[int, np.ndarray]]
"""For each frame, by identity, a pose (15, 3)."""


def pose(x: float = 100, y: float = 50) -> np.ndarray:
    joints = np.arange(15)
    return np.stack([x + 7.0 * (joints % 5), y + 11.0 * (joints // 5), np.full(15, 0.9)], axis=1)


def annotations(persons: Persons) -> dict[str, Any]:
    names = [*JOINTS[7:], "left_ear", *JOINTS[:7], "right_ear"]
    items = []
    for index, frame in enumerate(persons):
        for identity, points in frame.items():
            triples = np.zeros((17, 3))
            for joint, name in enumerate(JOINTS):
                if not np.isnan(points[joint, 0]):
                    triples[names.index(name)] = (*points[joint, :2], 1)
            keypoints = triples.ravel().tolist()
            items.append({"image_id": index, "track_id": identity, "keypoints": keypoints, "bbox_head": HEAD})
    images = [{"id": index, "file_name": f"images/val/A/{index:06d}.jpg"} for index in range(len(persons))]
    return {"images": images, "annotations": items, "categories": [{"id": 1, "name": "person", "keypoints": names}]}


def make_video(folder: Path, name: str, truth: dict[str, Any]) -> PoseVideo:
    path = folder / "data" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(truth))
    numbers = tuple(range(len(truth["images"])))
    frames = Frames(name=name, paths=(Path("0.jpg"),) * len(numbers), numbers=numbers, width=400, height=300)
    return PoseVideo(frames=frames, files=(path,), detections=(), ground_truth=path)


def tracked(persons: Persons) -> list[TrackedFrame]:
    return [
        TrackedFrame(
            identities=np.array(list(frame), dtype=np.int64),
            boxes=np.tile([1.0, 2.0, 30.0, 40.0], (len(frame), 1)),
            scores=np.full(len(frame), 0.7),
            poses=np.array(list(frame.values())).reshape(-1, 15, 3),
        )
        for frame in persons
    ]


def write(folder: Path, kind: str, files: Files) -> None:
    for name, data in files.items():
        path = folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def put(folder: Path, name: str, truth: dict[str, Any], results: Persons) -> None:
    video = make_video(folder, name, truth)
    write(folder, TRUTH, posetrack_metrics.truth_files(video))
    write(folder, RESULTS, posetrack_metrics.result_files(video, tracked(results)))


def score(folder: Path, truth: Persons | dict[str, Any], results: Persons) -> dict[str, float]:
    put(folder, "A", truth if isinstance(truth, dict) else annotations(truth), results)
    measured = posetrack_metrics.measure(folder, ["A"])
    assert measured.by_sequence["A"] == pytest.approx(measured.overall)
    assert tuple(measured.overall) == posetrack_metrics.METRICS
    return measured.overall


ALONE: Persons = [{4: pose(100 + 3 * frame)} for frame in range(FRAMES)]


def test_perfect_results(tmp_path: Path) -> None:
    found = score(tmp_path, ALONE, ALONE)
    assert found == pytest.approx({**dict.fromkeys(posetrack_metrics.METRICS, 100), "IDs": 0})


def test_a_switch_counts_for_every_joint_and_the_last_frame_only_for_whole_persons(tmp_path: Path) -> None:
    results = [{1 + (frame > 1): points for points in persons.values()} for frame, persons in enumerate(ALONE)]
    found = score(tmp_path, ALONE, results)
    assert found["MOTA"] == pytest.approx(100 * (1 - 1 / 4))
    assert found["IDs"] == 15
    assert found["IDF1"] == pytest.approx(100 * 2 * 2 / (4 + 4))
    assert (found["Precision"], found["Recall"], found["DetA"]) == pytest.approx((100, 100, 100))
    assert found["AssA"] == pytest.approx(100 * (2 * 2 / 5 + 3 * 3 / 5) / 5)


@pytest.mark.parametrize(("off", "near"), [(15.0, True), (15.01, False)])
def test_a_joint_matches_within_half_a_head(tmp_path: Path, off: float, near: bool) -> None:
    results = [{identity: points.copy() for identity, points in persons.items()} for persons in ALONE]
    for persons in results:
        persons[4][6, 1] += off
    found = score(tmp_path, ALONE, results)
    if near:
        assert found["MOTA"] == pytest.approx(100)
        return
    assert found["MOTA"] == pytest.approx(100 * (14 * 1 + (1 - 8 / 4)) / 15)  # a miss and a false positive a frame
    assert found["IDF1"] == pytest.approx(100 * 14 / 15)
    assert found["Recall"] == pytest.approx(100 * 14 / 15)
    assert found["DetA"] == pytest.approx(100 * 18 / 19)  # 14 / 15 is below the threshold 0.95 alone


def test_a_joint_that_is_not_annotated_is_a_false_positive_and_one_that_is_not_found_a_miss(tmp_path: Path) -> None:
    truth = [{4: pose()} for _ in range(FRAMES)]
    results = [{4: pose()} for _ in range(FRAMES)]
    for frame in range(FRAMES):
        truth[frame][4][0] = np.nan
        results[frame][4][1] = np.nan
    found = score(tmp_path, truth, results)
    assert found["MOTA"] == pytest.approx(100 * (13 + 0) / 14)  # joint 0 has no truth and so no MOTA
    assert found["Precision"] == pytest.approx(100 * 13 / 14)
    assert found["IDF1"] == pytest.approx(100 * 13 / 15)


def test_a_frame_without_predictions_has_one_miss_and_one_false_positive(tmp_path: Path) -> None:
    truth = [{1: pose(100), 2: pose(200)} for _ in range(3)]
    found = score(tmp_path, truth, [truth[0], {}, truth[2]])
    assert found["MOTA"] == pytest.approx(100 * (1 - 2 / 3))
    assert found["DetA"] == pytest.approx(100 * 4 / 6)
    nothing = score(tmp_path / "none", truth, [{}, {}, {}])
    assert nothing == {**dict.fromkeys(posetrack_metrics.METRICS, 0), "MOTA": -100}


def test_frames_without_a_person_and_sequences_without_any(tmp_path: Path) -> None:
    truth: Persons = [ALONE[0], {}, ALONE[2], ALONE[3]]
    found = score(tmp_path, truth, [ALONE[0], {4: pose(300), 9: pose()}, ALONE[2], ALONE[3]])
    assert (found["MOTA"], found["HOTA"], found["IDs"]) == pytest.approx((100, 100, 0))
    assert not any(score(tmp_path / "none", [{}, {}], [{4: pose()}, {}]).values())


def test_one_frame(tmp_path: Path) -> None:
    found = score(tmp_path, [{1: pose(100), 2: pose(200)}], [{3: pose(100)}])
    assert (found["MOTA"], found["IDF1"]) == pytest.approx((50, 100 * 2 / 3))


def test_a_person_who_leaves_and_returns(tmp_path: Path) -> None:
    other = {7: pose(300)}
    truth: Persons = [ALONE[0] | other, other, other, ALONE[0] | other, other]
    assert score(tmp_path / "1", truth, truth)["IDs"] == 0
    results: Persons = [*truth[:3], {8: pose(100)} | other, other]
    found = score(tmp_path / "2", truth, results)
    assert (found["IDs"], found["MOTA"]) == pytest.approx((15, 100 * (1 - 1 / 6)))


def test_joints_in_ignored_regions_do_not_count(tmp_path: Path) -> None:
    """The region holds the first two columns of joints, and the third lies on its border."""
    truth = annotations(ALONE[:1] * 3)
    for image in truth["images"]:
        image["ignore_regions_x"], image["ignore_regions_y"] = [[90, 114, 114, 90]], [[40, 40, 200, 200]]
    results = [{4: pose()} for _ in range(3)]
    for persons in results:
        persons[4][[0, 1, 5, 6, 10, 11], 1] += 20  # would not match
    assert score(tmp_path / "in", truth, results)["MOTA"] == pytest.approx(100)
    for persons in results:
        persons[4][2, 1] += 20
    assert score(tmp_path / "border", truth, results)["MOTA"] == pytest.approx(100 * (8 - 1) / 9)


def noisy(seed: int, length: int = 14, people: int = 4) -> tuple[Persons, Persons]:
    """Return people side by side who swap identities, with joints missing and off, and frames without any."""
    rng = np.random.default_rng(seed)
    truth: Persons = [{} for _ in range(length)]
    results: Persons = [{} for _ in range(length)]
    names = list(range(people))
    for frame in range(length):
        if frame in (4, 9):
            names[0], names[-1] = names[-1], names[0]
        for person in range(people):
            points = pose(60 * person + 2 * frame + 5, 40)
            points[:, 2] = 1
            if frame != 6 and rng.random() < 0.9:
                truth[frame][person] = points.copy()
                truth[frame][person][rng.random(15) < 0.1] = np.nan
            points[:, :2] += rng.normal(0, 7, (15, 2)).round(2)
            points[rng.random(15) < 0.1] = np.nan
            if frame != 2 and rng.random() < 0.9:
                results[frame][names[person] + 1] = points
    return truth, results


def test_posetracks_own_evaluation_gives_the_same(tmp_path: Path) -> None:
    """The expected numbers are those of leonid-pishchulin/poseval (commit 4258a15, with py-motmetrics 1.4.0); IDF1 and
    IDs as UniTrack's copy of it computes them.
    """
    for seed in range(3):
        truth, results = noisy(seed)
        data = annotations(truth)
        for image in data["images"][:5]:
            image["ignore_regions_x"], image["ignore_regions_y"] = [[0, 90, 40]], [[30, 40, 70]]
        put(tmp_path, f"S{seed}", data, results)
    found = posetrack_metrics.measure(tmp_path, ["S0", "S1", "S2"]).overall
    expected = {"MOTA": 36.4947539, "IDF1": 60.7786342, "IDs": 148, "Precision": 73.9895188, "Recall": 70.8409652}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_results_are_read_as_written(tmp_path: Path) -> None:
    half = pose(20.0625)
    half[5:] = np.nan
    score(tmp_path, ALONE[:2], [{}, {3: half, 9: np.full((15, 3), np.nan)}])
    frames = posetrack_metrics.read_results(tmp_path, "A")
    assert [frame.identities.tolist() for frame in frames] == [[], [3]]
    assert frames[1].poses is not None
    np.testing.assert_allclose(frames[1].poses, [half], atol=5e-4)
    assert frames[1].boxes.tolist() == [[20, 50, 48, 60]]
    assert frames[1].scores.tolist() == [0.7]
    data = json.loads((tmp_path / RESULTS / "A.json").read_text())
    assert len(data["categories"][0]["keypoints"]) == 17
    assert data["images"] == annotations(ALONE[:2])["images"]
    assert [len(data["annotations"][0][key]) for key in ("keypoints", "scores", "bbox")] == [51, 17, 4]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    score(tmp_path, ALONE, ALONE)
    path = tmp_path / RESULTS / "A.json"
    sound = json.loads(path.read_text())
    for change, what in (
        ({"annotations": [sound["annotations"][0] | {"track_id": None}]}, r"A.json:1: track_id is missing"),
        ({"images": sound["images"][:-1], "annotations": []}, "4 frames of results, but 5 of ground truth"),
        ({"images": {}}, r"A.json:1: 'images' must be a list"),
    ):
        path.write_text(json.dumps(sound | change))
        with pytest.raises(UserError, match=what):
            posetrack_metrics.measure(tmp_path, ["A"])
    path.write_text("{")
    with pytest.raises(UserError, match=r"A.json:1: malformed JSON"):
        posetrack_metrics.measure(tmp_path, ["A"])
    path.unlink()
    with pytest.raises(UserError, match=r"A.json: cannot be read"):
        posetrack_metrics.measure(tmp_path, ["A"])


def test_a_sequence_that_says_nothing_of_a_joint_leaves_it_to_the_others(tmp_path: Path) -> None:
    """IDF1 is a mean over sequences: one without anybody made it 0 for all."""
    put(tmp_path, "A", annotations(ALONE), ALONE)
    put(tmp_path, "EMPTY", annotations([{}, {}]), [{}, {}])
    measured = posetrack_metrics.measure(tmp_path, ["A", "EMPTY"])
    assert measured.overall == pytest.approx(measured.by_sequence["A"])
    assert measured.overall["IDF1"] == 100
