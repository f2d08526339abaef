"""Every family's commands on a GPU that is played (`tests.rehearsal`): nothing is left on the other device."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.classification.conftest import write_images
from tests.datasets.segments.drawn import write_voc
from tests.datasets.videos import tiny_videos
from tests.detection.conftest import SHORT, write_both
from tests.segmentation.conftest import SHORT as SEGMENTED
from tests.tracking.association.drawn_crowd import Film

HALF = "recipe.mixed_precision=true"
VIEW = "recipe.view={resize: null, crop: 32}"
TRAINED = ("recipe.epochs=1", "recipe.train_crop=32", "recipe.batch=16", "recipe.eval_view={resize: null, crop: 32}")
FEW = ("recipe.shots=[4]", "recipe.queries=6", "metrics.primary=top1_4shot")
CLASSIFICATION = {
    "knn": ("demo_knn", "float32", VIEW, "recipe.ks=[10]", "recipe.k=10"),
    "knn-few-shot": ("demo_few_shot", "bfloat16", HALF, VIEW, *FEW),
    "linear": ("cifar10_linear_mec", "bfloat16", HALF, *TRAINED),
    "linear-fast": ("demo_linear_fast", "bfloat16", HALF, VIEW, "recipe.epochs=1"),
    "linear-logistic": ("demo_logistic", "float32", VIEW, "recipe.penalties=3"),
    "semisup": ("demo_semisup_10pct_barlow", "bfloat16", HALF, *TRAINED, "recipe.replicas=2"),
    "semisup-joint": ("semisup_10pct_swav", "float32", *TRAINED),
}
"""Config, precision in the record, settings."""
SHARED = ("knn", "knn-few-shot", "linear", "semisup-joint")
"""What two GPUs do as well: joint features, a joint batch, joint batch norm."""
TRACKING = {
    "sot_xcorr": ("otb", "recipe.crop_size=72"),
    "sot_dcf": ("otb", "recipe.crop_size=72"),
    "vos": ("davis", "recipe.recent=2"),
    "mot": ("motchallenge", "recipe.min_box_area=1"),
    "mots": ("mots", "recipe.stage=layer4"),
    "posetrack": ("posetrack18", "recipe.stage=layer4"),
}
"""Layout and a setting."""
PRETRAINING = """
{arch: resnet18, dim: 16, pred_dim: 8, views: {size: 32}, batch_size: 24, epochs: 1, warmup_epochs: 0, eps: 16.0}
"""
WAYS = {
    "published": (),
    "half": ("order=exact", "precision=bf16", "channels_last=true", "fused=true"),
    "chunks-fast-views": ("chunk_size=12", "views.pipeline=fast", "precision=bf16"),
}
PROGRAM = """
import importlib, json, sys
from tests.rehearsal import play
play()
sys.modules["matplotlib"] = None  # a third of the time, and on no device
main = importlib.import_module(sys.argv[1]).main
for words in json.loads(sys.argv[2]):
    if status := main(words):
        sys.exit(f"{status} of {words}")
"""


def run_all(module: str, *commands: list[str | os.PathLike[str]], gpus: int = 1) -> str:
    """Run commands one after the other in a process for each GPU that is played; return what the first has said."""
    words = [[*map(str, command), "--device", "cuda"] for command in commands]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-c", PROGRAM, module, json.dumps(words)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    world = {**where, "WORLD_SIZE": str(gpus), "LOCAL_WORLD_SIZE": str(gpus)}
    ranks = [{**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(gpus)]
    processes = [warm.Popen(command, env=environment, **streams) for environment in ranks]
    said = [str(process.communicate(timeout=240)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * gpus, said
    return said[0]


def settings(*words: str) -> list[str]:
    return [item for word in words for item in ("--set", word)]


def details(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "record.json").read_text())
    assert record["hardware"]["gpu"] == "a played GPU"
    assert record["details"]["peak_gpu_memory_bytes"] > 0
    return record["details"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "small")


def test_classification(images: Path, tmp_path: Path) -> None:
    def commands(kinds: Iterable[str], out: Path) -> list[list[str | os.PathLike[str]]]:
        data = ("random:resnet18", "--data", images, "--workers", "0")
        return [
            [kind.partition("-")[0], *data, "--config", config, "--out", out / kind, *settings(*changes)]
            for kind, (config, _, *changes) in CLASSIFICATION.items()
            if kind in kinds
        ]

    run_all("mec_transfer.cli.main", *commands(CLASSIFICATION, tmp_path))
    precisions = {kind: details(tmp_path / kind)["precision"] for kind in CLASSIFICATION}
    assert precisions == {kind: precision for kind, (_, precision, *_) in CLASSIFICATION.items()}
    run_all("mec_transfer.cli.main", *commands(SHARED, tmp_path / "two"), gpus=2)
    for kind in SHARED:
        one, two = (json.loads((out / kind / "record.json").read_text()) for out in (tmp_path, tmp_path / "two"))
        assert two["metrics"] == pytest.approx(one["metrics"], abs=100 / 6)  # two val images


def test_tracking(tmp_path: Path) -> None:
    commands: list[list[str | os.PathLike[str]]] = []
    for kind, (layout, setting) in TRACKING.items():
        split, detections = tiny_videos.SPLITS[layout]
        if layout in ("otb", "davis"):
            tiny_videos.write(tmp_path / kind / layout, layout)
        else:
            getattr(Film(3), f"write_{layout}")(tmp_path / kind / layout)
        data = ("--config", f"demo_{kind}", "--data", tmp_path / kind / layout, "--split", split)
        more = ("--detections", detections) if detections else ()
        changes = settings(setting, "recipe.precision=bf16")
        commands.append(["track", "random:resnet18", *data, *more, "--out", tmp_path / kind / "out", *changes])
    run_all("mec_transfer.cli.main", *commands)
    assert {details(tmp_path / kind / "out")["precision"] for kind in TRACKING} == {"bf16"}


def test_detection(tmp_path: Path) -> None:
    write_both(tmp_path, "train2017", range(8))
    write_both(tmp_path, "val2017", range(8, 10))
    short = json.dumps({**SHORT, "SOLVER.MAX_ITER": 2, "SOLVER.STEPS": [1]})
    data = ("--data", tmp_path / "coco", "--workers", "0", "--out", tmp_path / "out")
    command = ["detect", "random:resnet18", "--config", "demo_mask_rcnn", *data, *settings(f"recipe.changes={short}")]
    run_all("mec_transfer.cli.main", command)
    assert details(tmp_path / "out")["iterations"] == 2


def test_segmentation(tmp_path: Path) -> None:
    masks = write_voc(tmp_path / "mine", {"train": range(6), "val": range(6, 8)})
    data = ("random:resnet18", "--data", masks, "--workers", "0", "--config", "demo_segmentation")
    # A tiny rate: batch norm makes much of the last bits, which two processes have otherwise.
    changes = settings(*SEGMENTED, "recipe.lr=1e-6", "recipe.slide={crop: 24, stride: 16}")
    run_all("mec_transfer.cli.main", ["segment", *data, "--out", tmp_path / "one", *changes])
    run_all("mec_transfer.cli.main", ["segment", *data, "--out", tmp_path / "two", *changes], gpus=2)
    one, two = (json.loads((tmp_path / name / "record.json").read_text()) for name in ("one", "two"))
    assert (one["details"]["processes"], two["details"]["processes"]) == (1, 2)
    assert two["metrics"] == pytest.approx(one["metrics"], abs=2)


def test_pretraining(images: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(PRETRAINING)
    data = (tmp_path / "tiny.yaml", "--data", images / "train", "--workers", "0")
    watched = ["--labelled", images, *settings("online_knn.k=5")]
    commands = [
        [*data, "--out", tmp_path / way, *settings(*changes), *(watched if "half" in way else ())]
        for way, changes in WAYS.items()
    ]
    said = run_all("pretrain.__main__", *commands)
    assert said.count("k-NN top-1") == 1
    run_all("pretrain.__main__", [*data, "--out", tmp_path / "two"], gpus=2)
    losses = {}
    for way in (*WAYS, "two"):
        steps = [json.loads(line) for line in (tmp_path / way / "log.jsonl").read_text().splitlines()]
        losses[way] = [step["loss"] for step in steps if "loss" in step]
        assert len(losses[way]) == 2 and all(map(math.isfinite, losses[way]))
    assert losses["two"] == pytest.approx(losses["published"], rel=1e-4)
