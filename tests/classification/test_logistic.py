from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mec_transfer.benchmark import Job, describe_data
from mec_transfer.classification import lbfgs
from mec_transfer.classification.config import LogisticConfig
from mec_transfer.classification.features import extract_features, labelled_splits, one_class_splits
from mec_transfer.classification.logistic import Logistic, average_precision, grid, measure, validation_rows
from mec_transfer.common import extras
from mec_transfer.common.config import load_config, load_yaml, merge, parse_config
from mec_transfer.common.errors import ConfigError, DataError, UserError
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


def score(targets: np.ndarray, top: np.ndarray, classes: int) -> dict[str, float]:
    return measure({"targets": targets, "top": top, "classes": np.array([f"class{i}" for i in range(classes)])})


def test_metrics_by_hand() -> None:
    targets = np.array([0, 0, 0, 0, 1, 1, 3])
    top = np.array([[0], [0], [0], [1], [1], [2], [0]])
    found = score(targets, top, 4)
    assert found == {
        "top1": pytest.approx(100 * 4 / 7),
        "mean_class_top1": pytest.approx(100 * (3 / 4 + 1 / 2 + 0) / 3),
    }
    with pytest.raises(ValueError, match="do not fit 7 targets"):
        score(targets, top[:5], 4)


def test_average_precision_by_hand() -> None:
    truth = np.array([False, True, True, False, True])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    # Recall 1/3 at precision 1/2, 2/3 at 2/3, 1 at 3/5; recall 0 counts as precision 1.
    assert average_precision(truth, scores) == pytest.approx((1 + 6 * (2 / 3) + 4 * (3 / 5)) / 11)
    assert average_precision(truth, np.zeros(5)) == pytest.approx((1 + 10 * (3 / 5)) / 11)  # one point for equal scores


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_on_scikit_learns_curve(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    truth = rng.random(60) < 0.3
    scores = rng.integers(0, 20, 60) / 7.0 + truth
    precision, recall, _ = metrics.precision_recall_curve(truth, scores)
    points = [max(precision[recall >= t]) if (recall >= t).any() else 0.0 for t in np.linspace(0, 1, 11)]
    assert average_precision(truth, scores) == pytest.approx(sum(points) / 11, abs=1e-12)


def marked(job: Job) -> dict[str, np.ndarray]:
    """Give the tiny images two classes each: their own, and one that every other class shares; class5 is difficult."""
    assert isinstance(job.data, ImageData)
    marks, listed = {}, {}
    for split, images in job.data.images.items():
        own = np.eye(6, dtype=bool)[images.labels]
        marks[split] = own | ((images.labels % 2 == 0)[:, None] & (np.arange(6) == 1))
        difficult = ~marks[split] & (np.arange(6) == 5) & (images.labels == 0)[:, None]
        listed[split] = dataclasses.replace(images, labels=np.where(difficult, -1, marks[split]).astype(np.int64))
    job.data.images, job.data.held_out = listed, np.arange(48) % 8 >= 6
    return marks


def test_each_class_has_a_fit_that_starts_from_the_one_before(make_job: MakeJob) -> None:
    job, benchmark = make_job(), tiny("mAP11")
    marks = marked(job)
    assert benchmark.check(job) == []
    job.workdir.mkdir(parents=True)
    record = benchmark.run(job)
    features = extract_features(job, labelled_splits(job), benchmark.config.recipe)
    x, y = features["train"].values[:].double().numpy(), marks["train"].astype(np.int64)
    held = np.arange(48) % 8 >= 6
    last, scores = None, []
    for c in grid(benchmark.config.recipe):
        precisions = []
        for k in range(6):
            last = lbfgs.fit(torch.from_numpy(x[~held]), y[~held, k], 2, c, last, 100)
            precisions.append(100 * average_precision(marks["train"][held, k], last.scores(x[held])[:, 1]))
        scores.append(np.mean(precisions))
    assert [step["mAP11"] for step in record.details["validation"]] == pytest.approx(scores)
    assert record.details["C"] == grid(benchmark.config.recipe)[int(np.argmax(scores))]
    assert record.metrics["mAP11"] == pytest.approx(np.mean([record.metrics[f"AP11/class{k}"] for k in range(6)]))
    assert record.metrics == benchmark.recompute(job.workdir, record)


def test_the_metric_must_fit_the_data(make_job: MakeJob) -> None:
    job = make_job()
    assert "'mAP11' is not for images with one class each" in tiny("mAP11").check(job)[0].message
    marked(job)
    assert "'top1' is not for images with any number of classes each" in tiny().check(job)[0].message
    assert isinstance(job.data, ImageData)
    job.data.images["val"].labels[:, 3] = 0
    assert "none of the images of 'val' is of class class3" in tiny("mAP11").check(job)[0].message
    with pytest.raises(DataError, match="may have any number of classes"):
        one_class_splits(job)


def test_a_share_that_leaves_no_image_for_validation_is_told(make_job: MakeJob) -> None:
    (problem,) = tiny(validation=0.01).check(make_job())
    assert "0.01 of 48 training images is none for validation; set a larger" in problem.message


@pytest.mark.parametrize(
    "recipe",
    [{"first": -400}, {"last": 400}, {"last": float("nan")}, {"validation_seed": 1 << 32}, {"validation": 1.5}],
)
def test_numbers_that_no_fit_can_be_made_with_are_refused(recipe: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"'recipe.{next(iter(recipe))}'"):
        tiny(**recipe)


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
        found = lbfgs.fit(torch.from_numpy(x[~held]), y[~held], 6, c, found, 100)
        scores.append(score(y[held], found.scores(x[held]).argmax(axis=1)[:, None], 6)[primary])
    best = int(np.argmax(scores))
    assert [step[primary] for step in record.details["validation"]] == pytest.approx(scores)
    assert record.details["C"] == grid(benchmark.config.recipe)[best]
    final = lbfgs.fit(torch.from_numpy(x), y, 6, record.details["C"], found, 100)
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
    assert (
        "none of the training images that are not for validation is of class class0" in benchmark.check(job)[0].message
    )


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("killed_at", [0, 1, 3, 5])
def test_a_killed_job_goes_on_after_its_last_c_bit_for_bit(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, several: bool, killed_at: int
) -> None:
    benchmark, fits = tiny("mAP11" if several else "top1"), 6 if several else 1
    calls: list[float] = []
    stop = [0]

    def fit(x: np.ndarray, y: np.ndarray, classes: int, c: float, start: Any, limit: int) -> lbfgs.Fit:
        if len(calls) == stop[0]:
            raise KeyboardInterrupt
        calls.append(c)
        return real(x, y, classes, c, start, limit)

    real = lbfgs.fit
    monkeypatch.setattr(lbfgs, "fit", fit)

    def run(folder: str, until: int) -> tuple[bytes, dict[str, Any], list[str]]:
        job = make_job(folder)
        if several:
            marked(job)
        job.workdir.mkdir(parents=True, exist_ok=True)
        stop[0] = until
        record = benchmark.run(job)
        details = {key: record.details[key] for key in ("C", "iterations", "validation")}
        left = (job.workdir / "predictions.npz").read_bytes(), details | record.metrics
        benchmark.finished(job)
        return *left, sorted(path.name for path in job.workdir.iterdir())

    undisturbed = run("whole", -1)
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        run("killed", killed_at * fits + fits // 2)  # of several classes, amid those of one C
    calls.clear()
    assert run("killed", -1) == undisturbed
    assert len(calls) == (6 - killed_at) * fits and undisturbed[2] == ["predictions.npz"]


@pytest.mark.parametrize("several", [False, True])
def test_the_folder_takes_no_more_than_was_planned(make_job: MakeJob, several: bool) -> None:
    job, benchmark = make_job(), tiny("mAP11" if several else "top1")
    if several:
        marked(job)
    job.workdir.mkdir(parents=True)
    benchmark.run(job)
    planned = benchmark.config.resources("resnet18", describe_data(job.data)).own_bytes
    left = sum(path.stat().st_size for path in job.workdir.glob("*.npz"))
    assert planned is not None and left <= planned + 2048  # besides the archives' own headers


def test_fits_of_other_features_or_settings_are_not_gone_on_with(
    make_job: MakeJob, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job()
    job.workdir.mkdir(parents=True)
    first, other = tiny().run(job), tiny(max_iterations=3).run(job)
    assert all(step["iterations"] <= 3 for step in other.details["validation"])
    assert tiny().run(job).details["validation"] == first.details["validation"]
    (job.workdir / "fits.npz").write_bytes(b"PK")
    assert tiny().run(job).details["validation"] == first.details["validation"]
    assert "fits.npz: not readable (not a .npz file); it is computed again" in capsys.readouterr().err


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
        ({"metrics": {"primary": "top5"}}, "'primary' must be one of top1, mean_class_top1, mAP11"),
    ],
)
def test_wrong_settings_are_refused(over: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(LogisticConfig, merge(load_yaml(FOLDER / "transfer_cars.yaml"), over), "test")
