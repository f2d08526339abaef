from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mec_transfer.benchmark import Job
from mec_transfer.classification import lbfgs
from mec_transfer.classification.config import LogisticConfig
from mec_transfer.classification.features import extract_features, labelled_splits
from mec_transfer.classification.logistic import Logistic, grid, measure, validation_rows
from mec_transfer.common import extras
from mec_transfer.common.config import load_config, load_yaml, merge, parse_config
from mec_transfer.common.errors import ConfigError, UserError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.images.data import ImageData

MakeJob = Callable[..., Job]
FOLDER = CONFIGS / "classification"


def tiny(primary: str = "top1", **recipe: Any) -> Logistic:
    data = load_yaml(FOLDER / "transfer_cars.yaml")
    small = {"view": {"resize": None, "crop": 32}, "penalties": 5, "first": -2, "last": 2}
    over = {
        "dataset": {"name": "tiny", "folder": "tiny"},
        "recipe": {**small, **recipe},
        "metrics": {"primary": primary},
    }
    return Logistic(parse_config(LogisticConfig, merge(data, over), "test"))


def test_grid_is_the_published_one() -> None:
    cs = grid(load_config(LogisticConfig, FOLDER / "transfer_cars.yaml").recipe)
    assert len(cs) == 45
    assert cs == sorted(cs, reverse=True)
    # As the repository's run_linear.sh quotes them, to the digits that float32 has.
    for index, quoted in ((0, 1000000.0025247572), (5, 56234.135072196805), (26, 0.3162277621819913), (44, 1e-5)):
        assert cs[index] == pytest.approx(quoted, rel=2e-7)


def test_validation_rows_are_the_published_shuffles() -> None:
    indices = list(range(103))
    np.random.seed(0)
    np.random.shuffle(indices)
    held = validation_rows(103, 0.2, 0)
    assert sorted(indices[: math.floor(0.2 * 103)]) == np.flatnonzero(held).tolist()


def test_metrics_by_hand() -> None:
    targets = np.array([0, 0, 0, 0, 1, 1, 3])
    top = np.array([[0], [0], [0], [1], [1], [2], [0]])
    found = measure(targets, top, 4)
    assert found == {
        "top1": pytest.approx(100 * 4 / 7),
        "mean_class_top1": pytest.approx(100 * (3 / 4 + 1 / 2 + 0) / 3),
    }
    with pytest.raises(ValueError, match="do not fit 7 targets"):
        measure(targets, top[:5], 4)


@pytest.mark.parametrize("primary", ["top1", "mean_class_top1"])
def test_a_job_chooses_on_validation_and_refits_on_all(make_job: MakeJob, primary: str) -> None:
    job, benchmark = make_job(), tiny(primary)
    assert benchmark.check(job) == []
    job.workdir.mkdir(parents=True)
    record = benchmark.run(job)
    features = extract_features(job, labelled_splits(job), benchmark.config.recipe)
    x, y = features["train"].values[:].double().numpy(), features["train"].labels.numpy()
    held = validation_rows(len(y), 0.2, 0)
    found, scores = None, []
    for c in grid(benchmark.config.recipe):
        found = lbfgs.fit(x[~held], y[~held], 6, c, found, 100)
        scores.append(measure(y[held], found.scores(x[held]).argmax(axis=1)[:, None], 6)[primary])
    best = int(np.argmax(scores))
    assert [step[primary] for step in record.details["validation"]] == pytest.approx(scores)
    assert record.details["C"] == grid(benchmark.config.recipe)[best]
    final = lbfgs.fit(x, y, 6, record.details["C"], found, 100)
    guesses = final.scores(features["val"].values[:].double().numpy()).argmax(axis=1)
    assert record.metrics["top1"] == pytest.approx(100 * (guesses == features["val"].labels.numpy()).mean())
    assert record.primary == primary and record.metrics == benchmark.recompute(job.workdir, record)


def test_a_data_sets_own_validation_images_are_those_chosen_on(make_job: MakeJob) -> None:
    job, benchmark = make_job(), tiny()
    assert isinstance(job.data, ImageData)
    job.data.held_out = np.arange(48) % 8 >= 5
    job.workdir.mkdir(parents=True)
    record = benchmark.run(job)
    scores = [step["top1"] for step in record.details["validation"]]
    assert all((score * 18 / 100) == pytest.approx(round(score * 18 / 100)) for score in scores)  # of 3 x 6 images
    job.data.held_out = np.arange(48) < 8
    assert "no training image of class class0 is left" in benchmark.check(job)[0].message


def test_without_scipy_check_says_what_to_install(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "lacking", lambda part: f"no {part}")
    assert [problem.message for problem in tiny().check(make_job())] == ["no transfer"]


def test_damaged_predictions_are_told(make_job: MakeJob) -> None:
    job, benchmark = make_job(), tiny()
    job.workdir.mkdir(parents=True)
    record = benchmark.run(job)
    (job.workdir / "predictions.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="not readable as predictions"):
        benchmark.recompute(job.workdir, record)


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"recipe": {"first": 5, "last": 5}}, "'first' .5. must be below 'last' .5."),
        ({"recipe": {"validation": 1.0}}, "validation"),
        ({"metrics": {"primary": "top5"}}, "'primary' must be one of top1, mean_class_top1"),
    ],
)
def test_wrong_settings_are_refused(over: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(LogisticConfig, merge(load_yaml(FOLDER / "transfer_cars.yaml"), over), "test")
