"""Every family's command on a GPU that is played (`tests.rehearsal`): nothing of it is left on the other device."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.classification.conftest import write_images
from tests.datasets.videos import tiny_videos
from tests.detection.conftest import SHORT, write_both
from tests.tracking.association.drawn_crowd import Film

R18 = "random:resnet18"
IMAGES = ("--set", "recipe.view={resize: null, crop: 32}")
HALF = ("--set", "recipe.mixed_precision=true")
TRAINED = ("--set", "recipe.epochs=1", "--set", "recipe.train_crop=32", "--set", "recipe.batch=16")
LINEAR = (*TRAINED, "--set", "recipe.eval_view={resize: null, crop: 32}")
CLASSIFICATION = {
    "knn": ("float32", "knn", "--config", "demo_knn", *IMAGES, "--set", "recipe.ks=[10]", "--set", "recipe.k=10"),
    "linear": ("bfloat16", "linear", "--config", "cifar10_linear_mec", *LINEAR),
    "linear-fast": ("bfloat16", "linear", "--config", "demo_linear_fast", *IMAGES, "--set", "recipe.epochs=1"),
    "semisup": ("bfloat16", "semisup", "--config", "demo_semisup_10pct_barlow", *LINEAR, "--set", "recipe.replicas=2"),
    "semisup-joint": ("float32", "semisup", "--config", "semisup_10pct_swav", *LINEAR),
}
TRACKING = {
    "sot_xcorr": ("otb", "recipe.crop_size=72"),
    "sot_dcf": ("otb", "recipe.crop_size=72"),
    "vos": ("davis", "recipe.recent=2"),
    "mot": ("motchallenge", "recipe.min_box_area=1"),
    "mots": ("mots", "recipe.stage=layer4"),
    "posetrack": ("posetrack18", "recipe.stage=layer4"),
}
PRETRAINING = """
arch: resnet18
dim: 16
pred_dim: 8
views: {size: 32}
batch_size: 16
log_every: 2
epochs: 1
warmup_epochs: 0
eps: 16.0
"""
WAYS = {
    "published": (),
    "half": ("order=exact", "precision=bf16", "channels_last=true", "fused=true"),
    "chunks-fast-views": ("chunk_size=8", "views.pipeline=fast", "precision=bf16"),
}


def play(*words: str | os.PathLike[str], **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.rehearsal", *map(str, words), "--device", "cuda"]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return warm.Popen(command, env={**os.environ, **environment}, **streams)


def transfer(out: Path, *words: str | os.PathLike[str]) -> dict[str, Any]:
    """Run mec-transfer, and return its record."""
    with play("mec_transfer.cli.main", *words, "--out", out) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    record: dict[str, Any] = json.loads((out / "record.json").read_text())
    assert record["hardware"]["gpu"] == "a played GPU"
    return record


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "small")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    def written(layout: str) -> Path:
        root = tmp_path_factory.mktemp(layout)
        if layout in ("otb", "davis"):
            tiny_videos.write(root, layout)
            return root
        folder: Path = getattr(Film(3), f"write_{layout}")(root)
        return folder

    return written


@pytest.mark.parametrize("kind", CLASSIFICATION)
def test_classification(images: Path, tmp_path: Path, kind: str) -> None:
    precision, command, *settings = CLASSIFICATION[kind]
    half = HALF if precision == "bfloat16" else ()
    record = transfer(tmp_path, command, R18, "--data", images, "--workers", "0", *settings, *half)
    assert record["details"]["precision"] == precision


@pytest.mark.parametrize("kind", TRACKING)
def test_tracking(videos: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    layout, setting = TRACKING[kind]
    split, detections = tiny_videos.SPLITS[layout]
    data = ("--config", f"demo_{kind}", "--data", videos(layout), "--split", split, "--set", setting)
    more = ("--detections", detections) if detections else ()
    record = transfer(tmp_path, "track", R18, *data, *more, "--set", "recipe.precision=bf16")
    assert record["details"]["precision"] == "bf16"


def test_detection(tmp_path: Path) -> None:
    write_both(tmp_path, "train2017", range(8))
    write_both(tmp_path, "val2017", range(8, 10))
    short = json.dumps({**SHORT, "SOLVER.MAX_ITER": 2, "SOLVER.STEPS": [1]})
    data = ("--data", tmp_path / "coco", "--workers", "0", "--set", f"recipe.changes={short}")
    record = transfer(tmp_path / "out", "detect", R18, "--config", "demo_mask_rcnn", *data)
    assert record["details"]["iterations"] == 2


@pytest.mark.parametrize("way", WAYS)
def test_pretraining(images: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "tiny.yaml").write_text(PRETRAINING)
    more = [word for setting in WAYS[way] for word in ("--set", setting)]
    if way != "chunks-fast-views":
        more += ["--labelled", str(images), "--set", "online_knn.k=5"]
    data = ("--data", images / "train", "--workers", "0", "--out", tmp_path / "out")
    with play("pretrain", tmp_path / "tiny.yaml", *data, *more) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert ("k-NN top-1" in said) == ("--labelled" in more)
    steps = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert [math.isfinite(step["loss"]) for step in steps if "loss" in step] == [True] * 3
