"""Finished jobs of classification: records and predictions of made-up models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mec_transfer.classification.predictions import save_predictions
from mec_transfer.common.files import write_json
from mec_transfer.results.record import DatasetInfo, ModelInfo, Record, write_record
from mec_transfer.results.store import JOB_NAME
from mec_transfer.suite.registry import benchmark_config, find_benchmark

CLASSES, IMAGES = 10, 400


def write_job(
    out: Path,
    model: str,
    right: float,
    *,
    config: str = "knn_dino",
    overrides: tuple[str, ...] = (),
    weights: str = "",
    trial: int = 0,
    seed: int | None = None,
    fingerprint: str = "f" * 64,
    images: int = IMAGES,
    data_seed: int = 0,
    failed: bool = False,
) -> Path:
    """Write a job below `out` of a model that is `right` in that share of the images; return its folder.

    The images are alike for all models: which are hard does not depend on the model or the trial.
    """
    data = np.random.default_rng(data_seed)
    targets, hard = data.integers(0, CLASSES, images), data.random(images)
    mine = np.random.default_rng([trial, *model.encode()])
    first = np.where(hard + 0.3 * (mine.random(images) - 0.5) < right, targets, (targets + 1) % CLASSES)
    top = (first[:, None] + np.arange(5)) % CLASSES
    benchmark = benchmark_config(find_benchmark(config, Path()), overrides)
    tag = benchmark.metrics.primary.partition("_")[2] or "k20"
    folder = out / "jobs" / model / f"{benchmark.id}-{benchmark.sha256[:8]}-t{trial}"
    folder.mkdir(parents=True)
    metrics = save_predictions(folder, targets, {tag: top}, tag)
    record = Record(
        status="failed" if failed else "ok",
        error="the disk is full" if failed else None,
        model=ModelInfo(name=model, sha256=(weights or model).encode().hex().ljust(64, "0")[:64], arch="resnet50"),
        benchmark=benchmark.info(),
        trial=trial,
        seed=trial if seed is None else seed,
        metrics={} if failed else metrics,
        primary=benchmark.metrics.primary,
        dataset=DatasetInfo(name="imagenet", fingerprint=fingerprint, num_images=images),
    )
    write_record(folder, record)
    write_json(folder / JOB_NAME, {"config": benchmark.model_dump(mode="json")})
    return folder
