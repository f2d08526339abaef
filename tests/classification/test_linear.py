from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.benchmark import Job
from mec_transfer.classification import linear, training
from mec_transfer.classification.config import LinearConfig, LinearSgdConfig, ViewConfig
from mec_transfer.classification.linear import Linear, LinearSgd, _Probe
from mec_transfer.classification.network import Encoder, ValImages
from mec_transfer.classification.training_state import STATE_NAME
from mec_transfer.classification.transforms import eval_transform
from mec_transfer.common.config import load_config, load_yaml, merge, parse_config
from mec_transfer.common.errors import DataError, RunError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.images.folders import open_split
from mec_transfer.datasets.pixels import normalise
from tests.classification.conftest import write_images

MakeJob = Callable[..., Job]
FOLDER = CONFIGS / "classification"
PUBLISHED = FOLDER / "linear_mec.yaml"

SMALL = {
    "id": "linear_small",
    "protocol": "small",
    "dataset": {"name": "tiny", "layout": "imagefolder", "folder": "tiny"},
    "recipe": {
        "epochs": 3,
        "batch": 32,
        "replicas": 2,
        "base_lr": 4.0,
        "train_crop": 32,
        "eval_view": {"resize": None, "crop": 32},
    },
}


def _benchmark(**recipe: object) -> Linear:
    data = merge(load_yaml(PUBLISHED), merge(SMALL, {"recipe": recipe}))
    return Linear(parse_config(LinearConfig, data, "small"))


def test_the_published_recipe() -> None:
    config = load_config(LinearConfig, PUBLISHED)
    recipe = config.recipe
    assert (config.id, config.protocol) == ("linear_mec", "imagenet-linear-mec")
    assert recipe.base_lr * recipe.batch / 256 == pytest.approx(0.48)
    assert (recipe.epochs, recipe.batch, recipe.momentum, recipe.weight_decay) == (100, 4096, 0.9, 0.0)
    assert (recipe.larc.trust_coefficient, recipe.larc.eps, recipe.head_norm_eps) == (0.001, 1e-8, 1e-6)
    assert (recipe.schedule.kind, recipe.head_std, recipe.train_crop) == ("cosine", 0.01, 224)
    assert recipe.eval_view == ViewConfig(resize=256, crop=224)


def _probe(resnet18: Backbone, tiny_images: Path) -> tuple[_Probe, Encoder]:
    recipe = _benchmark().config.recipe
    encoder = Encoder(resnet18, torch.device("cpu"), mixed_precision=True)
    val = ValImages(open_split(tiny_images, "val"), eval_transform(recipe.eval_view), 0, encoder.device)
    return _Probe(recipe, encoder, val, seed=1), encoder


def test_training_is_the_published_formula(resnet18: Backbone, tiny_images: Path) -> None:
    """Three steps against a float64 loop written out: batch norm, softmax, cross entropy, LARC, momentum."""
    probe, encoder = _probe(resnet18, tiny_images)
    weight = probe.head[1].weight.detach().double().numpy().copy()
    bias = np.zeros(6)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 12, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(12) % 6
    with torch.no_grad():
        features = [encoder.network(normalise(x, resnet18.preprocessing)).double().numpy() for x in images]

    probe.train_mode()
    losses = []
    for x in images:
        probe.optimizer.zero_grad()
        losses.append(float(probe.backward(0, iter([(x[:5], labels[:5]), (x[5:], labels[5:])]))))
        probe.optimizer.step()

    momentum: list = [0.0, 0.0]
    running_mean, running_var = np.zeros(512), np.ones(512)
    for step, f in enumerate(features):
        mean, var = f.mean(axis=0), f.var(axis=0)
        running_mean = 0.9 * running_mean + 0.1 * mean
        running_var = 0.9 * running_var + 0.1 * var * 12 / 11
        normed = (f - mean) / np.sqrt(var + 1e-6)
        logits = normed @ weight.T + bias
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        assert losses[step] == pytest.approx(-np.log(p[np.arange(12), labels]).mean(), rel=1e-4)
        p[np.arange(12), labels] -= 1
        for index, (value, gradient) in enumerate(((weight, p.T @ normed / 12), (bias, p.mean(axis=0)))):
            norms = math.sqrt((value**2).sum()), math.sqrt((gradient**2).sum())
            local = 0.001 * norms[0] / (norms[1] + 1e-8) if all(norms) else 1.0
            momentum[index] = 0.9 * momentum[index] + local * gradient
            value -= 4.0 * 32 / 256 * momentum[index]
    np.testing.assert_allclose(probe.head[1].weight.detach().numpy(), weight, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(probe.head[1].bias.detach().numpy(), bias, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(probe.head[0].running_mean.numpy(), running_mean, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(probe.head[0].running_var.numpy(), running_var, rtol=1e-3, atol=1e-5)


def _vissl(**recipe: Any) -> LinearSgd:
    data = load_yaml(FOLDER / "inat18_linear_vissl.yaml")
    small = {"epochs": 3, "batch": 16, "replicas": 2, "train_crop": 32, "eval_view": {"resize": None, "crop": 32}}
    schedule = {"kind": "multistep", "milestones": [1, 2], "factor": 0.1}
    over = {"dataset": {"name": "tiny", "folder": "tiny"}, "recipe": {**small, "schedule": schedule, **recipe}}
    return LinearSgd(parse_config(LinearSgdConfig, merge(data, over), "small"))


def test_vissls_recipes_are_the_published_ones() -> None:
    for name, epochs, milestones in (("places205", 14, (4, 8, 12)), ("inat18", 84, (24, 48, 72))):
        recipe = load_config(LinearSgdConfig, FOLDER / f"{name}_linear_vissl.yaml").recipe
        assert (recipe.epochs, recipe.schedule.milestones, recipe.schedule.factor) == (epochs, milestones, 0.1)
        assert (recipe.batch, recipe.base_lr, recipe.momentum, recipe.nesterov) == (256, 0.01, 0.9, True)
        assert (recipe.weight_decay, recipe.head_norm_eps, recipe.head_std) == (5e-4, 1e-5, None)


def test_vissls_training_is_the_published_formula(resnet18: Backbone, tiny_images: Path) -> None:
    """Three steps in float64: batch norm with weights, Nesterov's momentum, decay of all but the batch norm."""
    recipe = _vissl(weight_decay=0.1).config.recipe
    encoder = Encoder(resnet18, torch.device("cpu"), mixed_precision=False)
    val = ValImages(open_split(tiny_images, "val"), eval_transform(recipe.eval_view), 0, encoder.device)
    probe = _Probe(recipe, encoder, val, seed=1)
    values = [parameter.detach().double().clone().requires_grad_() for parameter in probe.head.parameters()]
    images = torch.randint(0, 256, (3, 12, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels, velocity, rate = torch.arange(12) % 6, [torch.zeros(())] * 4, 0.01 * 16 / 256
    probe.train_mode()
    for x in images:
        with torch.no_grad():
            f = encoder.network(normalise(x, resnet18.preprocessing)).double()
        scale, shift, weight, bias = values
        normed = (f - f.mean(dim=0)) / torch.sqrt(f.var(dim=0, correction=0) + 1e-5) * scale + shift
        loss = -torch.log_softmax(normed @ weight.T + bias, dim=1)[torch.arange(12), labels].mean()
        gradients = torch.autograd.grad(loss, values)
        for index, (value, gradient) in enumerate(zip(values, gradients)):
            slope = gradient + (0.1 * value.detach() if index >= 2 else 0)
            velocity[index] = 0.9 * velocity[index] + slope
            values[index] = (value.detach() - rate * (slope + 0.9 * velocity[index])).requires_grad_()
        probe.optimizer.zero_grad()
        assert float(probe.backward(0, iter([(x, labels)]))) == pytest.approx(loss.item(), rel=1e-4)
        probe.optimizer.step()
    for found, expected in zip(probe.head.parameters(), values, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_a_run_by_vissls_recipe_has_its_rates_and_a_record(make_job: MakeJob) -> None:
    job, benchmark = make_job(), _vissl()
    assert benchmark.check(job) == []
    record = benchmark.run(job)
    assert len(record.details["epochs"]) == 3 and record.metrics["top1"] >= record.metrics["top1_last"]
    assert benchmark.recompute(job.workdir, record) == record.metrics


def test_a_run_leaves_a_full_record_and_the_head(make_job: MakeJob) -> None:
    job, benchmark = make_job(), _benchmark()
    assert benchmark.check(job) == []
    record = benchmark.run(job)
    top1 = [entry["top1"] for entry in record.details["epochs"]]
    assert record.metrics["top1"] == record.metrics["top1_best"] == max(top1)
    assert record.metrics["top1_last"] == top1[-1]
    assert record.selection is not None
    assert record.selection.by == "test set"
    assert record.details["backbone_unmoved"] is True
    assert record.details["precision"] == "float32"
    assert benchmark.recompute(job.workdir, record) == record.metrics
    state = torch.load(job.workdir / STATE_NAME, weights_only=True)
    assert state["optimizer"] is None
    assert state["modules"]["head"]["1.weight"].shape == (6, 512)


def test_a_broken_val_image_is_found_before_the_first_epoch(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_images(tmp_path / "images")
    path = data / "val" / "class5" / "class5_1.png"
    path.write_bytes(path.read_bytes()[:200])
    monkeypatch.setattr(training, "_train_epoch", lambda *args: pytest.fail("trained before the val images were seen"))
    with pytest.raises(DataError, match="class5_1.png"):
        _benchmark().run(make_job(data=data))


def test_the_chunk_of_a_forward_pass_does_not_change_the_result(make_job: MakeJob) -> None:
    benchmark = _benchmark(epochs=2)
    whole, pieces = benchmark.run(make_job("a")), benchmark.run(make_job("b", batch_size=5, workers=1))
    for a, b in zip(whole.details["epochs"], pieces.details["epochs"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, job = _benchmark(), make_job("b")
    expected = benchmark.run(make_job("a"))
    save = training._Saver.save

    def dying(saver: training._Saver) -> None:
        save(saver)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training._Saver, "save", dying)
        for _ in range(3):  # dies after every single epoch, the last one included
            with pytest.raises(KeyboardInterrupt):
                benchmark.run(job)
    found = benchmark.run(job)
    assert (found.metrics, found.details) == (expected.metrics, expected.details)
    assert (job.workdir / "predictions.npz").read_bytes() == (job.workdir.parent / "a" / "predictions.npz").read_bytes()


def test_a_backbone_that_moved_gives_no_number(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(_Probe):
        def train_mode(self) -> None:
            super().train_mode()
            self._encoder.network.train()  # batch norm would follow the training images

    monkeypatch.setattr(linear, "_Probe", Careless)
    job = make_job()
    with pytest.raises(RunError, match="frozen backbone's weights changed"):
        _benchmark(epochs=1).run(job)
    assert not (job.workdir / "predictions.npz").exists()


def test_check_names_what_is_wrong(make_job: MakeJob, tmp_path: Path) -> None:
    found = _benchmark(batch=47, replicas=1).check(make_job())
    assert [problem.message for problem in found] == [
        "48 training images in batches of 47 leave a last group of one, whose batch statistics are undefined; "
        "override recipe.batch or recipe.replicas"
    ]
