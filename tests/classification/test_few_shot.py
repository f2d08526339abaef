from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mec_transfer.backbone.backbone import Backbone, build_resnet
from mec_transfer.benchmark import Job
from mec_transfer.classification.config import FewShotConfig, LogisticConfig
from mec_transfer.classification.episodes import draw_episode, episode_units
from mec_transfer.classification.features import extract_features, labelled_splits
from mec_transfer.classification.few_shot import FewShot
from mec_transfer.common.config import load_config, load_yaml, merge, parse_config
from mec_transfer.common.errors import ConfigError, UserError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.common.runtime import derive_seed
from mec_transfer.suite.config import load_suite
from mec_transfer.suite.registry import benchmark_config, find_benchmark

MakeJob = Callable[..., Job]
FOLDER = CONFIGS / "classification"


def tiny(metric: str = "top1_2shot", **recipe: Any) -> FewShot:
    data = load_yaml(FOLDER / "few_shot_cars.yaml")
    small = {"view": {"resize": 36, "crop": 32}, "ways": 3, "shots": [2, 4], "queries": 5, "episodes": 25}
    over = {
        "dataset": {"name": "tiny", "folder": "tiny"},
        "recipe": {**small, **recipe},
        "metrics": {"primary": metric, "also": None},
    }
    return FewShot(parse_config(FewShotConfig, merge(data, over), "test"))


@pytest.fixture(scope="module")
def greys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of six greys that are hard to tell apart, ten images each."""
    root, rng = tmp_path_factory.mktemp("greys"), np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        for label in range(6):
            (root / split / f"class{label}").mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(rng.normal(120 + 4 * label, 60, size=(40, 40, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / f"class{label}" / f"{number}.png")
    return root


def test_a_job_is_the_published_prototypical_network(make_job: MakeJob, greys: Path) -> None:
    """As few_shot.py has it: squared distances in float32, the logarithm of their softmax, its maximum."""
    job, benchmark = make_job(data=greys), tiny()
    assert benchmark.check(job) == []
    job.workdir.mkdir(parents=True)
    record = benchmark.run(job)
    splits = labelled_splits(job)
    features = extract_features(job, splits, benchmark.config.recipe)
    values = torch.cat([features[split].values[:] for split in ("train", "val")])
    labels = torch.cat([features[split].labels for split in ("train", "val")])
    images = [np.flatnonzero(labels.numpy() == number) for number in range(6)]
    for shots in (2, 4):
        found = []
        for episode in range(25):
            classes, rows = draw_episode(images, 3, shots + 5, derive_seed(0, "few-shot", shots, episode))
            assert (labels[rows] == torch.from_numpy(classes)[:, None]).all()
            prototypes = values[rows[:, :shots]].mean(dim=1)
            queries = values[rows[:, shots:]].reshape(15, -1)
            distances = torch.pow(queries.unsqueeze(1) - prototypes.unsqueeze(0), 2).sum(dim=2)
            guesses = F.log_softmax(-distances, dim=1).view(3, 5, 3).max(dim=2).indices
            found.append(100.0 * (guesses == torch.arange(3)[:, None]).double().mean().item())
        metric = f"top1_{shots}shot"
        assert record.metrics[metric] == pytest.approx(np.mean(found), abs=1e-6)
        assert record.details["interval_95"][metric] == pytest.approx(1.96 * np.std(found) / 5, abs=1e-6)
        assert episode_units(job.workdir).measure(metric, np.eye(25, dtype=np.int32)).tolist() == pytest.approx(found)
    assert record.metrics == benchmark.recompute(job.workdir, record)
    assert 40 < record.metrics["top1_4shot"] < 95


def test_all_models_have_the_episodes_of_the_recipes_seed(make_job: MakeJob, resnet18: Backbone, greys: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        state = build_resnet("resnet18").state_dict()
    other = dataclasses.replace(resnet18, state_dict=dict(state))
    changes: list[dict[str, Any]] = [{}, {"trial": 1, "seed": 1}, {"backbone": other}, {}]
    truths, metrics = [], []
    for number, own in enumerate(changes):
        job = make_job(f"job{number}", data=greys, **own)
        job.workdir.mkdir(parents=True)
        metrics.append(tiny(seed=number // 3).run(job).metrics)
        truths.append(episode_units(job.workdir).truth)
        assert not (job.workdir / "features").exists()  # without a cache nothing is kept
    assert truths[0] == truths[1] == truths[2] != truths[3]
    assert metrics[0] == metrics[1] and metrics[0] not in (metrics[2], metrics[3])


def test_what_an_episode_lacks_is_told_before_anything_is_computed(make_job: MakeJob) -> None:
    (problem,) = tiny(queries=7).check(make_job())
    assert "an episode takes 11 images of a class (4 to learn from and 7 to classify), and there are" in problem.message
    assert "fewer of class0 (10), class1 (10)" in problem.message
    (problem,) = tiny(ways=7).check(make_job())
    assert "6 classes; an episode has 7: lower recipe.ways" in problem.message
    (problem,) = tiny("top1_5shot").check(make_job())
    assert problem.message == "metrics.primary: 'top1_5shot' is not one of top1_2shot, top1_4shot"


def test_a_missing_file_and_a_wrong_key(make_job: MakeJob) -> None:
    job = make_job()
    job.workdir.mkdir(parents=True)
    record = tiny().run(job)
    (job.workdir / "predictions.npz").unlink()
    with pytest.raises(UserError, match="no such file; the job left no predictions"):
        tiny().recompute(job.workdir, record)
    with pytest.raises(ConfigError, match=r"recipe\.shots.*must be 1 or more, and rising"):
        tiny(shots=[5, 5])
    with pytest.raises(ConfigError, match=r"dataset\.layout.*must be one of imagefolder.*, eurosat"):
        benchmark_config(FOLDER / "few_shot_cars.yaml", ["dataset.layout=voc"])
    with pytest.raises(ConfigError, match=r"dataset\.layout.*must be one of imagefolder"):
        benchmark_config(FOLDER / "cifar10_knn.yaml", ["dataset.layout=eurosat"])  # nothing to train and measure on


def test_a_squeezed_view_has_features_of_its_own(make_job: MakeJob, tmp_path: Path) -> None:
    computed = []
    for view in ({"resize": None}, {"resize": 36}, {"resize": 36, "reduce": 20}, {"resize": None}):
        job = make_job(f"job{len(computed)}", cache=tmp_path / "cache")
        job.workdir.mkdir(parents=True)
        computed.append(tiny(view={"crop": 32, **view}).run(job).details["features_computed"])
    assert computed == [60, 60, 60, 0]


def test_every_config_has_the_columns_of_its_shots_and_the_data_of_logistic_regression() -> None:
    suite = load_suite(CONFIGS / "suites" / "few_shot.yaml", ["a=random:resnet18"])
    names = [entry.config for entry in suite.benchmarks]
    assert sorted(names) == sorted(file.stem for file in FOLDER.glob("few_shot_*.yaml"))
    for name in names:
        config = benchmark_config(find_benchmark(name, CONFIGS))
        assert isinstance(config, FewShotConfig)
        columns = {config.metrics.primary: config.title, **config.metrics.also}
        head = config.title.removesuffix(" 5-shot")
        assert columns == {f"top1_{shots}shot": f"{head} {shots}-shot" for shots in config.recipe.shots}
        assert config.dataset.promised is not None
        same = FOLDER / name.replace("few_shot", "transfer")
        if same.with_suffix(".yaml").exists():
            other = load_config(LogisticConfig, same.with_suffix(".yaml")).dataset
            assert config.dataset.hashed() == other.hashed() and config.dataset.promised == other.promised
