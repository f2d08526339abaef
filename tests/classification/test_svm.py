from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mec_transfer.benchmark import Job
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

pytest.importorskip("sklearn")
MakeJob = Callable[..., Job]


def tiny(**recipe: Any) -> Svm:
    small = {"view": {"resize": None, "crop": 32}, "costs": [0.1, 10.0]}
    dataset = {"name": "tiny", "splits": {"train": "trainval", "test": "test"}}
    over = {"dataset": dataset, "recipe": {**small, **recipe}}
    return Svm(parse_config(SvmConfig, merge(load_yaml(CONFIGS / "classification/voc07_svm.yaml"), over), "test"))


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
        for number, name in enumerate(("cat", "dog")):
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
    assert "001.npz: not readable (not a .npz file); it is computed again" in capsys.readouterr().err


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


def test_more_folds_than_images_are_told(make_svm_job: MakeJob) -> None:
    train = [(1, 1), (1, -1), (-1, 1), (-1, -1), (-1, -1)]
    job = make_svm_job({"trainval": train, "test": [(1, -1), (-1, 1)]})
    assert all(problem.severity == "warning" for problem in tiny(folds=3).check(job))
    fatal = [problem.message for problem in tiny(folds=4).check(job) if problem.severity == "error"]
    assert len(fatal) == 2 and fatal[0].endswith(
        "at most 3 folds can be made of the training images with and without 'cat'; lower recipe.folds (4)"
    )


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
