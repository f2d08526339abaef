"""The fast linear probe: features once, a whole grid of learning rates on them, the choice made without the val set."""

from __future__ import annotations

import time

import numpy as np
import torch

from mec_transfer.benchmark import Job, Problem, make_record
from mec_transfer.classification.config import LinearFastConfig, LinearFastRecipe
from mec_transfer.classification.feature_rows import PickedRows, on_device
from mec_transfer.classification.features import (
    Features,
    check_features,
    discard_features,
    extract_features,
    feature_details,
    one_class_splits,
)
from mec_transfer.classification.heads import Heads, HeadSettings, train_heads
from mec_transfer.classification.predictions import (
    ClassificationBenchmark,
    best_classes,
    check_primary,
    save_predictions,
)
from mec_transfer.classification.trained_head import TrainedHead, save_head
from mec_transfer.common.distributed import on_first
from mec_transfer.common.progress import Meter
from mec_transfer.common.runtime import derive_seed, pick_device
from mec_transfer.results.record import Record, Selection


class LinearFast(ClassificationBenchmark):
    """Linear probe on the central crop's features, without augmentation: not a published protocol, but minutes.

    One head for each learning rate is trained on the training images less the held-out ones; the head that is best
    on those names the learning rate (of equal ones the smallest). Then all heads are trained again on all training
    images, and the number is that of the chosen rate. The val images' labels play no part before that number.
    """

    config: LinearFastConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, crop, disk, and whether every class has an image to hold out and one to train on."""
        problems, splits = check_features(job, self.config.recipe, one_class_splits)
        if splits and np.bincount(splits["train"].labels).min() < 2:
            folder = job.data.folder
            message = f"{folder}: a class has only one training image; two are needed, to train on and to hold out"
            problems.append(Problem(message=message))
        return problems + check_primary(self.config.metrics, map(_tag, self.config.recipe.learning_rates))

    def run(self, job: Job) -> Record:
        """Extract what features the cache lacks, choose, train and judge.

        Raises:
            DataError: the data set is not there, or an image of it cannot be decoded.
            RunError: the disk is full, or the backbone moved.
        """
        began, recipe = time.monotonic(), self.config.recipe
        splits = one_class_splits(job)
        features = extract_features(job, splits, recipe)
        extracted = time.monotonic()
        classes = splits["train"].classes
        # The heads take seconds: rank 0 trains them for all.
        metrics, held_out = on_first(lambda: self._probe(features["train"], features["val"], classes, job))
        discard_features(job)  # not before every process has read them
        chosen = _choose(held_out)
        return make_record(
            self.config,
            job,
            metrics=metrics,
            selection=_selection(recipe.learning_rates[chosen]),
            seconds=time.monotonic() - began,
            warnings=_warnings(recipe.learning_rates, chosen),
            details={
                **feature_details(features),
                "probe_seconds": round(time.monotonic() - extracted, 3),
                "held_out_top1": dict(zip(map(_tag, recipe.learning_rates), held_out, strict=True)),
            },
        )

    def _probe(
        self, train: Features, val: Features, names: tuple[str, ...], job: Job
    ) -> tuple[dict[str, float], list[float]]:
        """Return the metrics on the val images, and each rate's top-1 on the held-out training images."""
        recipe, device = self.config.recipe, pick_device(job.device)
        rates, settings, classes = recipe.learning_rates, _settings(recipe), len(names)
        seed = derive_seed(job.seed, job.trial, "linear_fast")
        values, labels = on_device(train.values, device), train.labels.to(device)
        meter = Meter(f"{self.config.id} heads", 2 * recipe.epochs, "epochs")
        try:
            fit_on, held = split_held_out(train.labels, recipe.held_out, seed)
            kept, kept_labels = PickedRows(values, fit_on), train.labels[fit_on].to(device)
            heads = train_heads(kept, kept_labels, classes, rates, settings, seed, meter.advance)
            held_scores = heads.scores(PickedRows(values, held))
            guesses = torch.cat([scores.argmax(dim=2) for scores in held_scores])  # (held out, L)
            right = (guesses == train.labels[held, None]).sum(dim=0)
            heads = train_heads(values, labels, classes, rates, settings, seed, meter.advance)
        finally:
            meter.close()
        best = [best_classes(scores.numpy()) for scores in heads.scores(val.values)]
        top = {_tag(rate): np.concatenate([chunk[:, head] for chunk in best]) for head, rate in enumerate(rates)}
        held_out = [100.0 * int(count) / len(held) for count in right]
        chosen = _choose(held_out)
        save_head(self.config, job, _trained(heads, chosen, recipe, names))
        return save_predictions(job.workdir, val.labels.numpy(), top, _tag(rates[chosen])), held_out


def split_held_out(labels: torch.Tensor, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw `share` of each class's images, at least one and never all: (kept, held out), both rising indices."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "held out"))
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        of_class = (labels == label).nonzero()[:, 0]
        count = min(max(1, round(share * len(of_class))), len(of_class) - 1)
        held[of_class[torch.randperm(len(of_class), generator=generator)[:count]]] = True
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def _choose(held_out: list[float]) -> int:
    return held_out.index(max(held_out))


def _selection(rate: float) -> Selection:
    return Selection(chosen=f"lr {rate:g}", by="held-out training images")


def _trained(heads: Heads, chosen: int, recipe: LinearFastRecipe, classes: tuple[str, ...]) -> TrainedHead:
    own = slice(chosen * len(classes), (chosen + 1) * len(classes))
    return TrainedHead(
        mean=heads.mean,
        scale=heads.scale,
        weight=heads.weight[:, own].T.contiguous(),
        bias=heads.bias[own],
        classes=classes,
        view=recipe.view.model_dump(mode="json"),
        selection=_selection(recipe.learning_rates[chosen]),
    )


def _warnings(rates: tuple[float, ...], chosen: int) -> list[str]:
    if 0 < chosen < len(rates) - 1:
        return []
    where = "lower" if chosen == 0 else "upper"
    return [f"the best learning rate, {rates[chosen]:g}, is the {where} end of the grid: a better one may lie beyond"]


def _tag(rate: float) -> str:
    return f"lr{rate:g}"


def _settings(recipe: LinearFastRecipe) -> HeadSettings:
    """Return what all heads have in common."""
    return HeadSettings(
        epochs=recipe.epochs,
        batch=recipe.batch,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        norm_eps=recipe.head_norm_eps,
        head_std=recipe.head_std,
    )
