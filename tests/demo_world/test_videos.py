from __future__ import annotations

import configparser
import hashlib
import json
import math
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.decode import load_rgb
from mec_transfer.datasets.registry import open_data
from mec_transfer.demo_world import videos
from mec_transfer.demo_world.clips import Clip
from mec_transfer.demo_world.figures import KEYPOINTS
from mec_transfer.demo_world.footage import shoot
from mec_transfer.demo_world.motion import Path as Curve
from mec_transfer.demo_world.motion import Place, View
from mec_transfer.demo_world.render import render, silhouette
from mec_transfer.demo_world.stage import Stage
from mec_transfer.demo_world.storyboard import CLIPS, SEQUENCES
from mec_transfer.demo_world.world import write_demo_world
from tests.datasets.reading import open_videos

SEED = 3
READ = {
    "otb": ("all", ""),
    "lasot": ("all", ""),
    "uav123": ("all", ""),
    "trackingnet": ("TRAIN_0", ""),
    "got10k": ("train", ""),
    "vot": ("all", ""),
    "davis": ("2017/val", ""),
    "motchallenge": ("train", "train/{sequence}/det/det.txt"),
    "mots": ("train", "train/{sequence}/det/det.txt"),
    "posetrack18": ("val", "detections/{sequence}.json"),
}
"""Layout -> split, detections."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_world(tmp_path_factory.mktemp("videos") / "world", seed=SEED, parts=("tracking",))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def painted(clip: Clip, frame: int, seed: int = SEED) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Who is seen where, (H, W), and all of everyone in a frame three times as wide and high, by Pillow's polygons."""
    moment = Stage(clip, seed).moment(frame)
    w, h = clip.width, clip.height
    seen = Image.new("L", (4 * w, 4 * h))
    whole: dict[int, Image.Image] = {}
    for thing, identity in zip(moment.scene.things, moment.identities, strict=True):
        corners = thing.polygon()
        ImageDraw.Draw(seen).polygon([(4 * x, 4 * y) for x, y in corners], fill=identity)
        if identity:
            alone = whole.setdefault(identity, Image.new("1", (12 * w, 12 * h)))
            ImageDraw.Draw(alone).polygon([(4 * (x + w), 4 * (y + h)) for x, y in corners], fill=1)
    return np.asarray(seen)[2::4, 2::4], {k: np.asarray(image)[2::4, 2::4] for k, image in whole.items()}


def box_of(mask: np.ndarray) -> list[int]:
    """x0, y0, x1, y1, half-open."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def table(path: Path) -> dict[int, list[list[float]]]:
    """A MOTChallenge file's lines by frame."""
    rows = defaultdict(list)
    for line in path.read_text().splitlines():
        values = [float(value) for value in line.split(",")]
        rows[int(values[0])].append(values[1:])
    return rows


def masks(path: Path) -> dict[int, list[tuple[int, np.ndarray]]]:
    """A MOTS file's (identity, mask) by frame."""
    rows = defaultdict(list)
    for line in path.read_text().splitlines():
        frame, identity, kind, height, width, runs = line.split(" ")
        assert kind == "2" and int(identity) // 1000 == 2
        mask = coco_mask.decode({"size": [int(height), int(width)], "counts": runs.encode()}).astype(bool)
        rows[int(frame)].append((int(identity) % 1000, mask))
    return rows


def test_everything_that_is_listed_is_written_and_nothing_else(root: Path) -> None:
    pictures, others = videos.file_names()
    small = {"otb": 5, "lasot": 2, "uav123": 1, "trackingnet": 1, "got10k": 1, "vot": 2, "davis": 3}
    assert len(pictures) == 20 * sum(small.values()) + 2 * 3 * 24 + 2 * 24 + (20 + 2 * 24)
    assert len(set(pictures + others)) == len(pictures + others)
    assert set(contents(root)) == {*pictures, *others, "world.json"}
    assert json.loads((root / "world.json").read_text())["parts"] == {"tracking": len(pictures)}
    assert load_rgb(root / "otb/TwinStars/img/0001.jpg").size == (160, 128)
    assert load_rgb(root / "posetrack18/images/val/900002_demo_test/000000.jpg").size == (192, 144)


@pytest.mark.parametrize("layout", READ)
def test_the_code_for_real_data_reads_it(root: Path, layout: str) -> None:
    split, detections = READ[layout]
    read = open_videos(root / layout, layout, split, detections=detections)
    found = {video.name: (len(video.frames), video.frames.width, video.frames.height) for video in read}
    clips = {Path(name).name: CLIPS[clip] for name, clip in SEQUENCES[layout].items()}
    assert found == {name: (clip.length, clip.width, clip.height) for name, clip in clips.items()}
    assert all(video.frames.read(len(video.frames) - 1).any() for video in read)


def test_same_seed_same_bytes_and_another_seed_another_world(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a world that has fewer videos in it."""
    whole, found = contents(root), {}
    for seed in (SEED, SEED + 1):
        few: dict[str, dict[str, str]] = {"davis": {"drop-returns": "three"}}
        if seed == SEED:
            few |= {layout: {"DEMO-02": "away"} for layout in ("motchallenge", "mots")}
        monkeypatch.setattr(videos, "SEQUENCES", few)
        found[seed] = contents(write_demo_world(tmp_path / str(seed), seed=seed, parts=("tracking",)))
        del found[seed]["world.json"], found[seed]["davis/ImageSets/2017/val.txt"]
    assert len(found[SEED]) == 2 * 20 + 2 * (24 + 3) and len(found[SEED + 1]) == 2 * 20
    assert all(whole[name] == data for name, data in found[SEED].items())
    assert all(whole[name] != data for name, data in found[SEED + 1].items())
    ours, other = (Stage(CLIPS["dance"], seed).moment(9).joints[1] for seed in (SEED, SEED + 1))
    assert np.nanmax(np.abs(ours - other)) > 3


def test_same_pixels_for_the_same_seed() -> None:
    """Tests the renderer alone, whose operations round the same on every processor."""
    drawn = b""
    for name in ("away", "dance"):
        clip = CLIPS[name]
        drawn += render(Stage(clip, 0).moment(5).scene, clip.width, clip.height).image.tobytes()
    assert hashlib.sha256(drawn).hexdigest() == GOLDEN


GOLDEN = "993886b563b31d82ccb845c85a3540dc6263f44c2c74cf18c55c823a5a2e3b5d"


def test_lost_files_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "SEQUENCES", {"davis": {"twin-stars": "twins"}})
    out = write_demo_world(tmp_path / "w", parts=("tracking",))
    whole = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr(videos, "write_videos", lambda *_: pytest.fail("drew a finished world"))
        write_demo_world(out, parts=("tracking",))
    (out / "davis/JPEGImages/480p/twin-stars/00007.jpg").write_bytes(b"")
    (out / "davis/Annotations/480p/twin-stars/00011.png").unlink()
    write_demo_world(out, parts=("tracking",))
    assert contents(out) == whole


def test_interrupted_videos_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "SEQUENCES", {"otb": {"TwinStars": "twins"}})
    out, real = tmp_path / "w", videos.write_jpeg

    def stop_in_the_middle(path: Path, pixels: np.ndarray) -> None:
        if path.name == "0009.jpg":
            raise KeyboardInterrupt
        real(path, pixels)

    monkeypatch.setattr(videos, "write_jpeg", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        write_demo_world(out, parts=("tracking",))
    assert not (out / "world.json").exists() and not (out / "otb/TwinStars/groundtruth_rect.txt").exists()
    monkeypatch.setattr(videos, "write_jpeg", real)
    write_demo_world(out, parts=("tracking",))
    assert len((out / "otb/TwinStars/groundtruth_rect.txt").read_text().splitlines()) == 20


@pytest.mark.parametrize("sequence", SEQUENCES["otb"])
def test_otb_boxes_hold_the_whole_target(root: Path, sequence: str) -> None:
    clip = CLIPS[SEQUENCES["otb"][sequence]]
    lines = (root / "otb" / sequence / "groundtruth_rect.txt").read_text().splitlines()
    assert len(lines) == clip.length == len(list((root / "otb" / sequence / "img").glob("????.jpg")))
    for frame in (0, 8, 19):
        x, y, w, h = (int(value) for value in lines[frame].split(","))
        whole = painted(clip, frame)[1][1][clip.height : 2 * clip.height, clip.width : 2 * clip.width]
        assert np.abs(np.subtract([x - 1, y - 1, x - 1 + w, y - 1 + h], box_of(whole))).max() <= 2
        assert x >= 1 and y >= 1 and x + w - 1 <= clip.width and y + h - 1 <= clip.height


@pytest.mark.parametrize(
    ("layout", "name", "otb"),
    [
        ("lasot", "heart-1", "HiddenHeart"),
        ("uav123", "kite", "PannedKite"),
        ("trackingnet", "drop_0", "BusyDrop"),
        ("got10k", "GOT-10k_Train_000001", "NearingCog"),
    ],
)
def test_other_box_layouts_count_pixels_from_nought(root: Path, layout: str, name: str, otb: str) -> None:
    (video,) = open_videos(root / layout, layout, READ[layout][0], (name,))
    (same,) = open_videos(root / "otb", "otb", "all", (otb,))
    np.testing.assert_array_equal(video.boxes + np.array([1, 1, 0, 0]), same.boxes)


def test_flags_and_turned_boxes_say_what_is_seen(root: Path) -> None:
    (heart,) = open_videos(root / "lasot", "lasot", "all", ("heart-1",))
    seen = [frame.bodies[1].seen for frame in shoot(CLIPS["hidden"], SEED)]
    assert heart.visible.tolist() == [bool(mask.any()) for mask in seen] and 0 < heart.visible.sum() < len(seen)
    (kite,) = open_videos(root / "vot", "vot", "all", ("kite",))
    for corners, frame in zip(kite.polygons, shoot(CLIPS["panned"], SEED), strict=True):
        mask = frame.bodies[1].seen
        inside = Image.new("1", mask.shape[::-1])
        ImageDraw.Draw(inside).polygon(list(map(tuple, corners.reshape(-1, 2))), fill=1)
        assert mask[~np.asarray(inside)].sum() <= 0.02 * mask.sum() and np.asarray(inside).sum() < 3 * mask.sum()


def test_imagenet_vid_follows_everyone(root: Path) -> None:
    config = TracksDatasetConfig(name="x", layout="imagenet_vid", split="train")
    data = open_data(config, root / "ILSVRC")
    assert data.problems == [] and data.splits == {"train": 20 + 2 * 24 - 5}  # nobody is in five frames
    tracks = data.tracks  # type: ignore[attr-defined]
    assert len(tracks) == 3 + 5 + 4 and 0 < sum((~track.visible).sum() for track in tracks) < 60
    shown = next(iter(shoot(CLIPS["three"], SEED))).bodies[1].box
    assert tracks[0].boxes[0].tolist() == [shown[0], shown[1], shown[2] - shown[0], shown[3] - shown[1]]


@pytest.mark.parametrize("sequence", SEQUENCES["davis"])
def test_davis_masks_are_what_is_seen(root: Path, sequence: str) -> None:
    assert (root / "davis/ImageSets/2017/val.txt").read_text().split() == list(SEQUENCES["davis"])
    clip = CLIPS[SEQUENCES["davis"][sequence]]
    for frame in (0, 9, 19):
        image = Image.open(root / f"davis/Annotations/480p/{sequence}/{frame:05d}.png")
        palette = image.getpalette()
        assert image.mode == "P" and palette is not None
        assert palette[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] and palette[-3:] == [224, 224, 192]
        labels, expected = np.asarray(image), painted(clip, frame)[0]
        assert (labels == expected).mean() > 0.99
        assert all(iou(labels == k, expected == k) > 0.9 for k in np.unique(expected))
    first = np.asarray(Image.open(root / f"davis/Annotations/480p/{sequence}/00000.png"))
    assert set(np.unique(first)) == {0, *(role.identity for role in clip.roles)}


@pytest.mark.parametrize("sequence", SEQUENCES["motchallenge"])
def test_motchallenge_boxes_and_mots_masks_are_of_the_same_frames(root: Path, sequence: str) -> None:
    clip = CLIPS[SEQUENCES["mots"][sequence]]
    mot, mots = (root / layout / "train" / sequence for layout in ("motchallenge", "mots"))
    assert contents(mot / "img1") == contents(mots / "img1")
    info = configparser.ConfigParser()
    info.read([mot / "seqinfo.ini"])
    assert info["Sequence"]["name"] == sequence and info["Sequence"]["imext"] == ".jpg"
    assert [int(info["Sequence"][key]) for key in ("seqlength", "imwidth", "imheight")] == [24, 192, 144]
    boxes, seen = table(mot / "gt/gt.txt"), masks(mots / "gt/gt.txt")
    for number in (1, 12, 24):
        owners, whole = painted(clip, number - 1)
        total = np.zeros(owners.shape, dtype=int)
        for identity, mask in seen[number]:
            # A sliver is nearly all border, where rasterisers differ: measured on all of the body.
            assert (mask ^ (owners == identity)).sum() < 0.1 * whole[identity].sum()
            total += mask
        assert total.max(initial=0) <= 1  # no two masks share a pixel
        for who, x, y, w, h, counts, kind, visibility in boxes[number]:
            identity = int(who)
            all_of_it = whole[identity]
            framed = box_of(all_of_it[clip.height : 2 * clip.height, clip.width : 2 * clip.width])
            assert np.abs(np.subtract([x - 1, y - 1, x - 1 + w, y - 1 + h], framed)).max() <= 2
            assert (counts, kind) == (1, 1)
            assert visibility == pytest.approx((owners == identity).sum() / all_of_it.sum(), abs=0.06)


def test_poses_lie_on_their_figures(root: Path) -> None:
    seen = masks(root / "mots/train/DEMO-03/gt/gt.txt")
    truth = json.loads((root / "posetrack18/annotations/val/900001_demo_test.json").read_text())
    assert truth["categories"][0]["keypoints"] == list(KEYPOINTS) and len(KEYPOINTS) == 17
    assert KEYPOINTS[:7] == (
        "nose",
        "head_bottom",
        "head_top",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
    )
    assert [image["id"] for image in truth["images"]] == [19000010000 + k for k in range(24)]
    assert truth["images"][3]["file_name"] == "images/val/900001_demo_test/000003.jpg"
    hidden = 0
    for person in truth["annotations"]:
        frame = person["image_id"] - 19000010000
        mask = dict(seen[frame + 1])[person["track_id"] + 1]
        near = np.pad(mask, 2)
        near = np.logical_or.reduce([np.roll(near, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)])[2:-2, 2:-2]
        joints = np.reshape(person["keypoints"], (17, 3))
        shown = joints[joints[:, 2] == 1]
        assert all(near[math.floor(y), math.floor(x)] for x, y, _ in shown)
        assert (joints[3:5] == 0).all() and (joints[joints[:, 2] == 0] == 0).all()
        hidden += int((joints[:, 2] == 0).sum()) - 2
        low, high = shown[:, :2].min(axis=0), shown[:, :2].max(axis=0)
        expected = [*((low + high) / 2 - 0.65 * (high - low)), *(1.3 * (high - low))]
        assert person["bbox"] == pytest.approx(expected, abs=0.01)
        x, y, w, h = person["bbox_head"]
        if joints[0, 2]:
            assert x <= joints[0, 0] <= x + w and y <= joints[0, 1] <= y + h
    assert hidden > 20
    identifiers = [person["id"] for person in truth["annotations"]]
    assert len(set(identifiers)) == len(identifiers)


def test_a_figure_keeps_its_bones_while_it_walks() -> None:
    clip, lengths = CLIPS["street"], defaultdict(list)
    stage = Stage(clip, 0)
    for frame in range(clip.length):
        joints = dict(zip(KEYPOINTS, stage.moment(frame).joints[2], strict=True))
        height = joints["left_hip"][1] - joints["head_top"][1]
        for side in ("left", "right"):
            for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
                lengths[side, a].append(math.dist(joints[f"{side}_{a}"], joints[f"{side}_{b}"]) / height)
    assert all(max(values) / min(values) < 1.05 for values in lengths.values())
    knees = [stage.moment(frame).joints[2][13:15, 0] for frame in range(clip.length)]
    assert len({bool(left < right) for left, right in knees}) == 2  # it does step


def overlap(one: list[float], other: list[float]) -> float:
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(wide, 0) * max(high, 0)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def test_detections_are_near_the_truth_with_misses_and_false_alarms(root: Path) -> None:
    count: Counter[str] = Counter()
    for sequence in SEQUENCES["motchallenge"]:
        folder = root / "motchallenge/train" / sequence
        truth, found = table(folder / "gt/gt.txt"), table(folder / "det/det.txt")
        for number in range(1, 25):
            for _, x, y, w, h, score, *rest in found[number]:
                assert 0 < score < 1 and rest == [-1, -1, -1] and w > 0 and h > 0
                assert x >= 1 and y >= 1 and x - 1 + w <= 192.01 and y - 1 + h <= 144.01
                near = max((overlap([x, y, w, h], row[1:5]) for row in truth[number]), default=0)
                count["right" if near > 0.6 else "false"] += 1
            clear = [row for row in truth[number] if row[-1] > 0.9]
            count["clear"] += len(clear)
            count["missed"] += sum(
                max((overlap(row[1:5], other[1:5]) for other in found[number]), default=0) < 0.6 for row in clear
            )
    assert count["right"] > 0.85 * (count["right"] + count["false"]) and count["false"] >= 4
    assert 1 <= count["missed"] < 0.15 * count["clear"]


def test_detected_masks_do_not_overlap_and_stray_a_little(root: Path) -> None:
    near = []
    for sequence in SEQUENCES["mots"]:
        folder = root / "mots/train" / sequence
        truth, found = masks(folder / "gt/gt.txt"), masks(folder / "det/det.txt")
        for number, listed in found.items():
            assert np.sum([mask for _, mask in listed], axis=0).max() == 1
            assert [place for place, _ in listed] == list(range(1, len(listed) + 1))
            near += [max((iou(mask, other) for _, other in truth[number]), default=0.0) for _, mask in listed]
    good = [value for value in near if value > 0.5]
    assert len(good) > 0.85 * len(near) and 0.7 < np.mean(good) < 0.97


def test_detected_poses_are_submissions(root: Path) -> None:
    for sequence in SEQUENCES["posetrack18"]:
        truth = json.loads((root / f"posetrack18/annotations/val/{sequence}.json").read_text())
        found = json.loads((root / f"posetrack18/detections/{sequence}.json").read_text())
        assert found["images"] == truth["images"]
        people: dict[int, list[Any]] = defaultdict(list)
        for person in truth["annotations"]:
            people[person["image_id"]].append(np.reshape(person["keypoints"], (17, 3)))
        near = 0
        for person in found["annotations"]:
            joints, scores = np.reshape(person["keypoints"], (17, 3)), np.array(person["scores"])
            assert ((scores > 0) == (joints[:, 2] > 0)).all() and 0 < person["score"] < 1 and scores.max() < 1
            for other in people[person["image_id"]]:
                both = (joints[:, 2] > 0) & (other[:, 2] > 0)
                near += both.any() and np.abs(joints - other)[both, :2].max() < 4
        assert 0.8 * len(found["annotations"]) < near <= len(found["annotations"])


@pytest.mark.parametrize("seed", [0, SEED])
def test_what_the_storyboard_promises_happens_in_every_world(seed: int) -> None:
    hidden = [painted(CLIPS["hidden"], frame, seed) for frame in range(5, 14)]
    assert min((seen == 1).sum() / whole[1].sum() for seen, whole in hidden) < 0.1
    ends = [painted(CLIPS["nearing"], frame, seed)[1][1].sum() for frame in (0, 19)]
    assert ends[1] > 6 * ends[0]
    shifts = [Stage(CLIPS["panned"], seed).moment(frame).scene.background_shift for frame in (0, 19)]
    assert math.dist(*shifts) > 80
    looks = {
        identity: thing
        for thing, identity in zip(*(lambda m: (m.scene.things, m.identities))(Stage(CLIPS["twins"], seed).moment(0)))
        if identity
    }
    one, other = looks[1], looks[2]
    assert one.shape == other.shape and one.texture.pattern == other.texture.pattern
    assert 0.01 < math.dist(one.texture.colours[1], other.texture.colours[1]) < 0.5


def test_someone_leaves_and_returns_and_a_frame_is_empty(root: Path) -> None:
    truth = table(root / "motchallenge/train/DEMO-02/gt/gt.txt")
    there = {
        identity: [any(row[0] == identity for row in truth[number]) for number in range(1, 25)] for identity in (2, 4)
    }
    assert there[2][0] and not all(there[2]) and there[2][-1]
    assert not there[4][0] and there[4][-1]
    empty = [number for number in range(1, 25) if not truth[number]]
    assert len(empty) >= 2 and empty == list(range(empty[0], empty[-1] + 1))
    assert not any(masks(root / "mots/train/DEMO-02/gt/gt.txt")[number] for number in empty)
    drop = [np.asarray(Image.open(root / f"davis/Annotations/480p/drop-returns/{k:05d}.png")) == 2 for k in range(20)]
    gone = [k for k in range(20) if not drop[k].any()]
    assert len(gone) > 3 and drop[0].any() and drop[-1].any()


def test_silhouettes_hold_what_is_seen_of_a_thing() -> None:
    clip = CLIPS["crowd"]
    moment = Stage(clip, 1).moment(11)
    seen = render(moment.scene, clip.width, clip.height).owner
    for index, thing in enumerate(moment.scene.things):
        alone = silhouette([thing], (0, 0, clip.width, clip.height))
        assert not ((seen == index) & ~alone).any()
        moved = silhouette([thing], (-7, 5, clip.width, clip.height))
        np.testing.assert_array_equal(moved[:, 7:], alone[5:])
    frame = next(iter(shoot(clip, 1)))
    assert all(0 <= body.visibility <= body.inside <= 1 for body in frame.bodies.values())


def test_paths_go_through_their_knots_and_rest_at_the_ends() -> None:
    curve = Curve(((0.2, 0.0, 1.0, 2.0), (0.5, 1.0, 0.0, 2.0), (0.8, 1.0, 4.0, 2.0)))
    assert curve.at(0.0) == curve.at(0.2) == Place(0.0, 1.0, 2.0) and curve.at(1.0) == Place(1.0, 4.0, 2.0)
    assert curve.at(0.5) == pytest.approx(Place(1.0, 0.0, 2.0))
    steps = [curve.at(k / 1000) for k in range(200, 801)]
    assert max(math.dist(a, b) for a, b in pairwise(steps)) < 0.03
    view = View(camera=Place(0.5, 0.5, 2.0), width=100, height=50)
    assert view.pixels(Place(0.5, 0.5, 0.1)) == Place(50, 25, 10) and view.pixels(Place(0.75, 0.25, 0)) == Place(
        100, 0, 0
    )
