from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mec_transfer.benchmark import Job
from mec_transfer.classification import svm_low_shot as module
from mec_transfer.classification.config import LowShotConfig
from mec_transfer.classification.features import extract_features, labelled_splits
from mec_transfer.classification.svm_low_shot import SvmLowShot, draw_sample
from mec_transfer.classification.svm_solver import unit_length
from mec_transfer.common.config import load_yaml, merge, parse_config
from mec_transfer.common.errors import ConfigError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.common.runtime import derive_seed

pytest.importorskip("sklearn")
MakeJob = Callable[..., Job]


def tiny(**recipe: Any) -> SvmLowShot:
    small = {"view": {"resize": None, "crop": 32}, "costs": [0.1, 10.0], "ks": [1, 3], "samples": 2}
    over = {
        "dataset": {"name": "tiny", "splits": {"train": "trainval", "test": "test"}},
        "recipe": {**small, **recipe},
        "metrics": {"primary": "mAP_k3"},
    }
    data = merge(load_yaml(CONFIGS / "classification/voc07_svm_low_shot.yaml"), over)
    return SvmLowShot(parse_config(LowShotConfig, data, "test"))


def test_a_sample_has_k_photos_of_each_class_and_as_many_times_k_of_others_without() -> None:
    labels = np.random.default_rng(0).choice([1, 0, 0, 0, -1], size=(200, 4))
    drawn = draw_sample(labels, 5, seed=3)
    assert (drawn == 1).sum(axis=0).tolist() == [5] * 4 and (drawn == 0).sum(axis=0).tolist() == [15] * 4
    assert np.array_equal(drawn[drawn != -1], labels[drawn != -1])
    assert np.array_equal(drawn, draw_sample(labels, 5, seed=3))
    assert not np.array_equal(drawn, draw_sample(labels, 5, seed=4))


def test_the_published_steps_give_the_same_numbers(make_svm_job: MakeJob, tmp_path: Path) -> None:
    """VISSL's low-shot trainer, with scikit-learn alone: the cost of the best mean on the test images."""
    from sklearn.svm import LinearSVC

    benchmark, job = tiny(), make_svm_job(cache=tmp_path / "cache")
    assert benchmark.check(job) == []
    record = benchmark.run(job)
    splits, seed = labelled_splits(job), derive_seed(0, 0, "low-shot")
    features = extract_features(job, splits, benchmark.config.recipe)
    train, test = (unit_length(features[split].values[:].numpy()) for split in ("train", "test"))
    for k in (1, 3):
        means = []
        for cost in (0.1, 10.0):
            of_samples = []
            for sample in range(2):
                drawn = draw_sample(splits["train"].labels, k, derive_seed(seed, k, sample))
                for label, truth in zip(drawn.T, splits["test"].labels.T):
                    machine = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, max_iter=2000, random_state=seed % 2**32)
                    machine.fit(train[label >= 0], np.where(label[label >= 0] == 1, 1, -1))
                    of_samples.append(area(truth, machine.decision_function(test)))
            means.append(100 * np.mean(of_samples))
        assert record.metrics[f"mAP_k{k}"] == pytest.approx(max(means), abs=1e-9)
        assert record.details[f"k{k}"]["cost"] == (0.1, 10.0)[int(np.argmax(means))]
        assert record.details[f"k{k}"]["mean_of_each_cost"] == pytest.approx(means, abs=1e-3)
    assert benchmark.recompute(job.workdir, record) == record.metrics


def area(truth: np.ndarray, scores: np.ndarray) -> float:
    """Average precision with interpolated precision, by its definition."""
    hits = [label == 1 for _, label in sorted(zip(scores, truth), reverse=True) if label != -1]
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return float(np.mean([max(precision[n:]) for n, hit in enumerate(hits) if hit]))


def test_a_killed_run_goes_on_with_the_next_sample(make_svm_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, job = tiny(), make_svm_job()
    expected = benchmark.run(dataclasses.replace(job, workdir=job.workdir.with_name("whole"))).metrics
    calls: list[int] = []
    real = module._Samples.__getitem__

    def killed(self: Any, number: int) -> Any:
        if number == 2 and calls == [0, 1]:
            raise KeyboardInterrupt
        calls.append(number)
        return real(self, number)

    monkeypatch.setattr(module._Samples, "__getitem__", killed)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(job)
    calls.append(99)
    assert benchmark.run(job).metrics == expected and calls == [0, 1, 99, 2, 3]
    benchmark.finished(job)
    assert not (job.workdir / "samples").exists()


def test_too_few_photos_are_told(make_svm_job: MakeJob) -> None:
    found = tiny(ks=[1, 3]).check(make_svm_job({"trainval": [(1, -1), (1, 1), (-1, 1), (1, -1)], "test": [(1, 1)]}))
    assert [problem.message.partition(": ")[2] for problem in found] == [
        "1 training images without 'cat', 3 are drawn at k 3; lower recipe.ks",
        "2 training images with 'dog', 3 are drawn at k 3; lower recipe.ks",
        "2 training images without 'dog', 3 are drawn at k 3; lower recipe.ks",
    ]


def test_ks_rise() -> None:
    with pytest.raises(ConfigError, match="1 or more, and rising"):
        tiny(ks=[3, 1])
