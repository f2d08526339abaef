"""A trained head on images of another kind: which head is taken, and that only the set's own classes compete."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.benchmark import Job, describe_data
from mec_transfer.classification.config import LinearConfig, LinearFastConfig
from mec_transfer.classification.linear import Linear, _trained
from mec_transfer.classification.linear_fast import LinearFast
from mec_transfer.classification.robust import Robust
from mec_transfer.classification.robust_config import RobustConfig
from mec_transfer.classification.trained_head import HEAD_NAME
from mec_transfer.common.config import load_config, load_yaml, merge, parse_config
from mec_transfer.common.errors import UserError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.pixels import normalise
from mec_transfer.datasets.registry import open_data
from mec_transfer.datasets.shifted_config import ShiftedDatasetConfig
from mec_transfer.results.record import write_record
from mec_transfer.suite.registry import benchmark_config, find_benchmark
from tests.classification.conftest import TINY
from tests.classification.test_linear import SMALL

FOLDER = CONFIGS / "classification"
VIEW = {"resize": None, "crop": 32}
SHOWN = (1, 3, 4)
"""Which of the tiny data set's six classes the shifted images show."""


@pytest.fixture
def shifted(tiny_images: Path, tmp_path: Path) -> Path:
    """Noise in the classes' folders, whose colours say little."""
    rng, root = np.random.default_rng(3), tmp_path / "shifted"
    for label in SHOWN:
        (root / f"class{label}").mkdir(parents=True)
        for number in range(7):
            pixels = rng.integers(0, 256, size=(40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"class{label}" / f"{number}.png")
    return root


@pytest.fixture
def job(shifted: Path, tiny_images: Path, resnet18: Backbone, tmp_path: Path) -> Callable[..., Job]:
    """A job in a folder of tmp_path/runs, on the tiny data set or, called `robust`, on the shifted images."""

    def make(folder: str, **changes: Any) -> Job:
        config: DatasetConfig = TINY
        where = tiny_images
        if folder.startswith("robust"):
            config = ShiftedDatasetConfig(name="grey", layout="imagenet_classes", train=str(tiny_images))
            where = shifted
        data = open_data(config, where)
        made = Job(
            model_name="r18",
            backbone=resnet18,
            data=data,
            dataset=describe_data(data),
            workdir=tmp_path / "runs" / folder,
            device="cpu",
        )
        return dataclasses.replace(made, **changes)

    return make


def fast(**recipe: Any) -> LinearFast:
    small = {"view": VIEW, "learning_rates": [0.001, 0.03, 0.5], "epochs": 3, "batch": 16}
    over = {"protocol": "small-fast", "dataset": {"name": "tiny", "folder": "tiny"}, "recipe": {**small, **recipe}}
    return LinearFast(parse_config(LinearFastConfig, merge(load_yaml(FOLDER / "linear_fast.yaml"), over), "test"))


def mec() -> Linear:
    return Linear(parse_config(LinearConfig, merge(load_yaml(FOLDER / "linear_mec.yaml"), SMALL), "test"))


def robust(protocol: str, **recipe: Any) -> Robust:
    bilinear = {} if protocol == "small-fast" else {"interpolation": "bilinear"}
    over = {
        "protocol": "small-robust",
        "dataset": {"name": "grey"},
        "recipe": {"head": {"protocol": protocol}, "view": {**VIEW, **bilinear}, **recipe},
    }
    return Robust(parse_config(RobustConfig, merge(load_yaml(FOLDER / "robust_a_linear_fast.yaml"), over), "test"))


def reference(backbone: Backbone, images: list[Path], head: dict[str, np.ndarray]) -> list[list[float]]:
    """The scores of each image for all classes, image by image in float64."""
    network = backbone.module().double().eval()
    found = []
    for path in images:
        with Image.open(path) as picture:
            centre = np.asarray(picture.convert("RGB"))[4:36, 4:36]  # 32 of 40 pixels
        pixels = torch.from_numpy(centre.copy()).permute(2, 0, 1)[None]
        with torch.no_grad():
            x = network(normalise(pixels, backbone.preprocessing).double())[0].numpy()
        scaled = (x - head["mean"]) * head["scale"]
        found.append([float(row @ scaled + bias) for row, bias in zip(head["weight"], head["bias"], strict=True)])
    return found


@pytest.mark.parametrize("probe", [fast, mec])
def test_the_sets_own_classes_compete_and_the_number_of_all_stands_beside(
    probe: Callable[[], LinearFast | Linear], job: Callable[..., Job], shifted: Path, resnet18: Backbone
) -> None:
    linear, benchmark = probe(), robust(probe().config.protocol)
    taught, judged = job("linear"), job("robust")
    linear.run(taught)
    assert benchmark.check(judged) == []
    record = benchmark.run(judged)

    paths = sorted(shifted.rglob("*.png"))
    truth = [int(path.parent.name.removeprefix("class")) for path in paths]
    with np.load(taught.workdir / HEAD_NAME) as saved:
        scores = reference(resnet18, paths, {name: saved[name] for name in ("mean", "scale", "weight", "bias")})
    own = [max(SHOWN, key=lambda label: row[label]) for row in scores]
    every = [max(range(6), key=lambda label: row[label]) for row in scores]
    assert own != every  # else nothing would be told apart
    with np.load(judged.workdir / "predictions.npz") as saved:
        assert saved["targets"].tolist() == truth
        assert saved["top_subset"][:, 0].tolist() == own and saved["top_all"][:, 0].tolist() == every
        assert set(saved["top_subset"].flat) <= set(SHOWN)
    right = 100 * sum(guess == label for guess, label in zip(own, truth)) / len(truth)
    assert record.metrics["top1"] == record.metrics["top1_subset"] == pytest.approx(right)
    assert benchmark.recompute(judged.workdir, record) == record.metrics
    units = benchmark.config.units(judged.workdir, record)
    assert units is not None and len(units.sizes) == len(truth) and units.kind == "images"
    assert record.selection is not None and record.selection.by in ("held-out training images", "protocol")


def test_the_head_is_the_trained_one_with_its_batch_norm_in_evaluation() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = torch.nn.BatchNorm1d(5, eps=1e-3)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.copy_(torch.rand(5, generator=generator) + 0.5)
    module = torch.nn.Sequential(norm, torch.nn.Linear(5, 3)).eval()
    recipe = load_config(LinearConfig, FOLDER / "linear_mec.yaml").recipe
    head, x = _trained(module, recipe, ("a", "b", "c")), torch.randn(9, 5, generator=generator)
    torch.testing.assert_close(head.scores(x), module(x).detach())
    assert head.selection.chosen == "epoch 100 of 100" and head.view["crop"] == 224


def test_a_finished_training_leaves_its_head_once_more(job: Callable[..., Job]) -> None:
    """As for a probe that an earlier version finished, which left none."""
    linear, taught = mec(), job("linear")
    record = linear.run(taught)
    first = (taught.workdir / HEAD_NAME).read_bytes()
    (taught.workdir / HEAD_NAME).unlink()
    write_record(taught.workdir, record)
    (problem,) = robust("small").check(job("robust"))
    assert "linear is of an earlier version, which left none: delete its record.json" in problem.message
    assert linear.run(taught).metrics == record.metrics and (taught.workdir / HEAD_NAME).read_bytes() == first


def test_another_head_is_not_taken_and_the_message_says_whose_it_is(job: Callable[..., Job], tmp_path: Path) -> None:
    def message(benchmark: Robust, **changes: Any) -> str:
        (problem,) = benchmark.check(job("robust", **changes))
        assert "\n" not in problem.message and problem.severity == "error"
        return problem.message

    runs = tmp_path / "runs"
    assert message(robust("small-fast")).startswith(
        f"{runs}: no folder in it holds the head of a finished job by small-"
    )
    own = job("robust").dataset.model_copy(update={"note": "data of one's own"})
    assert "has an id of its own: --set recipe.head.protocol=ID" in message(robust("small-fast"), dataset=own)
    fast().run(job("linear"))
    assert "the one in linear is of another trial, another seed; run" in message(robust("small-fast"), trial=1, seed=1)
    later = {"protocol": "small-fast", "version": 3}
    assert "another version of the protocol" in message(robust("small-fast", head=later))
    assert "of protocol small-fast (--set recipe.head.protocol=small-fast)" in message(robust("else"))
    other = job("robust").dataset.model_copy(update={"train_fingerprint": "x"})
    assert "other training data" in message(robust("small-fast"), dataset=other)
    wide = robust("small-fast", view={"resize": None, "crop": 40})
    assert message(wide).startswith("recipe.view: is {'resize': None, 'crop': 40")
    whole = (runs / "linear" / HEAD_NAME).read_bytes()
    (runs / "linear" / HEAD_NAME).write_bytes(whole[:200])
    assert "no folder in it holds" in message(robust("small-fast"))
    with pytest.raises(UserError, match="no folder in it holds"):
        robust("small-fast").run(job("robust"))


def test_the_configs_name_the_heads_protocol_version_and_view() -> None:
    """A head's protocol cannot change without them."""
    for name in ("linear_fast", "linear_mec"):
        head = benchmark_config(find_benchmark(name, Path()))
        view = getattr(head.recipe, "view" if name == "linear_fast" else "eval_view")  # type: ignore[attr-defined]
        for data in ("v2", "a", "r", "sketch"):
            config = benchmark_config(find_benchmark(f"robust_{data}_{name}", Path()))
            assert isinstance(config, RobustConfig) and config.needs == head.protocol
            assert config.recipe.head.version == head.version and config.recipe.view == view
            assert config.recipe.mixed_precision == head.recipe.mixed_precision  # type: ignore[attr-defined]
