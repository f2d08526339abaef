"""k-NN classification on frozen features, in either of the two published conventions."""

from __future__ import annotations

import time

import numpy as np
import torch

from mec_transfer.benchmark import Job, Problem, make_record
from mec_transfer.classification.config import KnnConfig
from mec_transfer.classification.features import (
    Features,
    check_features,
    discard_features,
    extract_features,
    feature_details,
    one_class_splits,
)
from mec_transfer.classification.neighbours import nearest, vote
from mec_transfer.classification.predictions import (
    ClassificationBenchmark,
    best_classes,
    check_primary,
    save_predictions,
)
from mec_transfer.common import distributed
from mec_transfer.common.runtime import pick_device
from mec_transfer.results.record import Record, Selection


class Knn(ClassificationBenchmark):
    """Weighted k-NN on the central crop's features.

    What moves the number: features of length 1, cosine similarity, each of the k nearest training images votes for
    its class with exp(similarity / T); k, T and the interpolation of the resize, in which the conventions differ:
    k 20, T 0.07, bicubic (facebookresearch/dino eval_knn.py); k 200, T 0.1, bilinear (InstDisc, as in lightly).
    """

    config: KnnConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, crop, disk, and whether there are k training images."""
        recipe = self.config.recipe
        problems, splits = check_features(job, recipe, one_class_splits)
        if splits and max(recipe.ks) > len(splits["train"]):
            message = (
                f"recipe.ks: {max(recipe.ks)} neighbours of {len(splits['train'])} training images; lower it, "
                "for instance --set recipe.k=5 --set 'recipe.ks=[5]'"
            )
            problems.append(Problem(message=message))
        return problems + check_primary(self.config.metrics, (f"k{k}" for k in recipe.ks))

    def run(self, job: Job) -> Record:
        """Extract what features the cache lacks, and vote.

        Raises:
            DataError: the data set is not there, or an image of it cannot be decoded.
            RunError: the disk is full, or the backbone moved.
        """
        began, recipe = time.monotonic(), self.config.recipe
        splits = one_class_splits(job)
        features = extract_features(job, splits, recipe)
        extracted = time.monotonic()
        top = self._classify(features["train"], features["val"], len(splits["train"].classes), job)
        labels, primary = splits["val"].labels, f"k{recipe.k}"
        metrics = distributed.on_first(lambda: save_predictions(job.workdir, labels, top, primary))
        discard_features(job)
        details = {"knn_seconds": round(time.monotonic() - extracted, 3), "temperature": recipe.temperature}
        return make_record(
            self.config,
            job,
            metrics=metrics,
            selection=Selection(chosen=f"k {recipe.k}, T {recipe.temperature}", by="protocol"),
            seconds=time.monotonic() - began,
            details={**feature_details(features), **details},
        )

    def _classify(self, train: Features, val: Features, classes: int, job: Job) -> dict[str, np.ndarray]:
        """Return each k's best classes for all val images; each process judges a contiguous share of them."""
        recipe, device = self.config.recipe, pick_device(job.device)
        rank, world = distributed.rank(), distributed.world_size()
        share = val.values.between(len(val.values) * rank // world, len(val.values) * (rank + 1) // world)
        similarities, indices = nearest(train.values, share, max(recipe.ks), device)
        top = {}
        for k in recipe.ks:
            votes = vote(similarities[:, :k], indices[:, :k], train.labels, recipe.temperature, classes)
            top[f"k{k}"] = best_classes(votes.numpy())
        shares = distributed.gather_objects(top)
        return {tag: np.concatenate([part[tag] for part in shares]) for tag in top}


def knn_predict(
    train_features: torch.Tensor,
    train_labels: torch.Tensor,
    test_features: torch.Tensor,
    k: int,
    temperature: float,
    classes: int,
) -> torch.Tensor:
    """Classify `test_features` (M, D) by the k nearest of `train_features` (N, D): (M,) int64, on the CPU.

    Features of any length and on one device; `train_labels` is (N,) int64; k may not exceed N.
    """
    similarities, indices = nearest(train_features, test_features, k)
    votes = vote(similarities, indices, train_labels.cpu(), temperature, classes)
    return torch.from_numpy(best_classes(votes.numpy())[:, 0].copy())
