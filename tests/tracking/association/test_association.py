"""MOT, MOTS and pose tracking as a whole: from a folder in the layout to numbers out of the written files."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torchvision.ops import roi_align

from mec_transfer.cli.main import main
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.videos.video import Video
from mec_transfer.suite.registry import load_benchmark
from mec_transfer.tracking.association.association import AssociationTask
from mec_transfer.tracking.association.mot import letterbox
from mec_transfer.tracking.association.mots import mask_box
from mec_transfer.tracking.sequences import Measured
from tests.datasets.reading import open_videos
from tests.tracking.association.drawn_crowd import HEIGHT, NAME, WIDTH, Colours, Film

TASKS = {"mot": "motchallenge", "mots": "mots", "posetrack": "posetrack18"}
SIZE = f"recipe.image_size=[{WIDTH}, {HEIGHT}]"


def task(kind: str, *overrides: str, name: str = "{}_unitrack") -> Any:
    own = [SIZE] if kind == "mot" else []
    found = load_benchmark(CONFIGS / "tracking" / f"{name.format(kind)}.yaml", [*own, *overrides])
    assert isinstance(found, AssociationTask)
    return found


def draw(root: Path, kind: str, film: Film, mode: str = "RGB") -> Any:
    getattr(film, f"write_{TASKS[kind]}")(root, mode)
    return read(root, kind)


def read(root: Path, kind: str) -> Any:
    split, where = (
        ("val", "poses/{sequence}.json") if kind == "posetrack" else ("train", "train/{sequence}/det/det.txt")
    )
    (video,) = open_videos(root, TASKS[kind], split, (), where)
    return video


def write(folder: Path, parts: Mapping[str, Mapping[str, bytes]]) -> None:
    for part, files in parts.items():
        for name, data in files.items():
            (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / part / name).write_bytes(data)


def follow(folder: Path, benchmark: Any, video: Video, features: Any) -> Measured:
    ticks: list[None] = []
    results = benchmark.follow(video, features, lambda: ticks.append(None))
    assert len(ticks) == len(video.frames)
    write(folder, {"results": results, "truth": benchmark.truth(video)})
    measured = benchmark.measure(folder, [video.name])
    assert isinstance(measured, Measured)
    return measured


@pytest.mark.parametrize("kind", TASKS)
def test_perfect_features_give_a_perfect_score_and_shuffled_ones_a_poor_one(kind: str, tmp_path: Path) -> None:
    """Two cross, one hides behind the other, one leaves and comes back, one turns up at the other end.

    Poses are followed until the first is hidden: the published way with those that are found again has its own test.
    """
    film = Film(6 if kind == "posetrack" else 24)
    video, benchmark = draw(tmp_path, kind, film), task(kind)
    perfect = follow(tmp_path / "perfect", benchmark, video, Colours()).overall
    assert perfect["IDF1"] == 100 and perfect["IDs"] == 0
    assert perfect["sMOTSA" if kind == "mots" else "MOTA"] == 100
    poor = follow(tmp_path / "poor", benchmark, video, Colours(shuffled=True)).overall
    assert poor["IDF1"] < 60 and poor["IDs"] > 10


def test_a_pose_that_is_found_again_has_no_track_in_that_frame(tmp_path: Path) -> None:
    film = Film(share=0.95)
    video, benchmark = draw(tmp_path, "posetrack", film), task("posetrack", "recipe.frame_rate=30.0")
    assert 70 < follow(tmp_path, benchmark, video, Colours()).overall["IDF1"] < 100
    before: set[int] = set(film.visible(0))
    returned = 0
    names: dict[int, int] = {}
    for t, frame in enumerate(benchmark.track(video, Colours(), lambda: None)):
        there = sorted(film.visible(t), reverse=True)  # as the film writes them
        for who, identity in zip(there, frame.identities.tolist(), strict=True):
            assert (identity == 0) is (who not in before)
            returned += identity == 0
            if identity:
                assert names.setdefault(who, identity) == identity
        before = set(there)
    assert returned >= 3 and len(set(names.values())) == 4
    written = benchmark.marks(video, tmp_path)
    fresh = [name for t in range(len(video.frames)) for name in written(t).points if name > 4]
    assert len(set(fresh)) == len(fresh) == returned and written(0).bones and len(written(0).points) == 4


def test_a_box_gets_the_published_cells(tmp_path: Path) -> None:
    """Letterboxed, pooled with 4 rows and 10 columns, the file's numbers taken as they are: written out slowly."""
    video = draw(tmp_path, "mot", Film(1))
    size = (160, 120)
    benchmark = task("mot", "recipe.image_size=[160, 120]")
    pixels = video.frames.read(0)
    which, seen = benchmark.observe(video, 0, pixels, Colours())
    assert which.tolist() == [0, 1, 2, 3]  # 0.5 is not above the threshold
    ratio = min(size[0] / WIDTH, size[1] / HEIGHT)
    inner = (round(WIDTH * ratio), round(HEIGHT * ratio))
    canvas = np.full((size[1], size[0], 3), 128, dtype=np.uint8)
    top, left = (size[1] - inner[1]) // 2, (size[0] - inner[0]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(pixels, inner, interpolation=cv2.INTER_AREA)
    features = Colours()(Colours().prepare(canvas))
    for cells, (x0, y0, x1, y1) in zip(seen.cells, Film(1).boxes(0).values()):
        border = [(size[0] - inner[0]) / 2, (size[1] - inner[1]) / 2] * 2  # half a pixel off, as published
        corners = np.array([x0 + 1, y0 + 1, x1 + 1, y1 + 1]) * ratio + border
        pooled = roi_align(features, torch.tensor([[0, *(corners / 8)]]).float(), (4, 10))[0]
        plain = torch.stack([pooled[:, row, column] for row in range(4) for column in range(10)])
        torch.testing.assert_close(cells, torch.nn.functional.normalize(plain, dim=1), atol=1e-5, rtol=0)
    np.testing.assert_allclose(seen.boxes, video.detections[0].boxes[:4], atol=0.5 / ratio)


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (640, 480), (97, 211), (33, 20)])
def test_frames_are_fitted_as_published(width: int, height: int) -> None:
    pixels = np.full((height, width, 3), 7, dtype=np.uint8)
    fitted, ratio, border = letterbox(pixels, (1088, 608))
    assert fitted.shape == (608, 1088, 3) and ratio == min(608 / height, 1088 / width)
    inside = (fitted == 7).all(axis=2)
    columns, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    assert (len(columns), len(rows)) == (round(width * ratio), round(height * ratio))
    assert abs(columns[0] - border[0]) <= 0.5 and abs(rows[0] - border[1]) <= 0.5
    assert (fitted[~inside] == 128).all()


def test_small_and_wide_boxes_are_left_out(tmp_path: Path) -> None:
    video = draw(tmp_path, "mot", Film(2))
    boxes = np.array([[10.0, 10, 24, 24], [10, 10, 24.1, 24.3], [50, 10, 83, 30], [50, 40, 81, 60]])
    scores = np.ones(4)
    detections = (dataclasses.replace(video.detections[0], boxes=boxes, scores=scores),) * 2
    benchmark = task("mot", "recipe.association.kalman=false")
    (frame, _) = benchmark.track(dataclasses.replace(video, detections=detections), Colours(), lambda: None)
    assert frame.boxes[:, 2].round(1).tolist() == [24.1, 81.0]  # 196 pixels; 1.65 times as wide as high


def test_a_mask_has_the_box_of_its_cells() -> None:
    mask = torch.zeros(9, 12, dtype=torch.bool)
    mask[2:8, 3:5] = True
    np.testing.assert_allclose(mask_box(mask), [3.5 - 2, 4.5 - 3, 3.5 + 2, 4.5 + 3])


def test_of_two_masks_in_one_place_the_first_takes_part(tmp_path: Path) -> None:
    video = draw(tmp_path, "mots", Film(1))
    seen = video.detections[0]
    tiny = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    tiny[1, 1] = 1  # nearest to no cell of the map
    masks = (seen.masks[1], *seen.masks, dict(coco_mask.encode(tiny)))
    boxes = np.zeros((len(masks), 4))
    twice = dataclasses.replace(seen, boxes=boxes, scores=np.ones(len(masks)), masks=masks)
    (frame,) = task("mots").track(dataclasses.replace(video, detections=(twice,)), Colours(), lambda: None)
    assert frame.identities.tolist() == [1, 2, 3, 4]
    assert [masks.index(mask) for mask in frame.masks] == [0, 1, 3, 4]


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("length", [1, 2])
def test_greyscale_frames_and_frames_without_anything(kind: str, length: int, tmp_path: Path) -> None:
    video = draw(tmp_path, kind, Film(length), "L")
    for which in range(length):
        empty = [
            dataclasses.replace(seen, boxes=seen.boxes[:0], scores=seen.scores[:0], masks=None, poses=None)
            if index == which
            else seen
            for index, seen in enumerate(video.detections)
        ]
        frames = task(kind).track(dataclasses.replace(video, detections=tuple(empty)), Colours(), lambda: None)
        assert [len(frame) == 0 for frame in frames][which] and len(frames) == length
        task(kind).follow(dataclasses.replace(video, detections=tuple(empty)), Colours(), lambda: None)


@pytest.mark.parametrize("kind", TASKS)
def test_configs_are_the_published_settings(kind: str) -> None:
    plain = load_benchmark(CONFIGS / "tracking" / f"{kind}_unitrack.yaml").config
    moving = load_benchmark(CONFIGS / "tracking" / f"{kind}_unitrack_motion.yaml").config
    demo = load_benchmark(CONFIGS / "tracking" / f"demo_{kind}.yaml").config
    rules = plain.recipe.association  # type: ignore[attr-defined]
    pose = kind == "posetrack"
    assert (rules.similarity_limit, rules.overlap_limit, rules.track_buffer, rules.kalman) == (0.7, 0.5, 30, True)
    assert (rules.confirm_limit, rules.duplicate_limit) == ((0.6, 0.2) if pose else (0.7, 0.15))
    assert (rules.motion_lambda, rules.motion_gated) == (1.0, False)
    expected = {"mot": (0.98, True), "mots": (0.98, False), "posetrack": (0.9999, False)}[kind]
    rules = moving.recipe.association  # type: ignore[attr-defined]
    assert (rules.motion_lambda, rules.motion_gated) == expected
    assert plain.protocol == f"{moving.protocol}-womotion" and plain.metrics.primary == "IDF1"
    assert demo.protocol == f"demo-{kind}" and not demo.dataset.sequences  # type: ignore[attr-defined]


@pytest.mark.integration
@pytest.mark.parametrize("kind", TASKS)
def test_the_command_end_to_end(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On greyscale frames of odd size; a detection below is broken then."""
    film, out = Film(3, size=(197, 93)), tmp_path / "out"
    data = tmp_path / "demo"
    getattr(film, f"write_{TASKS[kind]}")(data, "L")
    command = ["track", "random:resnet18:2", "--config", f"demo_{kind}", "--data", str(data), "--device", "cpu"]
    command += ["--detections", "poses/{sequence}.json"] if kind == "posetrack" else []
    assert main([*command, "--out", str(out)]) == 0
    record = json.loads((out / "record.json").read_text())
    assert record["status"] == "ok" and record["details"]["frames"] == 3 and record["primary"] == "IDF1"
    assert record["metrics"].keys() == set(load_benchmark(CONFIGS / f"tracking/demo_{kind}.yaml").METRICS)  # type: ignore[attr-defined]
    assert 0 < record["metrics"]["IDF1"] <= 100 and list((out / "pictures").glob("*.gif"))
    assert main(["verify", str(out)]) == 0
    path = data / (f"poses/{NAME}.json" if kind == "posetrack" else f"train/{NAME}/det/det.txt")
    path.write_text(path.read_text().replace("[", "{", 1) if kind == "posetrack" else "1,2,3\n")
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path / "other")]) == 2
    assert f"{path}:1: " in capsys.readouterr().err


def command_for(kind: str, data: Path, out: Path, *more: str) -> list[str]:
    where = "poses/{sequence}.json" if kind == "posetrack" else "train/{sequence}/det/det.txt"
    command = ["track", "random:resnet18:2", "--config", f"demo_{kind}", "--data", str(data), "--device", "cpu"]
    return [*command, "--detections", where, "--out", str(out), *more]


@pytest.mark.integration
@pytest.mark.parametrize("kind", TASKS)
def test_a_sequence_with_nothing_to_score_is_told_and_moves_no_ratio(kind: str, tmp_path: Path) -> None:
    data = tmp_path / "demo"
    getattr(Film(3), f"write_{TASKS[kind]}")(data, "RGB")
    assert main(command_for(kind, data, tmp_path / "alone")) == 0
    if kind == "posetrack":
        for file in (data / f"annotations/val/{NAME}.json", data / f"poses/{NAME}.json"):
            document = json.loads(file.read_text())
            file.with_name("EMPTY.json").write_text(json.dumps(document | {"annotations": []}))
    else:
        shutil.copytree(data / "train" / NAME, data / "train" / "EMPTY")
        for file in ("gt/gt.txt", "det/det.txt"):
            (data / "train" / "EMPTY" / file).write_text("")
    assert main(command_for(kind, data, tmp_path / "both")) == 0
    alone, both = (json.loads((tmp_path / out / "record.json").read_text()) for out in ("alone", "both"))
    assert both["metrics"] == pytest.approx(alone["metrics"])
    told = [line for line in both["warnings"] if "EMPTY" in line]
    assert ["nothing to score" in told[0], "nothing to follow" in told[1]] == [True, True] and alone["warnings"] == []
    assert main(["verify", str(tmp_path / "both")]) == 0


@pytest.mark.parametrize(
    ("kind", "setting", "what"),
    [
        ("mot", "recipe.score_threshold=5", "detections scores above recipe.score_threshold, 5; the highest score is"),
        (
            "mots",
            "recipe.score_threshold=5",
            "detections scores above recipe.score_threshold, 5; the highest score is 1",
        ),
        (
            "mot",
            "recipe.min_box_area=1000000",
            "detections is as large and as narrow as recipe.min_box_area, 1e+06, and",
        ),
    ],
)
def test_a_recipe_that_leaves_no_detection_is_refused_before_computing(
    kind: str, setting: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "demo"
    getattr(Film(3), f"write_{TASKS[kind]}")(data, "RGB")
    assert main(command_for(kind, data, tmp_path / "out", "--set", setting)) == 2
    told = capsys.readouterr().err
    assert "det.txt: nothing to follow: none of the" in told and what in told
    assert not list((tmp_path / "out").rglob("*.txt"))
