"""SiamRPN++ through MMTracking: what is refused before step 0, training and following as MMTracking's own, resuming."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.backbone.layouts import find_layout
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.cli.main import main
from mec_transfer.common.errors import CheckpointError, ConfigError, DataError, RunError
from mec_transfer.common.interrupt import Interrupted
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.registry import find_layout as find_data_layout
from mec_transfer.datasets.registry import open_data
from mec_transfer.datasets.tracker_config import TrainingSetConfig
from mec_transfer.datasets.trackers import TrackerData
from mec_transfer.datasets.tracks import TracksData
from mec_transfer.datasets.videos.box_video import BoxVideo
from mec_transfer.suite.registry import benchmark_config, load_benchmark
from mec_transfer.tracking.mmtrack import engine
from mec_transfer.tracking.mmtrack.config import SOT_LAYOUT, SiamRpnConfig, stock_path
from mec_transfer.tracking.mmtrack.siamrpn import SiamRpn, evaluated_epochs, hand_in
from tests.tracking.sot.test_search import draw, moving, true_boxes

pytest.importorskip("mmtrack", reason="MMTracking is not installed: mec-transfer engines install mmtracking")
engine.load()

from mmcv import Config  # noqa: E402
from mmcv.parallel import MMDataParallel, collate  # noqa: E402
from mmcv.runner import EpochBasedRunner, build_optimizer, load_checkpoint  # noqa: E402
from mmtrack.apis import single_gpu_test  # noqa: E402
from mmtrack.datasets import build_dataloader  # noqa: E402
from mmtrack.datasets.lasot_dataset import LaSOTDataset  # noqa: E402

from mec_transfer.tracking.mmtrack import guard, network  # noqa: E402
from mec_transfer.tracking.mmtrack.batches import BatchPlan, Schedule, SeededItems, seed_streams, unpack  # noqa: E402
from mec_transfer.tracking.mmtrack.following import follow  # noqa: E402
from mec_transfer.tracking.mmtrack.sot_data import Mixture, TrackSet, VideoSet  # noqa: E402
from mec_transfer.tracking.mmtrack.training import Runner, load_weights, train  # noqa: E402

CPU = torch.device("cpu")
STOCK = sorted((CONFIGS / "tracking" / "mmtrack").glob("siamrpn_*.py"))
YAMLS = sorted((CONFIGS / "tracking").glob("siamrpn_*.yaml"))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return resolve_backbone("random:resnet50:0")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of four frames in OTB's layout."""
    root = tmp_path_factory.mktemp("otb")
    for name in ("Drawn", "Again"):
        draw(root / name / "img", 4, moving)
        np.savetxt(root / name / "groundtruth_rect.txt", true_boxes(4, moving), delimiter=",", fmt="%d")
    return root


@pytest.fixture
def config(backbone: Backbone) -> Config:
    """A training of two iterations of a pair each; the backbone is trained in the second."""
    found = network.read_config(
        stock_path("siamrpn_r50_demo.py"),
        {"data.samples_per_gpu": 1, "data.samples_per_epoch": 1, "optimizer_config.backbone_start_train_epoch": 1},
    )
    network.fit_backbone(found, backbone, SOT_LAYOUT)
    return found


@pytest.fixture(scope="module")
def tracks(world: Path) -> TracksData:
    part = TrainingSetConfig(name="drawn", layout="otb_tracks", split="all")
    data = open_data(part, world)
    assert isinstance(data, TracksData)
    return data


SCHEDULE = Schedule(samples=1, batch=1, processes=1, epochs=2)


def build(config: Config, backbone: Backbone) -> Any:
    torch.manual_seed(0)
    return network.build_tracker(config, backbone, CPU)


def proven(config: Config, backbone: Backbone) -> Any:
    """As a run has it before step 0."""
    tracker = build(config, backbone)
    guard.check_tracker(tracker, backbone)
    return tracker


def mixture(config: Config, tracks: TracksData) -> Mixture:
    return Mixture([TrackSet(tracks.tracks, config.data.train.dataset_cfgs[0].pipeline)], [1.0])


def test_stock_files_are_the_installed_ones_with_another_backbone() -> None:
    """Plain MMTracking reads them; what differs from the published file is named here."""
    for path in STOCK:
        if path.stem.endswith("demo"):
            continue
        ours = Config.fromfile(str(path))
        theirs = Config.fromfile(path_of_base(path))
        assert ours.model.backbone.init_cfg.pop("checkpoint") == "converted-openmmlab-sot.pth"
        assert theirs.model.backbone.init_cfg.pop("checkpoint").startswith("https://")
        if path.stem.endswith("frozen"):
            assert ours.optimizer_config.pop("backbone_start_train_epoch") == ours.total_epochs
            assert theirs.optimizer_config.pop("backbone_start_train_epoch") == 10
        assert ours._cfg_dict == theirs._cfg_dict


def path_of_base(path: Path) -> str:
    scope: dict[str, Any] = {}
    exec(path.read_text(), scope)  # a file of this project's
    (base,) = scope["_base_"]
    return str(base)


def test_published_settings_stand_in_stock_file_and_yaml_alike() -> None:
    protocols, tests = set(), {}
    for path in YAMLS:
        benchmark = benchmark_config(path)
        assert isinstance(benchmark, SiamRpnConfig)
        stock = Config.fromfile(str(stock_path(benchmark.recipe.config)))
        protocols.add(benchmark.protocol)
        weights = [part.weight for part in benchmark.dataset.training]
        assert weights == stock.data.train.dataset_sampling_weights and benchmark.processes == 8
        layouts = [part.layout for part in benchmark.dataset.training]
        assert layouts == ["imagenet_vid", "coco_tracks", "imagenet_det"]
        assert benchmark.recipe.visible_only == stock.data.test.get("only_eval_visible", False) or "vot" in path.stem
        assert (benchmark.recipe.evaluation == "reset") == (stock.model.test_cfg.get("test_mode") == "VOT")
        assert evaluated_epochs(stock) == list(range(10, 21))
        tests[path.stem] = [stock.model.test_cfg.rpn[key] for key in ("penalty_k", "window_influence", "lr")]
    assert len(protocols) == len(YAMLS) == 7
    assert tests["siamrpn_otb100"] == [0.4, 0.5, 0.4] and tests["siamrpn_vot2018"] == [0.04, 0.44, 0.33]
    assert tests["siamrpn_lasot"] == tests["siamrpn_trackingnet"] == [0.05, 0.42, 0.38]
    assert tests["siamrpn_uav123"] == [0.1, 0.1, 0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.backbone.style": "caffe"}, "model.backbone.style is 'caffe'.* with 'pytorch'"),
        ({"model.backbone.dilations": [1, 1, 1, 1]}, r"dilations is \[1, 1, 1, 1\]"),
        ({"model.neck.init_cfg": "x"}, None),
        ({"load_from": "other.pth"}, "load_from is 'other.pth'"),
    ],
)
def test_a_config_that_does_not_fit_the_checkpoint_is_refused(
    backbone: Backbone, change: dict[str, Any], message: str | None
) -> None:
    if message is None:
        change = {"model.neck.init_cfg.type": "Pretrained", "model.neck.init_cfg.checkpoint": "https://elsewhere/x.pth"}
        message = "model.neck.init_cfg.checkpoint loads weights from https://elsewhere/x.pth"
    with pytest.raises(ConfigError, match=message):
        found = network.read_config(stock_path("siamrpn_r50_otb100.py"), change)
        network.fit_backbone(found, backbone, SOT_LAYOUT)


def test_a_pipeline_that_normalises_is_refused(config: Config) -> None:
    network.check_pixels(config)
    config.data.train.dataset_cfgs[0].pipeline.insert(5, {"type": "SeqNormalize", "mean": [0], "std": [1]})
    with pytest.raises(ConfigError, match=r"data.train.dataset_cfgs\[0\].pipeline has a step SeqNormalize"):
        network.check_pixels(config)


def test_only_a_resnet50_has_a_place_there(config: Config) -> None:
    with pytest.raises(CheckpointError, match="openmmlab-sot has no network with arch 'resnet18'"):
        network.fit_backbone(config, resolve_backbone("random:resnet18:0"), SOT_LAYOUT)


def test_the_guard_finds_what_was_not_loaded(config: Config, backbone: Backbone, tmp_path: Path) -> None:
    tracker = build(config, backbone)
    assert guard.check_tracker(tracker, backbone) < 1e-5
    # What the optimizer gives a tenth of the rate, and several processes a common gradient.
    assert all(parameter.requires_grad for parameter in tracker.parameters())
    loaded = {name: tensor.clone() for name, tensor in tracker.backbone.state_dict().items()}

    # Names that still begin with `backbone.`: MMCV loads nothing of them, and only logs it.
    other = build(config, resolve_backbone("random:resnet50:1"))
    torch.save({"state_dict": {f"backbone.{name}": value for name, value in loaded.items()}}, tmp_path / "prefixed.pth")
    load_checkpoint(other.backbone, str(tmp_path / "prefixed.pth"), strict=False)
    with pytest.raises(RunError, match=r"conv1.weight differs and \d+ more tensors"):
        guard.check_tracker(other, backbone)

    # SOTResNet's 3x3 shortcuts, which a plain ResNet-50 leaves as they were drawn.
    with torch.no_grad():
        tracker.backbone.layer3[0].downsample[0].weight[:, :, 0, 0] += 0.1
    with pytest.raises(RunError, match="layer3.0.downsample.0.weight differs; nothing was trained"):
        guard.check_tracker(tracker, backbone)
    tracker.backbone.load_state_dict(loaded)

    # The right tensors in a network that computes something else.
    tracker.backbone.layer3[1].conv2.dilation = tracker.backbone.layer3[1].conv2.padding = (1, 1)
    with pytest.raises(RunError, match="the tracker's layer3 is not the checkpoint's .*style, strides or dilations"):
        guard.check_tracker(tracker, backbone)


def test_raw_pixels_without_the_folded_normalisation_are_found(config: Config, backbone: Backbone) -> None:
    tracker = build(config, backbone)
    plain = find_layout("openmmlab").to_engine(backbone)
    with torch.no_grad():
        for name in ("conv1.weight", "bn1.running_mean"):
            tracker.backbone.state_dict()[name].copy_(plain[name])
    with pytest.raises(RunError, match="conv1.weight differs"):
        guard.check_tracker(tracker, backbone)


def test_a_frozen_protocol_does_not_train_the_backbone(config: Config, backbone: Backbone) -> None:
    benchmark = load_benchmark(CONFIGS / "tracking" / "siamrpn_otb100.yaml", ["recipe.frozen=true"])
    assert isinstance(benchmark, SiamRpn)
    job: Any = type("Job", (), {"backbone": backbone})
    with pytest.raises(ConfigError, match="trains the backbone from epoch 10 of 20 on"):
        benchmark._stock(job)
    tracker = build(config, backbone)
    guard.check_frozen(tracker, backbone)
    with torch.no_grad():
        tracker.backbone.layer4[2].conv3.weight[0] += 1e-3
    with pytest.raises(RunError, match="leaves the backbone alone, does not hold the checkpoint"):
        guard.check_frozen(tracker, backbone)


def test_pairs_are_drawn_as_mmtracking_draws_them(config: Config, world: Path, tmp_path: Path) -> None:
    """The same tracks in LaSOT's layout, read by MMTracking's own class and by ours: the same tensors."""
    listed = ["The format of each line in this txt is (video_path,annotation_path,start_frame_id,end_frame_id)"]
    for number in (1, 2):
        folder = tmp_path / "cat" / f"cat-{number}"
        draw(folder / "img", 4, moving)
        for frame in sorted((folder / "img").iterdir()):
            frame.rename(frame.with_name(f"{frame.stem:0>8}.jpg"))
        np.savetxt(folder / "groundtruth.txt", true_boxes(4, moving), delimiter=",", fmt="%d")
        (folder / "full_occlusion.txt").write_text("0,0,1,0")
        (folder / "out_of_view.txt").write_text("0,0,0,0")
        listed.append(f"cat/cat-{number}/img,cat/cat-{number}/groundtruth.txt,1,4")
    (tmp_path / "train.txt").write_text("\n".join(listed))
    pipeline = config.data.train.dataset_cfgs[0].pipeline
    theirs = LaSOTDataset(
        ann_file=str(tmp_path / "train.txt"), img_prefix=str(tmp_path), pipeline=pipeline, split="train"
    )
    data = open_data(TrainingSetConfig(name="cats", layout="lasot_tracks", split="all"), tmp_path)
    assert isinstance(data, TracksData)
    ours = TrackSet(data.tracks, pipeline)
    for seed in range(3):
        pairs = []
        for dataset in (theirs, ours):
            random.seed(seed)
            np.random.seed(seed)
            pairs.append(unpack(collate([dataset[0]], samples_per_gpu=1), CPU))
        for key in ("img", "search_img"):
            assert torch.equal(pairs[0][key], pairs[1][key])
        for key in ("gt_bboxes", "search_gt_bboxes", "is_positive_pairs"):
            assert torch.equal(pairs[0][key][0], pairs[1][key][0])


def test_training_is_mmcvs_own_bit_for_bit_and_resumes_so(
    config: Config, backbone: Backbone, tracks: TracksData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = SeededItems(mixture(config, tracks), 0)
    batches = [collate([items[key] for key in keys], samples_per_gpu=1) for keys in BatchPlan(SCHEDULE, 0)]

    # MMTracking's way: its wrapper and mmcv's runner with the same hooks, on the same batches.
    theirs = build(config, backbone)
    settings = Config(config._cfg_dict.to_dict())
    model = MMDataParallel(theirs, device_ids=[0])
    runner = EpochBasedRunner(model, optimizer=build_optimizer(model, settings.optimizer), logger=quiet(), max_epochs=2)
    runner.register_training_hooks(settings.lr_config, settings.optimizer_config)
    losses: list[float] = []
    step = runner.run_iter

    def seeded(batch: Any, train_mode: bool, **kwargs: Any) -> None:
        seed_streams(0, "step", runner.iter, 0)
        step(batch, train_mode, **kwargs)
        losses.append(runner.outputs["log_vars"]["loss"])

    monkeypatch.setattr(runner, "run_iter", seeded)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    runner.run([Twice(batches)], [("train", 1)])

    ours = proven(config, backbone)
    options: dict[str, Any] = {"identity": "me", "keep": [1, 2], "seed": 0, "workers": 0, "device": CPU}
    stopped: list[int] = []
    save = Runner.step

    def stop_once(self: Runner, batch: Any) -> dict[str, float]:
        values = save(self, batch)
        assert values["loss"] == losses[self.iter - 1]
        if not stopped:
            stopped.append(self.iter)
            os.kill(os.getpid(), signal.SIGTERM)
        return values

    monkeypatch.setattr(Runner, "step", stop_once)
    with pytest.raises(Interrupted):
        train(ours, config, mixture(config, tracks), SCHEDULE, tmp_path, **options)
    torch.manual_seed(7)
    resumed = network.build_tracker(config, resolve_backbone("random:resnet50:1"), CPU)
    train(resumed, config, mixture(config, tracks), SCHEDULE, tmp_path, **options)
    load_weights(ours, tmp_path, 2)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
        assert torch.equal(tensor, ours.state_dict()[name]), name
    started = find_layout(SOT_LAYOUT).to_engine(backbone)
    trained = resumed.backbone.state_dict()
    changed = {name.partition(".")[0] for name, tensor in started.items() if not torch.equal(tensor, trained[name])}
    assert changed == {"layer2", "layer3", "layer4"}  # from epoch 1 on here; stem and layer1 never


class Twice(list[Any]):
    """A loader of one batch an epoch, another one in each."""

    def __iter__(self) -> Any:
        return iter([self.pop(0)])

    def __len__(self) -> int:
        return 1


def quiet() -> Any:
    import logging

    return logging.Logger("quiet", logging.CRITICAL)


def test_following_is_mmtrackings_own_test_loop(config: Config, backbone: Backbone, world: Path) -> None:
    videos, _ = find_data_layout("otb").read_videos(world, "all", ("Drawn",), "")  # type: ignore[attr-defined]
    (video,) = videos
    assert isinstance(video, BoxVideo)
    tracker = build(config, backbone).eval()
    corners = video.boxes.copy()
    corners[:, 2:] += corners[:, :2]
    pipeline = config.data.test.pipeline
    found = follow(tracker, video, corners, pipeline, lambda: None)

    class Own(VideoSet):
        def prepare_test_data(self, video_ind: int, frame_ind: int) -> Any:
            return self.frame(frame_ind)

    loader = build_dataloader(Own(video, pipeline, corners), 1, 0, dist=False, shuffle=False)
    theirs = single_gpu_test(MMDataParallel(tracker, device_ids=[0]), loader)["track_bboxes"]
    for mine, other in zip(found, theirs, strict=True):
        assert mine[:2].tolist() == other[:2].tolist() and mine[2:].tolist() == (other[2:4] - other[:2]).tolist()


def batches_of(schedule: Schedule, processes: int, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """What each iteration is, of all processes together."""
    seen = []
    for rank in range(processes):
        monkeypatch.setattr("mec_transfer.common.distributed.rank", lambda rank=rank: rank)
        monkeypatch.setattr("mec_transfer.common.distributed.world_size", lambda: processes)
        seen.append(list(BatchPlan(schedule, seed=0, items=30)))
        assert {len(keys) * processes for keys in seen[-1]} == {12, 8}
    return [sorted(key for mine in seen for key in mine[iteration]) for iteration in range(6)]


def test_a_batch_is_the_published_processes_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every published process sees ceil(samples / processes) of them, the last batch smaller, however many we are."""
    schedule = Schedule(samples=30, batch=3, processes=4, epochs=2)
    assert (schedule.share, schedule.iterations) == (8, 3)
    alone = batches_of(schedule, 1, monkeypatch)
    assert [*BatchPlan(schedule, 0, 30)][2:] == resumed(schedule, 2)
    for processes in (2, 4):
        assert batches_of(schedule, processes, monkeypatch) == alone
    for epoch in range(2):
        indices = [index for keys in alone[3 * epoch : 3 * epoch + 3] for _, _, index in keys]
        assert set(indices) == set(range(30)) and len(indices) == 32


def resumed(schedule: Schedule, first: int) -> list[Any]:
    plan = BatchPlan(schedule, 0, 30)
    plan.first = first
    return list(plan)


def test_processes_that_do_not_divide_the_published_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mec_transfer.common.distributed.world_size", lambda: 3)
    with pytest.raises(ConfigError, match="had 8 processes, which 3 cannot share evenly"):
        Schedule(samples=10, batch=1, processes=8, epochs=1).here()


def test_training_sets_lie_where_the_videos_do_and_are_part_of_the_data(world: Path, tmp_path: Path) -> None:
    benchmark = benchmark_config(CONFIGS / "tracking" / "demo_siamrpn.yaml", ['dataset.sequences=["Drawn"]'])
    assert isinstance(benchmark, SiamRpnConfig)
    dataset = benchmark.dataset
    (part,) = dataset.training
    assert dataset.training_folder(part, Path("/data/otb")) == Path("/data/coco")
    nested = dataset.model_copy(update={"folder": "a/b"})
    assert nested.training_folder(part, Path("/data/a/b")) == Path("/data/coco")
    rooted = dataset.model_copy(update={"training_root": "/elsewhere"})
    assert rooted.training_folder(part, Path("/data/otb")) == Path("/elsewhere/coco")
    assert "folder" not in json.dumps(dataset.hashed()) and rooted.hashed() == dataset.hashed()
    here = dataset.model_copy(
        update={"training": (part.model_copy(update={"layout": "otb_tracks", "split": "all", "folder": world.name}),)}
    )
    data = open_data(here, world)
    assert isinstance(data, TrackerData)
    assert data.splits == {"all": 4, part.name: 8} and data.fingerprint != data.train_fingerprint
    twice = here.model_copy(update={"training": (here.training[0].model_copy(update={"weight": 2.0}),)})
    assert open_data(twice, world).train_fingerprint != data.train_fingerprint


def test_a_broken_picture_is_named(config: Config, world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "Drawn", tmp_path / "Drawn")
    data: Any = open_data(TrainingSetConfig(name="drawn", layout="otb_tracks", split="all"), tmp_path)
    for path in (tmp_path / "Drawn" / "img").iterdir():
        path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"Drawn/img/000\d.png: "):
        SeededItems(mixture(config, data), 0)[0, 0, 0]


def test_results_are_packed_for_a_server(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "one.txt").write_text("1.0,2.0,3.0,4.00004\n5.5,6.0,7.0,8.0\n")
    with pytest.raises(RunError, match=r"not public: hand .*submission.zip in at the data set's own server"):
        hand_in(tmp_path / "results", tmp_path / "submission.zip")
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert archive.read("one.txt") == b"1.0000,2.0000,3.0000,4.0000\n5.5000,6.0000,7.0000,8.0000\n"


def test_the_best_epoch_is_the_first_of_equals() -> None:
    for name, metric in (("siamrpn_otb100", "success"), ("siamrpn_vot2018", "eao")):
        benchmark = load_benchmark(CONFIGS / "tracking" / f"{name}.yaml")
        assert isinstance(benchmark, SiamRpn)
        assert benchmark._best({10: {metric: 1.0}, 11: {metric: 3.0}, 12: {metric: 3.0}}) == 11


def test_mistakes_are_told_before_any_computing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["track", "random:resnet50", "--config", "demo_siamrpn", "--out", str(tmp_path / "out")]
    assert main([*command, "--data", str(world)]) == 2
    assert "training set 'demo-pictures': " in capsys.readouterr().err  # it lies in otb/, beside which there is none
    own = [
        *command,
        "--data",
        str(world),
        "--set",
        f"dataset.training=[{{name: own, layout: otb_tracks, folder: {world}, split: all}}]",
    ]
    assert main([*own, "--set", "metrics.primary=AUC"]) == 2
    assert "metrics.primary: 'AUC' is not one of success, norm_precision, precision" in capsys.readouterr().err
    assert main([*own, "--set", "recipe.evaluation=reset", "--set", "metrics.primary=eao"]) == 2
    assert "has no polygons; reset-based evaluation reads data of layout vot" in capsys.readouterr().err
    assert main(["track", "random:resnet18", *own[2:]]) == 2
    assert "layout openmmlab-sot has no network with arch 'resnet18'" in capsys.readouterr().err
