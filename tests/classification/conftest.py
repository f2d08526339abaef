"""A tiny labelled data set on disk, and a small network with an image size to fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mec_transfer.backbone.backbone import Backbone, Provenance, build_resnet
from mec_transfer.benchmark import Job
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.registry import open_data
from mec_transfer.results.record import DatasetInfo

CLASSES, TRAIN, VAL = 6, 8, 2
COLOURS = [(230, 40, 40), (40, 230, 40), (40, 40, 230), (220, 220, 30), (30, 220, 220), (220, 30, 220)]


def write_images(root: Path, seed: int = 0) -> Path:
    """Noise of a colour per class, 40 px PNG: root/{train,val}/class0...class5."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for label, colour in enumerate(COLOURS[:CLASSES]):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(rng.normal(colour, 60, size=(40, 40, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"class{label}_{number}.png")
    return root


TINY = DatasetConfig(name="tiny", layout="imagefolder")


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("tiny") / "images")


@pytest.fixture(scope="session")
def resnet18() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = build_resnet("resnet18")
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return Backbone(arch="resnet18", state_dict=state, provenance=Provenance(source="random:resnet18:7"))


@pytest.fixture
def make_job(tiny_images: Path, resnet18: Backbone, tmp_path: Path) -> Callable[..., Job]:
    """A job on the tiny data set, in a folder of its own below tmp_path."""

    def make(folder: str = "job", **changes: Any) -> Job:
        dataset = DatasetInfo(name="tiny", fingerprint="0" * 16, num_images=CLASSES * (TRAIN + VAL), classes=CLASSES)
        job = Job(
            model_name="r18",
            backbone=resnet18,
            data=open_data(TINY, changes.pop("data", tiny_images)),
            dataset=dataset,
            workdir=tmp_path / folder,
            device="cpu",
        )
        return dataclasses.replace(job, **changes)

    return make
