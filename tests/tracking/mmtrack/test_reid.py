"""The ReID benchmark from end to end, stopped and resumed, and beside MMTracking's own runner."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("mmtrack")

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.cli.main import main
from mec_transfer.common.paths import CONFIGS
from mec_transfer.suite.registry import benchmark_config
from mec_transfer.tracking.mmtrack import engine
from tests.tracking.mmtrack.persons import open_persons, write_persons, write_sequence

engine.load()

from mmcv import Config  # noqa: E402
from mmcv.parallel import MMDataParallel  # noqa: E402
from mmcv.runner import EpochBasedRunner, build_optimizer  # noqa: E402
from mmtrack.models.reid import BaseReID  # noqa: E402

from mec_transfer.tracking.mmtrack import training  # noqa: E402
from mec_transfer.tracking.mmtrack.batches import BatchPlan, Schedule, SeededItems, load_batches  # noqa: E402
from mec_transfer.tracking.mmtrack.reid_crops import crops_for  # noqa: E402
from mec_transfer.tracking.mmtrack.reid_data import training_set  # noqa: E402
from mec_transfer.tracking.mmtrack.reid_network import build_network, read_reid_config  # noqa: E402
from mec_transfer.tracking.mmtrack.reid_store import open_crops  # noqa: E402

CHANGES = {"data.train.triplet_sampler.ins_per_id": 2, "data.samples_per_epoch": 6}
SHORT = ("recipe.persons=2", "recipe.processes=2", f"recipe.changes={json.dumps(CHANGES)}")
"""Six iterations of two published processes, four crops each."""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_persons(tmp_path_factory.mktemp("data") / "walk")


@pytest.fixture(scope="module")
def run(walk: Path) -> Callable[..., int]:
    def run(out: Path, *options: str, data: Path = walk, config: str = "demo_reid") -> int:
        command = ["track", "random:resnet18:2", "--config", config, "--data", str(data), "--out", str(out)]
        short = [word for setting in SHORT for word in ("--set", setting)]
        return main([*command, "--device", "cpu", "--workers", "0", *short, *options])

    return run


@pytest.fixture(scope="module")
def whole(run: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(out) == 0
    return out


def test_a_run_measures_leaves_what_verify_needs_and_is_not_repeated(run: Callable[..., int], whole: Path) -> None:
    record = json.loads((whole / "record.json").read_text())
    assert record["status"] == "ok" and record["benchmark"]["protocol"].startswith("demo-reid+custom-")
    assert set(record["metrics"]) == {"mAP", "rank1"} and all(0 < value <= 100 for value in record["metrics"].values())
    details = record["details"]
    assert (details["train_persons"], details["test_persons"], details["guard_difference"]) == (6, 2, 0.0)
    assert record["selection"] == {"chosen": "epoch 2", "by": "protocol"}
    before = (whole / "record.json").read_bytes()
    assert main(["verify", str(whole)]) == 0
    assert run(whole) == 0
    assert (whole / "record.json").read_bytes() == before
    assert not list(whole.rglob("training_*"))


def test_plain_mmtracking_loads_what_was_trained(whole: Path) -> None:
    config = Config.fromfile(str(whole / "reid_mmtracking.py"))
    plain = BaseReID(**{key: value for key, value in config.model.items() if key != "type"})
    plain.load_state_dict(torch.load(whole / "reid.pth", weights_only=True)["state_dict"])
    assert config.model.type == "BaseReID"


def test_a_stopped_run_goes_on_bit_for_bit(
    run: Callable[..., int], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = training.Runner.step

    def interrupted(self: Any, batch: Any) -> Any:
        if self.iter == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(training.Runner, "step", interrupted)
        assert run(tmp_path / "out") == 128 + signal.SIGTERM
    (state,) = (tmp_path / "out").rglob("training_last.pth")
    assert torch.load(state, weights_only=True)["iteration"] == 4
    assert run(tmp_path / "out") == 0
    first, second = (torch.load(out / "reid.pth", weights_only=True)["state_dict"] for out in (whole, tmp_path / "out"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert (whole / "embeddings.npz").read_bytes() == (tmp_path / "out" / "embeddings.npz").read_bytes()


def test_mmtrackings_own_runner_gives_the_same_weights_bitwise(
    walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # it waits two seconds for its loggers, every epoch
    recipe = benchmark_config(CONFIGS / "tracking" / "demo_reid.yaml", [*SHORT, "recipe.processes=1"]).recipe
    backbone, data = resolve_backbone("random:resnet18:2"), open_persons(walk)
    videos, crops = crops_for(data.videos, recipe, walk)
    config = read_reid_config(recipe, backbone, crops.train_ids)
    dataset = training_set(config, open_crops(tmp_path / "crops", videos, crops, recipe.crops))
    schedule = Schedule(samples=3, batch=1, processes=1, epochs=2)
    torch.manual_seed(0)
    ours = build_network(config, backbone, torch.device("cpu"))
    theirs = BaseReID(**{key: value for key, value in config.model.items() if key != "type"})
    theirs.load_state_dict(ours.state_dict())
    options = {"identity": {}, "keep": [2], "seed": 5, "workers": 0, "device": torch.device("cpu")}
    training.train(ours, config, dataset, schedule, tmp_path, items=len(dataset), **options)

    network = MMDataParallel(theirs, device_ids=[-1])
    runner = EpochBasedRunner(
        network,
        optimizer=build_optimizer(network, config.optimizer),
        work_dir=str(tmp_path),
        logger=logging.Logger("quiet", logging.CRITICAL),
        max_epochs=2,
    )
    runner.register_training_hooks(config.lr_config, config.optimizer_config)
    batches = list(load_batches(SeededItems(dataset, 5), BatchPlan(schedule, 5, len(dataset)), 0))
    runner.run([_Epochs(batches, 3)], [("train", 1)])
    trained = ours.state_dict()
    assert runner.iter == 6
    assert all(torch.equal(tensor, trained[name]) for name, tensor in theirs.state_dict().items())


class _Epochs:
    """A loader of the next few batches, whenever it is asked."""

    def __init__(self, batches: list[Any], each: int) -> None:
        self.batches, self.each = iter(batches), each

    def __len__(self) -> int:
        return self.each

    def __iter__(self) -> Any:
        return itertools.islice(self.batches, self.each)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "recipe.persons=9"), "walk: a batch has 9 persons, and there are 6 to train on"),
        (("--set", "recipe.crops.min_per_person=99"), r"there are 0 to train on \(8 with fewer than 99 crops"),
        (("--set", "metrics.primary=MOTA"), "metrics.primary: 'MOTA' is not one of mAP, rank1"),
        (("--set", "recipe.config=nowhere.py"), "nowhere.py is neither in configs/tracking/mmtrack nor a file"),
    ],
)
def test_a_mistake_is_one_line_before_any_computing(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str], message: str
) -> None:
    assert run(tmp_path / "out", *options) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "is not demo" not in line]
    assert re.search(message, line)
    assert not (tmp_path / "out" / "cache").exists()


def test_a_sequence_of_one_frame_has_nobody_to_train_on(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sequence(tmp_path / "still", "STILL", persons=5, frames=1)
    assert run(tmp_path / "out", data=tmp_path / "still") == 2
    assert r"there are 0 to train on (4 with fewer than 8 crops are left out)" in capsys.readouterr().err
