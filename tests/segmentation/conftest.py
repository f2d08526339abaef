"""A small VOC folder with masks, a network with few layers, and a recipe of seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mec_transfer.backbone.backbone import Backbone, Provenance, build_resnet
from mec_transfer.cli.main import main
from mec_transfer.results.record import Record, read_record
from mec_transfer.segmentation.config import SegmentationRecipe
from tests.datasets.segments.drawn import write_voc

SHORT = (
    "recipe.iterations=4",
    "recipe.schedule.steps=[3]",
    "recipe.batch=4",
    "recipe.scale=[48,40]",
    "recipe.augmentation.crop=32",
    "recipe.head={channels: 8, convs: 1}",
)
"""Overrides of the demo's config."""
LONGER = (
    *("recipe.iterations=50", "recipe.schedule.steps=[40]", "recipe.lr=0.1", "recipe.output_stride=8"),
    *("recipe.scale=[96,80]", "recipe.augmentation.crop=64", "recipe.head.channels=16"),
)
"""Long enough to learn what two colours are."""


def recipe(**changes: Any) -> SegmentationRecipe:
    """A recipe with every part that a published one has."""
    values: dict[str, Any] = {
        "iterations": 4,
        "batch": 4,
        "scale": (48, 40),
        "augmentation": {"crop": 32, "most_of_one_class": 0.75, "distortion": True},
        "output_stride": 8,
        "head": {"channels": 8, "convs": 2, "concat_input": True, "dropout": 0.1},
        "auxiliary": {"channels": 4, "convs": 1, "dropout": 0.1, "loss_weight": 0.4},
        "align_corners": False,
        "lr": 0.02,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "schedule": {"kind": "poly", "power": 0.9, "min_lr": 0.0001},
    }
    return SegmentationRecipe.model_validate_json(json.dumps(values | changes))


def words(data: Path, out: Path, *settings: str, config: str = "demo_segmentation") -> list[str]:
    """The command of a short job."""
    where = ["--data", str(data), "--out", str(out), "--device", "cpu", "--config", config]
    return ["segment", "random:resnet18", *where, *(word for one in (*SHORT, *settings) for word in ("--set", one))]


@pytest.fixture(scope="session")
def finished(masks: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """A job that has learnt something: its folder and its record."""
    out = tmp_path_factory.mktemp("segment") / "out"
    assert main(words(masks, out, *LONGER)) == 0
    return out, read_record(out)


@pytest.fixture(scope="session")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder of one's own: 10 images to train on and 4 to test on, of three classes."""
    return write_voc(tmp_path_factory.mktemp("masks") / "mine", {"train": range(10), "val": range(10, 14)})


@pytest.fixture(scope="session")
def resnet18() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = build_resnet("resnet18")
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return Backbone(arch="resnet18", state_dict=state, provenance=Provenance(source="random:resnet18:7"))
