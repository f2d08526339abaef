"""Evaluation gives the same numbers, bit by bit, whether the images lie in shards or in files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mec_transfer.benchmark import Job, describe_data
from mec_transfer.classification.features import features_folder
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.images.folders import open_unlabelled
from mec_transfer.datasets.images.shard_writer import write_splits
from mec_transfer.suite.registry import load_benchmark

KNN = ["dataset.name=tiny", "recipe.view.resize=null", "recipe.view.crop=32", "recipe.ks=[1, 5]", "recipe.k=5"]
SEMISUP = [
    *("dataset.name=tiny", "recipe.eval_view.resize=null", "recipe.eval_view.crop=32", "recipe.train_crop=32"),
    *("recipe.labels=50%", "recipe.epochs=1", "recipe.batch=16", "recipe.replicas=2"),
]


@pytest.fixture(scope="module")
def sharded(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sharded") / "images"
    write_splits({split: open_unlabelled(tiny_images / split) for split in ("train", "val")}, out, 50_000)
    assert len(list(out.rglob("*.tar"))) > 4
    return out


@pytest.mark.parametrize(
    ("config", "overrides"),
    [("knn_dino", KNN), ("semisup_1pct_barlow", SEMISUP)],  # one on frozen features, one that trains
)
def test_shards_give_the_numbers_of_the_folder(
    make_job: Callable[..., Job], tmp_path: Path, tiny_images: Path, sharded: Path, config: str, overrides: list[str]
) -> None:
    benchmark = load_benchmark(CONFIGS / "classification" / f"{config}.yaml", overrides)
    jobs, records = [], []
    for data, workers in ((tiny_images, 0), (sharded, 1)):
        job = make_job(data.parent.name, data=data, workers=workers, cache=tmp_path / data.parent.name / "cache")
        jobs.append(dataclasses.replace(job, dataset=describe_data(job.data)))
        assert benchmark.check(jobs[-1]) == []
        records.append(benchmark.run(jobs[-1]))
    loose, packed = records
    assert packed.metrics == loose.metrics and packed.selection == loose.selection
    assert packed.dataset == loose.dataset and packed.details.get("labels") == loose.details.get("labels")
    predictions = [dict(np.load(job.workdir / "predictions.npz")) for job in jobs]
    assert predictions[0].keys() == predictions[1].keys()
    assert all(np.array_equal(value, predictions[1][name]) for name, value in predictions[0].items())
    parts = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("part-*")}
        for folder in map(features_folder, jobs)
    ]
    assert parts[0] == parts[1] and bool(parts[0]) == (config == "knn_dino")
