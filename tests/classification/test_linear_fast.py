from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mec_transfer.benchmark import Job
from mec_transfer.classification import heads as heads_module
from mec_transfer.classification import linear_fast
from mec_transfer.classification.config import LinearFastConfig
from mec_transfer.classification.feature_rows import FeatureRows, PickedRows
from mec_transfer.classification.features import Features
from mec_transfer.classification.heads import HeadSettings, train_heads
from mec_transfer.classification.linear_fast import LinearFast, split_held_out
from mec_transfer.classification.trained_head import HEAD_NAME
from mec_transfer.common.config import load_config, load_yaml, merge, parse_config
from mec_transfer.common.errors import ConfigError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.common.runtime import derive_seed

MakeJob = Callable[..., Job]
FOLDER = CONFIGS / "classification"
SETTINGS = HeadSettings(epochs=3, batch=16, momentum=0.9, weight_decay=1e-3, norm_eps=1e-6, head_std=0.01)


def tiny(**recipe: Any) -> LinearFast:
    data = load_yaml(FOLDER / "linear_fast.yaml")
    small = {"view": {"resize": None, "crop": 32}, "learning_rates": [0.001, 0.03, 0.5], "epochs": 10, "batch": 16}
    over = {"dataset": {"name": "tiny", "folder": "tiny"}, "recipe": {**small, **recipe}}
    return LinearFast(parse_config(LinearFastConfig, merge(data, over), "test"))


def blobs(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    centres = torch.randn(4, 10, generator=torch.Generator().manual_seed(99))
    return 3 + 2 * centres[labels] + torch.randn(count, 10, generator=generator) * 4, labels


def one_by_one(features: torch.Tensor, labels: torch.Tensor, rate: float, seed: int) -> torch.nn.Sequential:
    """A single head by torch's own layers, optimiser and autograd, in float64."""
    x = features.double()
    norm = torch.nn.BatchNorm1d(10, eps=1e-6, affine=False, momentum=None).double()
    norm.train()(x)  # cumulative average: the statistics of all images
    norm.running_var.copy_(x.var(dim=0, correction=0))  # type: ignore[union-attr]
    linear = torch.nn.Linear(10, 4).double()
    draw = torch.Generator().manual_seed(derive_seed(seed, "weights"))
    with torch.no_grad():
        linear.weight.copy_(torch.randn(4, 10, generator=draw) * 0.01)
        linear.bias.zero_()
    head = torch.nn.Sequential(norm.eval(), linear)
    optimizer = torch.optim.SGD(linear.parameters(), lr=rate, momentum=0.9, weight_decay=1e-3)
    step, steps = 0, 3 * math.ceil(len(x) / 16)
    for epoch in range(3):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch)))
        for start in range(0, len(x), 16):
            rows = order[start : start + 16]
            optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(x[rows]), labels[rows]).backward()
            optimizer.step()
            step += 1
    return head


def test_heads_side_by_side_are_those_trained_one_by_one() -> None:
    features, labels = blobs(75)  # the last batch is a smaller one
    rates = (0.01, 0.1, 1.0)
    heads = train_heads(features, labels, 4, rates, SETTINGS, seed=5)
    found = torch.cat(list(heads.scores(features)))
    for index, rate in enumerate(rates):
        expected = one_by_one(features, labels, rate, seed=5)(features.double())
        torch.testing.assert_close(found[:, index].double(), expected, rtol=1e-3, atol=1e-3)


def test_heads_are_the_same_from_features_in_parts() -> None:
    features, labels = blobs(75)
    picked = torch.arange(74, -1, -2)
    whole = train_heads(features[picked], labels[picked], 4, (0.1, 1.0), SETTINGS, seed=5)
    rows = PickedRows(FeatureRows(features.split(16)), picked)
    parts = train_heads(rows, labels[picked], 4, (0.1, 1.0), SETTINGS, seed=5)
    assert torch.equal(whole.weight, parts.weight) and torch.equal(whole.bias, parts.bias)
    scores = (torch.cat(list(heads.scores(x))) for heads, x in ((whole, features[picked]), (parts, rows)))
    assert torch.equal(*scores)


def test_mean_and_variance_of_many_rows_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(75)
    features = features * torch.arange(75)[:, None] + 100  # no two blocks are alike
    monkeypatch.setattr(heads_module, "_MOMENT_ROWS", 16)
    found = train_heads(features, labels, 4, (0.1,), SETTINGS, seed=0)
    torch.testing.assert_close(found.mean.double(), features.double().mean(dim=0), rtol=1e-6, atol=0)
    expected = (features.double().var(dim=0, correction=0) + SETTINGS.norm_eps).rsqrt()
    torch.testing.assert_close(found.scale.double(), expected, rtol=1e-5, atol=0)


def test_a_constant_feature_and_a_huge_rate_stay_finite() -> None:
    features, labels = blobs(40)
    features[:, 3] = 7.0
    (scores,) = train_heads(features, labels, 4, (1e4,), SETTINGS, seed=0).scores(features)
    assert bool(torch.isfinite(scores).all())


def test_held_out_images_are_balanced_disjoint_and_seeded() -> None:
    labels = torch.tensor([0] * 40 + [1] * 20 + [2] * 2)
    kept, held = split_held_out(labels, 0.1, seed=1)
    assert labels[held].bincount().tolist() == [4, 2, 1]  # at least one, even of two images
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(62))
    assert torch.equal(held, split_held_out(labels, 0.1, seed=1)[1])
    assert not torch.equal(held, split_held_out(labels, 0.1, seed=2)[1])
    assert split_held_out(labels, 0.99, seed=1)[0].numel() == 3  # one of each class is left to train on


def test_the_choice_does_not_see_the_val_labels(make_job: MakeJob) -> None:
    job = make_job()
    job.workdir.mkdir()
    train, val = (
        (Features(values=FeatureRows([x]), labels=y, computed=0, seconds=0, precision=""))
        for x, y in (blobs(99), blobs(50, 1))
    )
    probe = tiny(held_out=0.3)
    honest, choice = probe._probe(train, val, tuple("abcd"), job)
    poisoned = dataclasses.replace(val, labels=(val.labels + 1) % 4, values=FeatureRows([val.values[:] * 0 - 1]))
    poisoned_metrics, poisoned_choice = probe._probe(train, poisoned, tuple("abcd"), job)
    assert choice == poisoned_choice
    assert len(set(choice)) > 1  # there was something to choose
    assert honest["top1"] != poisoned_metrics["top1"]


def test_the_number_is_that_of_the_rate_best_on_held_out_images(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark, job = tiny(), make_job()
    real = benchmark._probe
    chosen = {}

    def spy(*args: Any) -> Any:
        chosen["outcome"] = real(*args)
        return chosen["outcome"]

    monkeypatch.setattr(benchmark, "_probe", spy)
    assert benchmark.check(job) == []
    record = benchmark.run(job)
    held_out = chosen["outcome"][1]
    best = ["lr0.001", "lr0.03", "lr0.5"][held_out.index(max(held_out))]
    assert record.metrics["top1"] == record.metrics[f"top1_{best}"] > 50  # six colours
    assert record.selection is not None
    assert record.selection.chosen == best.replace("lr", "lr ") and record.selection.by == "held-out training images"
    assert list(record.details["held_out_top1"].values()) == held_out
    assert benchmark.recompute(job.workdir, record) == record.metrics
    assert {path.name for path in job.workdir.iterdir()} == {"predictions.npz", HEAD_NAME}


def test_two_runs_are_bitwise_the_same_and_another_seed_is_not(make_job: MakeJob) -> None:
    a, b, c = make_job("a"), make_job("b"), make_job("c", seed=1)
    records = [tiny().run(job) for job in (a, b, c)]
    assert records[0].metrics == records[1].metrics
    saved = [(job.workdir / "predictions.npz").read_bytes() for job in (a, b, c)]
    assert saved[0] == saved[1] != saved[2]


def test_a_choice_at_the_end_of_the_grid_is_a_warning(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, words in ((0, "lower end"), (1, ""), (2, "upper end")):
        monkeypatch.setattr(linear_fast, "_choose", lambda held_out, place=place: place)
        warnings = tiny(epochs=1).run(make_job(f"job{place}")).warnings
        assert bool(warnings) == bool(words) and all(words in warning for warning in warnings)


@pytest.mark.parametrize("rates", [[0.1], [0.3, 0.1], [0.1, 0.1], [0.0, 1.0]])
def test_a_grid_that_is_none_is_refused(rates: list[float]) -> None:
    with pytest.raises(ConfigError, match="learning_rates"):
        tiny(learning_rates=rates)


def test_a_class_of_one_image_is_a_problem(make_job: MakeJob, tiny_images: Path, tmp_path: Path) -> None:
    for path in tiny_images.rglob("*.png"):
        if "train/class2" not in path.as_posix() or path.stem.endswith("_0"):
            copy = tmp_path / "copy" / path.relative_to(tiny_images)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path)
    problems = tiny().check(make_job(data=tmp_path / "copy"))
    assert [problem.message for problem in problems] == [
        f"{tmp_path / 'copy'}: a class has only one training image; two are needed, to train on and to hold out"
    ]


@pytest.mark.parametrize("name", ["linear_fast", "demo_linear_fast", "cifar10_linear_fast"])
def test_shipped_configs_are_named_after_their_files_and_own_up(name: str) -> None:
    config = load_config(LinearFastConfig, FOLDER / f"{name}.yaml")
    assert (config.id, config.kind) == (name, "linear_fast")
    assert "linear-fast" in config.protocol
    assert "ot a published protocol" in config.published or "published nowhere" in config.published


def test_one_suite_reads_each_image_once() -> None:
    """k-NN and the fast probe look at the same view, so that they share their features."""
    for ours, knn in (
        ("linear_fast", "knn_dino"),
        ("cifar10_linear_fast", "cifar10_knn"),
        ("demo_linear_fast", "demo_knn"),
    ):
        views = [load_yaml(FOLDER / f"{name}.yaml")["recipe"]["view"] for name in (ours, knn)]
        assert views[0] == views[1]
