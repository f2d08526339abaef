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
from mec_transfer.benchmark import Job, describe_data
from mec_transfer.datasets.config import DatasetConfig, LabelsDatasetConfig
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


SHOWN = ("cat", "dog")
VOC_TRAIN = [(1, -1), (-1, 1), (1, 1), (-1, -1), (0, 1), (1, 0)] * 4
VOC_TEST = [(1, -1), (-1, 1), (1, 1), (-1, -1), (0, 1)] * 2
"""Whether a photo shows a cat and a dog, as VOC's lists say it."""
TINY_VOC = LabelsDatasetConfig(name="tiny", layout="voc_labels", splits={"train": "trainval", "test": "test"})


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[..., Path]:
    """A VOC folder with class lists: noise, reddish where there is a cat and bluish where there is a dog."""

    def make(shown: dict[str, list[tuple[int, int]]], folder: str = "voc") -> Path:
        rng, root = np.random.default_rng(0), tmp_path / folder
        main = root / "ImageSets" / "Main"
        for path in (main, root / "JPEGImages", root / "Annotations"):
            path.mkdir(parents=True)
        for split, photos in shown.items():
            names = [f"{split}{number:02d}" for number in range(len(photos))]
            (main / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
            for place, label in enumerate(SHOWN):
                lines = [f"{name} {labels[place]:2d}\n" for name, labels in zip(names, photos)]
                (main / f"{label}_{split}.txt").write_text("".join(lines))
            for name, (cat, dog) in zip(names, photos):
                colour = (90 + 60 * (cat == 1), 90, 90 + 60 * (dog == 1))
                pixels = np.clip(rng.normal(colour, 30, size=(40, 50, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
        return root

    return make


@pytest.fixture
def make_svm_job(make_voc: Callable[..., Path], resnet18: Backbone, tmp_path: Path) -> Callable[..., Job]:
    def make(shown: dict[str, list[tuple[int, int]]] | None = None, folder: str = "job", **changes: Any) -> Job:
        root = tmp_path / "voc"
        data = open_data(
            TINY_VOC, root if root.exists() else make_voc(shown or {"trainval": VOC_TRAIN, "test": VOC_TEST})
        )
        job = Job(
            model_name="r18",
            backbone=resnet18,
            data=data,
            dataset=describe_data(data),
            workdir=tmp_path / folder,
            device="cpu",
        )
        return dataclasses.replace(job, **changes)

    return make
