"""Robustness: a linear head that ImageNet has trained, on images of the same classes that are of another kind."""

from __future__ import annotations

import time

import numpy as np

from mec_transfer.benchmark import Job, Problem, make_record
from mec_transfer.classification.features import (
    check_features,
    discard_features,
    extract_features,
    feature_details,
    one_class_splits,
)
from mec_transfer.classification.predictions import (
    ClassificationBenchmark,
    best_classes,
    check_primary,
    save_predictions,
)
from mec_transfer.classification.robust_config import RobustConfig
from mec_transfer.classification.trained_head import TrainedHead, find_head
from mec_transfer.common.distributed import on_first
from mec_transfer.common.errors import UserError
from mec_transfer.datasets.images.shifted import ShiftedData
from mec_transfer.results.record import Record

_CHUNK = 1024


class Robust(ClassificationBenchmark):
    """The head of a finished linear probe on ImageNet-V2, -A, -R or -Sketch, as their authors evaluate a network.

    Only the classes that the data set has compete with each other (`subset`, the record's number); the number with all
    classes of the training set stands beside it (`all`). Nothing is trained or chosen here.
    """

    config: RobustConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, crop, disk, and whether the head is there and fits."""
        problems, _ = check_features(job, self.config.recipe, one_class_splits)
        try:
            self._head(job)
        except UserError as error:
            problems.append(Problem(message=str(error)))
        return problems + check_primary(self.config.metrics, ("subset", "all"))

    def run(self, job: Job) -> Record:
        """Extract what features the cache lacks, and judge them.

        Raises:
            DataError: the data set is not there, or an image of it cannot be decoded.
            UserError: the head is no longer there.
            RunError: the disk is full, or the backbone moved.
        """
        began = time.monotonic()
        assert isinstance(job.data, ShiftedData)
        head, numbers = self._head(job), job.data.numbers
        splits = one_class_splits(job)
        features = extract_features(job, splits, self.config.recipe)
        values, targets = features["val"].values, numbers[splits["val"].labels]

        def judge() -> dict[str, float]:
            chunks = [head.scores(values[at : at + _CHUNK]).numpy() for at in range(0, len(values), _CHUNK)]
            top = {
                "subset": np.concatenate([numbers[best_classes(scores[:, numbers])] for scores in chunks]),
                "all": np.concatenate([best_classes(scores) for scores in chunks]),
            }
            return save_predictions(job.workdir, targets, top, primary="subset")

        metrics = on_first(judge)
        discard_features(job)  # not before every process has read them
        return make_record(
            self.config,
            job,
            metrics=metrics,
            selection=head.selection,
            seconds=time.monotonic() - began,
            details={**feature_details(features), "classes": len(numbers), "classes_of_head": len(head.classes)},
        )

    def _head(self, job: Job) -> TrainedHead:
        """Return the head. Raises UserError where there is none, or it does not fit."""
        assert isinstance(job.data, ShiftedData)
        wanted = self.config.recipe.head
        head = find_head(wanted.protocol, wanted.version, job)
        if head.classes != job.data.train_classes:
            raise UserError(f"{job.data.train_folder}: its classes are not those of the head by {wanted.protocol}")
        if head.view != (view := self.config.recipe.view.model_dump(mode="json")):
            raise UserError(f"recipe.view: is {view}, and the head by {wanted.protocol} judges images by {head.view}")
        return head
