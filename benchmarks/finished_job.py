"""A finished job opened again, for scripts that put a published program beside its numbers."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.benchmark import Benchmark, Job, describe_data
from mec_transfer.classification.features import Features, extract_features, labelled_splits
from mec_transfer.common.arrays import PREDICTIONS_NAME
from mec_transfer.common.files import read_json
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.registry import open_data
from mec_transfer.suite.registry import saved_benchmark


@dataclasses.dataclass(frozen=True)
class FinishedJob:
    """A job on frozen features: what it measured, and what it measured that on."""

    recipe: Any
    record: Mapping[str, Any]
    """Its `record.json`."""
    splits: Mapping[str, ImageList]
    features: Mapping[str, Features]
    """The features of each split. Those that the cache lacks are computed again."""
    predictions: dict[str, np.ndarray]
    """The arrays of its `predictions.npz`."""


def open_finished(kind: type[Benchmark], words: Sequence[str]) -> FinishedJob:
    """Open the job that `words` name, JOB CKPT DIR CACHE, and print how many features had to be computed.

    Raises:
        SystemExit: there are not four words, or the job is not of this kind.
        UserError: a file of the job, the checkpoint or the data is not there or damaged.
    """
    if len(words) != 4:
        raise SystemExit(
            f"{sys.argv[0]}: takes a published checkout, JOB, CKPT, DIR and CACHE; its first lines say more"
        )
    folder, checkpoint, data, cache = words
    benchmark = saved_benchmark(Path(folder))
    if not isinstance(benchmark, kind):
        raise SystemExit(f"{folder}: a job of {benchmark.config.id}; this script is for {kind.__name__}")
    opened = open_data(benchmark.config.dataset, Path(data))
    job = Job(
        model_name="parity",
        backbone=resolve_backbone(checkpoint),
        data=opened,
        dataset=describe_data(opened),
        workdir=Path(folder),
        cache=Path(cache),
        device="cpu",
    )
    config: Any = benchmark.config
    splits = labelled_splits(job)
    features = extract_features(job, splits, config.recipe)
    print(f"features computed now: {sum(part.computed for part in features.values())}")
    with np.load(Path(folder) / PREDICTIONS_NAME) as saved:
        predictions = dict(saved)
    return FinishedJob(config.recipe, read_json(Path(folder) / "record.json"), splits, features, predictions)
