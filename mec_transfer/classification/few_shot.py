"""Few-shot classification on frozen features: the nearest mean of a few images, over many episodes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from mec_transfer.benchmark import Benchmark, Job, Problem, make_record, primary_problems
from mec_transfer.classification.config import FewShotConfig
from mec_transfer.classification.episodes import accuracies, draw_episode, interval, measure, nearest_prototypes
from mec_transfer.classification.feature_rows import FeatureRows
from mec_transfer.classification.features import (
    Features,
    check_features,
    discard_features,
    extract_features,
    feature_details,
    one_class_splits,
)
from mec_transfer.common.arrays import PREDICTIONS_NAME, measure_saved, save_arrays
from mec_transfer.common.distributed import on_first
from mec_transfer.common.progress import Meter
from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.values import few
from mec_transfer.results.record import Record, Selection


class FewShot(Benchmark):
    """The nearest class mean, by Euclidean distance, of features that are used as they are (a prototypical network).

    Episodes are drawn from the images of all splits together: classes, and of each of them images to take the mean of
    and others to classify. What moves the number: how many of each, and that features are neither normalised nor
    centred. Every image's feature is computed once, and all episodes use it.
    """

    config: FewShotConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, crop, disk, whether the classes have enough images for an episode, and the metrics' names."""
        problems, splits = check_features(job, self.config.recipe, one_class_splits)
        if splits:
            problems += [Problem(message=message) for message in self._too_few(job, splits)]
        measured = [f"top1_{shots}shot" for shots in self.config.recipe.shots]
        return problems + primary_problems(self.config, measured)

    def _too_few(self, job: Job, splits: Mapping[str, ImageList]) -> Iterator[str]:
        """Yield what keeps episodes from being drawn."""
        recipe, images = self.config.recipe, _by_class(splits)
        names = next(iter(splits.values())).classes
        if len(names) < recipe.ways:
            yield f"{job.data.folder}: {len(names)} classes; an episode has {recipe.ways}: lower recipe.ways"
        each = max(recipe.shots) + recipe.queries
        if short := [f"{name} ({len(own)})" for name, own in zip(names, images, strict=True) if len(own) < each]:
            yield (
                f"{job.data.folder}: an episode takes {each} images of a class ({max(recipe.shots)} to learn from and "
                f"{recipe.queries} to classify), and there are fewer of {few(short)}; lower recipe.shots or "
                "recipe.queries"
            )

    def run(self, job: Job) -> Record:
        """Extract what features the cache lacks, then draw and measure the episodes.

        Raises:
            DataError: the data set is not there, or an image of it cannot be decoded.
            RunError: the disk is full, or the backbone moved.
        """
        began = time.monotonic()
        splits = one_class_splits(job)
        features = extract_features(job, splits, self.config.recipe)
        extracted = time.monotonic()
        episodes = on_first(lambda: self._run_episodes(features, splits, job))
        discard_features(job)  # not before every process has read them
        recipe = self.config.recipe
        return make_record(
            self.config,
            job,
            metrics=measure(episodes),
            selection=Selection(chosen=f"{recipe.ways} ways, {recipe.episodes} episodes", by="protocol"),
            seconds=time.monotonic() - began,
            details={
                **feature_details(features),
                "episode_seconds": round(time.monotonic() - extracted, 3),
                "episodes": recipe.episodes,
                "interval_95": {metric: interval(values) for metric, values in accuracies(episodes).items()},
            },
        )

    def _run_episodes(
        self, features: Mapping[str, Features], splits: Mapping[str, ImageList], job: Job
    ) -> dict[str, np.ndarray]:
        """Draw and classify, and return the arrays of `predictions.npz`."""
        recipe, images = self.config.recipe, _by_class(splits)
        rows = FeatureRows([part for split in splits for part in features[split].values.parts])
        meter = Meter(f"{self.config.id} episodes", len(recipe.shots) * recipe.episodes, "episodes")
        arrays = {"shots": np.array(recipe.shots), "class_names": np.array(next(iter(splits.values())).classes)}
        try:
            for shots in recipe.shots:
                drawn: list[tuple[np.ndarray, ...]] = []
                for episode in range(recipe.episodes):
                    seed = derive_seed(recipe.seed, "few-shot", shots, episode)
                    classes, picked = draw_episode(images, recipe.ways, shots + recipe.queries, seed)
                    values = rows[torch.from_numpy(picked.ravel())].numpy().reshape(*picked.shape, -1)
                    values = values.astype(np.float64)
                    nearest = nearest_prototypes(values[:, :shots], values[:, shots:])
                    drawn.append((classes, picked[:, shots:], nearest))
                    meter.advance(1)
                classes, queries, nearest = (np.stack(found) for found in zip(*drawn, strict=True))
                arrays[f"classes_{shots}"] = classes.astype(np.int32)
                arrays[f"queries_{shots}"] = queries.astype(np.int32)
                arrays[f"nearest_{shots}"] = nearest.astype(np.uint8)
        finally:
            meter.close()
        save_arrays(job.workdir / PREDICTIONS_NAME, **arrays)
        return arrays

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """Recompute the metrics from the classes that the queries were taken for."""
        return measure_saved(folder, measure, ("shots",))


def _by_class(splits: Mapping[str, ImageList]) -> list[np.ndarray]:
    """Return which images are of each class, (n,) int64, counted through all splits."""
    labels = np.concatenate([images.labels for images in splits.values()])
    return [np.flatnonzero(labels == number) for number in range(len(next(iter(splits.values())).classes))]
