from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.benchmark import Job, describe_data
from mec_transfer.classification import svm as svm_module
from mec_transfer.classification.config import SvmConfig
from mec_transfer.classification.features import extract_features, labelled_splits
from mec_transfer.classification.svm import Svm
from mec_transfer.classification.svm_solver import fit_class, unit_length
from mec_transfer.common import extras
from mec_transfer.common.config import load_yaml, merge, parse_config
from mec_transfer.common.errors import ConfigError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.registry import open_data

pytest.importorskip("sklearn")
CLASSES = ("cat", "dog")
MakeJob = Callable[..., Job]


def tiny(**recipe: Any) -> Svm:
    small = {"view": {"resize": None, "crop": 32}, "costs": [0.1, 10.0]}
    dataset = {"name": "tiny", "splits": {"train": "trainval", "test": "test"}}
    over = {"dataset": dataset, "recipe": {**small, **recipe}}
    return Svm(parse_config(SvmConfig, merge(load_yaml(CONFIGS / "classification/voc07_svm.yaml"), over), "test"))


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
            for place, label in enumerate(CLASSES):
                lines = [f"{name} {labels[place]:2d}\n" for name, labels in zip(names, photos)]
                (main / f"{label}_{split}.txt").write_text("".join(lines))
            for name, (cat, dog) in zip(names, photos):
                colour = (90 + 60 * (cat == 1), 90, 90 + 60 * (dog == 1))
                pixels = np.clip(rng.normal(colour, 30, size=(40, 50, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
        return root

    return make


TRAIN = [(1, -1), (-1, 1), (1, 1), (-1, -1), (0, 1), (1, 0)] * 4
TEST = [(1, -1), (-1, 1), (1, 1), (-1, -1), (0, 1)] * 2


@pytest.fixture
def make_svm_job(make_voc: Callable[..., Path], resnet18: Backbone, tmp_path: Path) -> MakeJob:
    def make(shown: dict[str, list[tuple[int, int]]] | None = None, folder: str = "job", **changes: Any) -> Job:
        root = tmp_path / "voc"
        data = open_data(
            tiny().config.dataset, root if root.exists() else make_voc(shown or {"trainval": TRAIN, "test": TEST})
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


def test_a_run_is_what_its_parts_give_and_can_be_verified(make_svm_job: MakeJob, tmp_path: Path) -> None:
    benchmark, job = tiny(), make_svm_job(cache=tmp_path / "cache")
    assert benchmark.check(job) == []
    record = benchmark.run(job)
    assert set(record.metrics) == {"mAP", "AP/cat", "AP/dog"} and record.details["labels_from"].startswith("the class")
    assert record.metrics["mAP"] == pytest.approx((record.metrics["AP/cat"] + record.metrics["AP/dog"]) / 2)
    assert benchmark.recompute(job.workdir, record) == record.metrics
    splits = labelled_splits(job)
    features = extract_features(job, splits, benchmark.config.recipe)
    assert features["train"].computed == features["test"].computed == 0  # they are in the cache
    train, test = (unit_length(features[split].values[:].numpy()) for split in ("train", "test"))
    seed = derive_seed(0, 0, "svm") % 2**32
    with np.load(job.workdir / "predictions.npz") as saved:
        assert saved["images"].tolist() == [f"test{number:02d}.jpg" for number in range(10)]
        for number, name in enumerate(CLASSES):
            svm = fit_class(train, splits["train"].labels[:, number], test, benchmark.config.recipe, seed)
            np.testing.assert_array_equal(saved["scores"][:, number], svm.scores)
            assert record.details["costs"][name] == svm.cost


def test_a_killed_run_goes_on_with_the_next_class(make_svm_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, job = tiny(), make_svm_job()
    expected = benchmark.run(dataclasses.replace(job, workdir=job.workdir.with_name("whole"))).metrics
    calls: list[int] = []
    real = svm_module._Classes.__getitem__

    def killed(self: Any, number: int) -> Any:
        if number == 1 and len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(number)
        return real(self, number)

    monkeypatch.setattr(svm_module._Classes, "__getitem__", killed)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(job)
    calls += [99]
    assert benchmark.run(job).metrics == expected and calls == [0, 99, 1]
    benchmark.finished(job)
    assert not (job.workdir / "classes").exists()


def test_a_damaged_class_is_computed_again(make_svm_job: MakeJob, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark, job = tiny(), make_svm_job()
    expected = benchmark.run(job).metrics
    (job.workdir / "classes/001.npz").write_bytes(b"PK")
    assert benchmark.run(job).metrics == expected
    assert "001.npz: not readable (not a .npz file); this class is computed again" in capsys.readouterr().err


def test_processes_give_the_same_numbers(make_svm_job: MakeJob) -> None:
    benchmark, job = tiny(), make_svm_job()
    alone = benchmark.run(job).metrics
    assert benchmark.run(dataclasses.replace(job, workdir=job.workdir.with_name("two"), workers=2)).metrics == alone


def test_classes_that_cannot_be_learnt_are_told_before_anything_is_computed(make_svm_job: MakeJob) -> None:
    train = [(1, 1), (-1, 1), (-1, 1), (-1, -1), (-1, -1)]
    found = tiny().check(make_svm_job({"trainval": train, "test": [(1, -1), (-1, 0)]}))
    assert [(problem.severity, problem.message.partition(": ")[2]) for problem in found] == [
        ("error", "1 training images with 'cat'; at least two are needed, and 3 for sound folds"),
        ("warning", "2 training images without 'dog': not one for each of 3 folds"),
        ("error", "no test image with 'dog', so that it has no precision"),
    ]


def test_check_names_the_missing_library_and_metric(make_svm_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_svm_job()
    other = tiny()
    other.config = other.config.model_copy(
        update={"metrics": other.config.metrics.model_copy(update={"primary": "AP"})}
    )
    assert "metrics.primary: 'AP' is not one of mAP, AP/cat, AP/dog" in [p.message for p in other.check(job)]
    monkeypatch.setattr(extras, "lacking", lambda part: f"{part} is not there")
    assert [problem.message for problem in tiny().check(job)] == ["svm is not there"]


@pytest.mark.parametrize("costs", [[1.0, 1.0], [0.0]])
def test_costs_are_positive_and_different(costs: list[float]) -> None:
    with pytest.raises(ConfigError, match="positive and different"):
        tiny(costs=costs)
