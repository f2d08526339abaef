"""DeepSORT on given boxes: the second halves, MMTracking's own tracker beside it, and the whole way to a record."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mec_transfer.cli.main import main
from mec_transfer.common.errors import ConfigError, DataError
from mec_transfer.common.files import write_bytes
from mec_transfer.common.paths import CONFIGS
from mec_transfer.suite.registry import benchmark_config
from mec_transfer.tracking.association import mot_metrics
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.mmtrack.deepsort import tracked_part, truth_files
from tests.tracking.mmtrack.persons import DETECTIONS, HEIGHT, WIDTH, open_persons, write_persons, write_sequence

CHANGES = {"data.train.triplet_sampler.ins_per_id": 2, "data.samples_per_epoch": 2}
SHORT = ("recipe.persons=2", f"recipe.changes={json.dumps(CHANGES)}")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_persons(tmp_path_factory.mktemp("data") / "walk")


@pytest.mark.parametrize(("frames", "numbers"), [(3, [3]), (4, [4]), (7, [5, 6, 7]), (12, [8, 9, 10, 11, 12])])
def test_the_second_half_begins_after_half_and_one_more(tmp_path: Path, frames: int, numbers: list[int]) -> None:
    write_sequence(tmp_path, "A", persons=2, frames=frames)
    (video,) = open_persons(tmp_path, DETECTIONS).videos
    half = tracked_part(video, "half-val")  # type: ignore[arg-type]
    assert list(half.frames.numbers) == numbers
    assert [path.name for path in half.frames.paths] == [f"{number:06d}.jpg" for number in numbers]
    assert len(half.detections) == len(half.truth) == len(numbers)
    assert half.detections[0].boxes.tolist() == video.detections[numbers[0] - 1].boxes.tolist()  # type: ignore[attr-defined]
    text = truth_files(half)["A/gt/gt.txt"].decode()
    assert sorted({int(line.split(",")[0]) for line in text.splitlines()}) == numbers
    assert tracked_part(video, "all") is video  # type: ignore[arg-type]


@pytest.mark.parametrize("frames", [1, 2])
def test_a_sequence_without_a_second_half_is_refused(tmp_path: Path, frames: int) -> None:
    write_sequence(tmp_path, "A", persons=2, frames=frames)
    (video,) = open_persons(tmp_path, DETECTIONS).videos
    with pytest.raises(
        DataError, match=rf"img1: {frames} frames?, and the second half begins after {frames}; take lon"
    ):
        tracked_part(video, "half-val")  # type: ignore[arg-type]


# ---- from here on with the engine -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Any:
    pytest.importorskip("mmtrack")
    from mec_transfer.tracking.mmtrack import engine

    engine.load()
    return engine


@pytest.fixture
def run(engine: Any, walk: Path, tmp_path: Path) -> Callable[..., int]:
    def run(*options: str, config: str = "demo_deepsort", data: Path = walk) -> int:
        command = ["track", "random:resnet18:2", "--config", config, "--data", str(data)]
        settings = (*SHORT, "recipe.part=half-val") if config == "demo_deepsort" else SHORT
        short = [word for setting in settings for word in ("--set", setting)]
        place = ["--out", str(tmp_path / config), "--cache", str(tmp_path / "cache")]
        return main([*command, *place, "--device", "cpu", "--workers", "0", *short, *options])

    return run


def test_a_run_shares_its_training_measures_and_is_verified(run: Callable[..., int], tmp_path: Path) -> None:
    assert run() == 0
    out = tmp_path / "demo_deepsort"
    record = json.loads((out / "record.json").read_text())
    assert record["status"] == "ok" and record["primary"] == "IDF1"
    assert {"MOTA", "IDF1", "HOTA", "IDs"} <= record["metrics"].keys() and record["metrics"]["MOTA"] > 50
    assert record["details"]["frames"] == 5 + 6
    assert sorted(path.name for path in (out / "results").iterdir()) == ["WALK-01.txt", "WALK-02.txt"]
    assert {line.split(",")[0] for line in (out / "results" / "WALK-01.txt").read_text().splitlines()} == {
        str(number) for number in range(8, 13)
    }
    assert len(list((out / "pictures").glob("*.gif"))) == 2
    assert main(["verify", str(out)]) == 0
    (weights,) = (tmp_path / "cache" / "trained").rglob("epoch_2.pth")
    before = weights.stat().st_mtime_ns
    assert run(config="demo_reid") == 0  # the same network
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("epoch_2.pth")] == [before]
    assert (tmp_path / "demo_reid" / "reid.pth").read_bytes() == weights.read_bytes()


def test_what_cannot_be_tracked_is_told_before_any_training(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*options: str, **more: Any) -> str:
        assert run(*options, **more) == 2
        return [line for line in capsys.readouterr().err.splitlines() if "is not demo" not in line][-1]

    assert "no detection in the frames that are tracked, and none in other" in told("--detections", "none")
    assert "no such file; say where the detections of 'WALK-01' are" in told("--detections", "dets/{sequence}.txt")
    high = {"model.tracker.reid.img_scale": [64, 32], "model.tracker.obj_score_thr": 0.99}
    line = told("--set", f"recipe.tracker_changes={json.dumps(high)}")
    assert "nothing to follow: none of the" in line and "0.99" in line
    line = told("--set", "recipe.tracker_changes={}")
    assert "model.tracker.reid.img_scale is (256, 128)" in line and "trained on crops of [(32, 64)]" in line
    write_sequence(tmp_path / "still", "STILL", persons=5, frames=1)
    assert "1 frame, and the second half begins after 1" in told(data=tmp_path / "still")
    assert not (tmp_path / "cache" / "trained").exists()


def assert_same_tracks(ours: Any, model: Any, prepared: dict[str, Any], **public: Any) -> None:
    """Let MMTracking's own tracker take the next frame, and see that it has our boxes under our identities."""
    from mmtrack.core import results2outs

    with torch.no_grad():
        found = model(
            return_loss=False,
            rescale=True,
            img=[prepared["img"][0][None]],
            img_metas=[[prepared["img_metas"][0].data]],
            **public,
        )
    theirs = results2outs(bbox_results=found["track_bboxes"])
    mine, order = np.argsort(ours.identities), np.argsort(theirs["ids"])
    assert (theirs["ids"][order] + 1).tolist() == ours.identities[mine].tolist()
    assert (theirs["bboxes"][order, :4] == (ours.boxes[mine] + 1).astype(np.float32)).all()


def test_the_tracker_does_what_it_does_behind_a_detector(engine: Any, walk: Path) -> None:
    from mmtrack.models import build_model

    from mec_transfer.backbone.source import resolve_backbone
    from mec_transfer.tracking.mmtrack import deepsort_tracking as tracking
    from mec_transfer.tracking.mmtrack.reid_network import build_network, read_reid_config

    backbone = resolve_backbone("random:resnet18:3")
    recipe = benchmark_config(CONFIGS / "tracking" / "demo_deepsort.yaml").recipe
    config = tracking.read_tracker_config(recipe, backbone, 6)
    torch.manual_seed(0)
    network = build_network(read_reid_config(recipe, backbone, 6), backbone, CPU)
    model = build_model({"type": "DeepSORT", "motion": config.model.motion, "tracker": config.model.tracker}).eval()
    model.reid, model.detector = network.eval(), _Detector()
    pipeline = tracking.prepare_frames(config)
    for video in open_persons(walk, DETECTIONS).videos[:1]:
        ours = tracking.follow(video, config, network, CPU, lambda: None)  # type: ignore[arg-type]
        for index, (path, seen) in enumerate(zip(video.frames.paths, video.detections, strict=True)):  # type: ignore[attr-defined]
            info = {"img_prefix": None, "img_info": {"filename": str(path), "frame_id": index}, "bbox_fields": []}
            prepared = pipeline(info)
            rows = np.concatenate([seen.boxes + 1, seen.scores[:, None]], axis=1)
            model.detector.roi_head.given = torch.from_numpy(rows).float()
            assert_same_tracks(ours[index], model, prepared)
        assert len({who for frame in ours for who in frame.identities}) > 1


def test_mmtrackings_own_evaluation_gives_the_same_numbers(
    engine: Any, walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its own halves; but it counts whom it finds in 80 % of the frames as mostly tracked, TrackEval above that."""
    from mmdet.datasets import build_dataset

    root = shutil.copytree(walk, tmp_path / "MOT17")
    (root / "test").mkdir()
    script = Path(engine.load().__file__).parent / ".mim/tools/convert_datasets/mot/mot2coco.py"
    monkeypatch.setattr(sys, "argv", ["mot2coco.py", "-i", str(root), "-o", str(root / "new"), "--split-train"])
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=list))
    runpy.run_path(str(script), run_name="__main__")
    videos = [tracked_part(video, "half-val") for video in open_persons(root, DETECTIONS).videos]  # type: ignore[arg-type]
    random, found = np.random.default_rng(2), {}
    for video in videos:
        frames = []
        for seen in video.detections:
            kept = np.flatnonzero(random.random(len(seen)) < 0.9)
            who = 1 + np.where(random.random(len(kept)) < 0.15, kept + 10, kept)  # lost and found under another name
            frames.append(TrackedFrame(identities=who, boxes=seen.boxes[kept], scores=seen.scores[kept]))
        for folder, files in (("truth", truth_files(video)), ("results", mot_metrics.result_files(video, frames))):
            for name, data in files.items():
                write_bytes(tmp_path / folder / name, data)
        for path, frame in zip(video.frames.paths, frames, strict=True):
            rows = [frame.identities[:, None], frame.boxes + 1, frame.scores[:, None]]
            found[str(path.relative_to(root / "train"))] = [np.concatenate(rows, axis=1).astype(np.float32)]
    ours = mot_metrics.measure(tmp_path, [video.name for video in videos]).overall
    halves = {"ann_file": str(root / "new/half-val_cocoformat.json"), "img_prefix": str(root / "train")}
    common = {"type": "MOTChallengeDataset", "ref_img_sampler": None, "pipeline": [], "test_mode": True}
    dataset = build_dataset({**common, **halves})
    names = [info["filename"] for info in dataset.data_infos]
    assert sorted(names) == sorted(found)
    theirs = dataset.evaluate({"track_bboxes": [found[name] for name in names]}, resfile_path=str(tmp_path / "their"))
    assert ours["IDs"] > 0 and ours["FN"] > 0
    for mine, name in (("MOTA", "MOTA"), ("IDF1", "IDF1"), ("HOTA", "HOTA")):
        assert theirs[name] == round(ours[mine] / 100, 3)
    for mine, name in (("IDs", "IDs"), ("FP", "FP"), ("FN", "FN"), ("Frag", "FM")):
        assert theirs[name] == ours[mine]


class _Detector(nn.Module):
    """Gives the boxes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.rpn_head = SimpleNamespace(simple_test_rpn=lambda features, metas: None)
        self.roi_head: Any = SimpleNamespace(test_cfg=None, bbox_head=SimpleNamespace(num_classes=1))
        self.roi_head.simple_test_bboxes = lambda *args, **options: (
            [self.roi_head.given],
            [torch.zeros(len(self.roi_head.given), dtype=torch.long)],
        )

    def extract_feat(self, image: torch.Tensor) -> torch.Tensor:
        return image


def test_a_frame_that_cannot_be_read_is_named(engine: Any, tmp_path: Path) -> None:
    from mec_transfer.backbone.source import resolve_backbone
    from mec_transfer.tracking.mmtrack.deepsort_tracking import follow, read_tracker_config
    from mec_transfer.tracking.mmtrack.reid_network import build_network, read_reid_config

    backbone = resolve_backbone("random:resnet18:3")
    recipe = benchmark_config(CONFIGS / "tracking" / "demo_deepsort.yaml").recipe
    folder = write_sequence(tmp_path, "A", persons=2, frames=3)
    (video,) = open_persons(tmp_path, DETECTIONS).videos
    network = build_network(read_reid_config(recipe, backbone, 6), backbone, CPU)
    config = read_tracker_config(recipe, backbone, 6)
    first, second = (folder / "img1" / f"{number:06d}.jpg" for number in (1, 2))
    second.write_bytes(b"no picture")
    with pytest.raises(DataError, match="000002.jpg: not a readable image"):
        follow(video, config, network, CPU, lambda: None)  # type: ignore[arg-type]
    first.unlink()
    with pytest.raises(DataError, match="000001.jpg: cannot be read"):
        follow(video, config, network, CPU, lambda: None)  # type: ignore[arg-type]


def test_a_box_beside_the_picture_is_left_out(engine: Any, walk: Path) -> None:
    from mec_transfer.tracking.mmtrack.deepsort_tracking import given_boxes

    boxes = np.array([[5.0, 5, 15, 25], [WIDTH - 1.0, 5, WIDTH + 9, 25], [5, HEIGHT - 1.0, 15, HEIGHT + 9]])
    video = SimpleNamespace(detections=[SimpleNamespace(boxes=boxes, scores=np.ones(3))])
    meta = {"img_shape": (2 * HEIGHT, 2 * WIDTH, 3), "scale_factor": np.full(4, 2, np.float32)}
    assert given_boxes(video, 0, meta).tolist() == [[6, 6, 16, 26, 1]]  # type: ignore[arg-type]


def test_another_file_than_deepsorts_is_refused(engine: Any, tmp_path: Path) -> None:
    from mec_transfer.backbone.source import resolve_backbone
    from mec_transfer.tracking.mmtrack.deepsort_tracking import read_tracker_config

    backbone = resolve_backbone("random:resnet18:3")
    recipe = benchmark_config(CONFIGS / "tracking" / "demo_deepsort.yaml").recipe
    for changes, message in (
        ({"tracker": "reid_r50_demo.py"}, "not a config of DeepSORT"),
        ({"tracker_changes": {"model.tracker.type": "ByteTracker"}}, "is to be a SortTracker with reid"),
        ({"tracker": str(tmp_path / "own.py")}, r"Normalize has to_rgb=False, but the checkpoint .* trained with True"),
    ):
        (tmp_path / "own.py").write_text(
            f"_base_ = [{str(CONFIGS / 'tracking' / 'mmtrack' / 'deepsort_mot17.py')!r}]\n"
            "data = dict(test=dict(pipeline=[dict(type='Normalize', to_rgb=False,"
            " mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])]))\n"
        )
        with pytest.raises(ConfigError, match=message):
            read_tracker_config(recipe.model_copy(update=changes), backbone, 6)


# ---- with a detector ------------------------------------------------------------------------------------------------

SMALL = """_base_ = [{base!r}]
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
model = dict(
    detector=dict(
        backbone=dict(depth=18),
        neck=dict(in_channels=[64, 128, 256, 512], out_channels=8),
        rpn_head=dict(in_channels=8, feat_channels=8),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=8), bbox_head=dict(in_channels=8, fc_out_channels=8)
        ),
        test_cfg=dict(rpn=dict(max_per_img=20), rcnn=dict(score_thr=0.1)),
    ),
    tracker=dict(obj_score_thr=0.1, reid=dict(img_scale=(64, 32))),
)
data = dict(test=dict(pipeline=[
    dict(type="LoadImageFromFile"),
    dict(type="LoadDetections"),
    dict(type="MultiScaleFlipAug", img_scale=(192, 192), flip=False, transforms=[
        dict(type="Resize", keep_ratio=True),
        dict(type="RandomFlip"),
        dict(type="Normalize", **img_norm_cfg),
        dict(type="Pad", size_divisor=32),
        dict(type="ImageToTensor", keys=["img"]),
        dict(type="VideoCollect", keys=["img", "public_bboxes"]),
    ]),
]))
"""


@pytest.fixture(scope="module")
def small(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tracker's stock file with a small detector, and weights for it."""
    from mmcv import Config
    from mmdet.models import build_detector

    folder = tmp_path_factory.mktemp("small")
    stock = folder / "small.py"
    stock.write_text(SMALL.format(base=str(CONFIGS / "tracking" / "mmtrack" / "deepsort_mot17.py")))
    settings = Config.fromfile(str(stock)).model.detector
    settings.pop("init_cfg")
    torch.manual_seed(1)
    network = build_detector(settings)
    torch.save({"meta": {}, "state_dict": network.state_dict()}, folder / "detector.pth")
    return stock, folder / "detector.pth"


def small_recipe(small: tuple[Path, Path], boxes: str) -> Any:
    stock, weights = small
    recipe = benchmark_config(CONFIGS / "tracking" / "demo_deepsort.yaml").recipe
    return recipe.model_copy(
        update={"tracker": str(stock), "tracker_changes": {}, "boxes": boxes, "detector": str(weights)}
    )


@pytest.mark.parametrize("boxes", ["public", "private"])
def test_with_a_detector_it_is_mmtrackings_deepsort(small: tuple[Path, Path], walk: Path, boxes: str) -> None:
    from mmtrack.models import build_model

    from mec_transfer.backbone.source import resolve_backbone
    from mec_transfer.tracking.mmtrack import deepsort_tracking as tracking
    from mec_transfer.tracking.mmtrack.reid_network import build_network, read_reid_config

    backbone, recipe = resolve_backbone("random:resnet18:3"), small_recipe(small, boxes)
    config = tracking.read_tracker_config(recipe, backbone, 6)
    torch.manual_seed(0)
    network = build_network(read_reid_config(recipe, backbone, 6), backbone, CPU)
    detect = tracking.Detect(detector=tracking.Detector(config, small[1], CPU), public=boxes == "public")
    (video, _) = open_persons(walk, DETECTIONS).videos
    ours = tracking.follow(video, config, network, CPU, lambda: None, detect)  # type: ignore[arg-type]
    parts = {key: config.model[key] for key in ("motion", "tracker")}
    model = build_model({"type": "DeepSORT", "detector": config.model.detector, **parts})
    model.detector.load_state_dict(torch.load(small[1], weights_only=True)["state_dict"])
    model.reid = network
    model.eval()
    pipeline = tracking.prepare_frames(config, public=True)
    for index, path in enumerate(video.frames.paths):
        info = {"img_prefix": None, "img_info": {"filename": str(path), "frame_id": index}, "bbox_fields": []}
        prepared = pipeline({**info, "detections": [tracking.file_boxes(video, index)]})  # type: ignore[arg-type]
        public = {"public_bboxes": [[torch.from_numpy(prepared["public_bboxes"][0])]]} if boxes == "public" else {}
        assert_same_tracks(ours[index], model, prepared, **public)
    assert sum(len(frame) for frame in ours) > 12


def test_another_detectors_file_is_refused_in_one_line(small: tuple[Path, Path], tmp_path: Path) -> None:
    from mec_transfer.backbone.source import resolve_backbone
    from mec_transfer.common.errors import CheckpointError
    from mec_transfer.tracking.mmtrack.deepsort_tracking import Detector, read_tracker_config

    config = read_tracker_config(small_recipe(small, "private"), resolve_backbone("random:resnet18:3"), 6)
    state = torch.load(small[1], weights_only=True)["state_dict"]
    torch.save({f"detector.{name}": tensor for name, tensor in state.items()} | {"reid.x": CPU}, tmp_path / "whole.pth")
    head = "roi_head.bbox_head.fc_cls.weight"
    torch.save(state | {head: torch.zeros(81, 8)}, tmp_path / "coco.pth")
    torch.save(state | {"mask_head.weight": torch.zeros(1)}, tmp_path / "mask.pth")
    torch.save({name: tensor for name, tensor in state.items() if name != head}, tmp_path / "less.pth")
    (tmp_path / "text.pth").write_text("nothing")
    Detector(config, tmp_path / "whole.pth", CPU)
    for name, message in {
        "coco.pth": r"coco.pth: not the detector of .*fc_cls.weight is \(81, 8\), and \(2, 8\) is needed",
        "less.pth": r"fc_cls.weight is not there, and \(2, 8\) is needed",
        "mask.pth": "it has mask_head.weight, too",
        "text.pth": "text.pth: ",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            Detector(config, tmp_path / name, CPU)


def test_public_and_private_boxes_are_protocols_that_name_their_detector(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mec_transfer.common.errors import ConfigError
    from mec_transfer.tracking.mmtrack import reid_config
    from mec_transfer.tracking.mmtrack.deepsort import _check_detector

    files = {part: CONFIGS / "tracking" / f"deepsort_mot17{part}.yaml" for part in ("", "_public", "_private")}
    ids = [benchmark_config(path).protocol for path in files.values()]
    assert ids == [f"mot17-halfval-deepsort-{boxes}" for boxes in ("given", "public", "private")]
    mine = [f"recipe.detector={small[1]}"]
    with pytest.raises(ConfigError, match="a detector is named, and boxes are 'given'; write boxes: public"):
        benchmark_config(files[""], mine)
    assert benchmark_config(files["_public"], mine).protocol.startswith("mot17-halfval-deepsort-public+custom-")
    monkeypatch.setattr(reid_config, "PUBLISHED_DETECTOR", reid_config.sha256_file(small[1])[:8])
    assert benchmark_config(files["_public"], mine).protocol == "mot17-halfval-deepsort-public"
    with pytest.raises(ConfigError, match="public ones are a detector's; --set recipe.detector=FILE names it"):
        _check_detector(benchmark_config(files["_public"]).recipe)
    with pytest.raises(ConfigError, match="recipe.detector: nowhere.pth: no such file"):
        _check_detector(benchmark_config(files["_private"], ["recipe.detector=nowhere.pth"]).recipe)
