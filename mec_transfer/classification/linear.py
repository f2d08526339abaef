"""MEC's linear probe: a batch-normalised linear head, trained with LARC on a backbone that does not move."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from mec_transfer.benchmark import Job, Problem
from mec_transfer.classification.batches import BatchPlan, Part, TrainingImages
from mec_transfer.classification.config import (
    LinearConfig,
    LinearRecipe,
    LinearSgdConfig,
    LinearSgdRecipe,
    ViewConfig,
)
from mec_transfer.classification.features import one_class_splits
from mec_transfer.classification.network import Encoder, ValImages, broadcast_state
from mec_transfer.classification.optim import LarcSGD, make_linear
from mec_transfer.classification.predictions import ClassificationBenchmark
from mec_transfer.classification.recipe import check_training, finish
from mec_transfer.classification.trained_head import TrainedHead, save_head
from mec_transfer.classification.training import Trainee, fit
from mec_transfer.classification.transforms import eval_transform, train_transform
from mec_transfer.common.device import copies_pinned_memory
from mec_transfer.common.distributed import on_first
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.progress import say
from mec_transfer.common.runtime import derive_seed, pick_device
from mec_transfer.results.record import Record, Selection

_CHUNK = 256


class _LinearProbe(ClassificationBenchmark):
    """A linear head behind a batch norm, trained on images cut anew in every epoch."""

    config: LinearConfig | LinearSgdConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, the recipe's fit to them, the disk."""
        recipe = self.config.recipe
        if job.data.problems:
            return [Problem(message=message) for message in job.data.problems]
        try:
            train, val = one_class_splits(job).values()
            plan = _plan(recipe, len(train), job)
        except UserError as error:
            return [Problem(message=str(error))]
        return check_training(
            plan, val, recipe, self.config.metrics, job, trained=job.backbone.width * len(train.classes)
        )

    def run(self, job: Job) -> Record:
        """Train the head; go on after the last whole epoch of an earlier attempt.

        Raises:
            DataError: the data set is not there, or an image of it cannot be decoded.
            RunError: the loss is no longer finite, the disk is full, or the backbone moved.
        """
        recipe = self.config.recipe
        train, val = one_class_splits(job).values()
        device, seed = pick_device(job.device), derive_seed(job.seed, job.trial, "linear")
        encoder = Encoder(job.backbone, device, recipe.mixed_precision, channels_last=True)
        before = encoder.sha256()
        val_images = ValImages(val, eval_transform(recipe.eval_view), job.workers, device, job.batch_size)
        cut = train_transform(ViewConfig(resize=None, crop=recipe.train_crop))
        data = TrainingImages(
            train, cut, _plan(recipe, len(train), job), seed, job.workers, copies_pinned_memory(device)
        )
        probe = _Probe(recipe, encoder, val_images, derive_seed(seed, "head"))
        state = fit(
            probe,
            data,
            title=self.config.id,
            key=job.key(self.config),
            folder=job.workdir,
            epochs=recipe.epochs,
            schedule=recipe.schedule,
            targets=val.labels,
        )
        if encoder.sha256() != before:
            raise RunError(
                f"{self.config.id}: the frozen backbone's weights changed during the run; no number is given"
            )
        on_first(lambda: save_head(self.config, job, _trained(probe.head, recipe, val.classes)))
        details = {"precision": encoder.precision, "backbone_unmoved": True}
        return finish(self.config, job, state, val.labels, details=details)


class Linear(_LinearProbe):
    """Linear probe as published with MEC (`benchmarks/linearprob/main_lincls.py` and README of xinliu20/MEC).

    What moves the number: the features of every epoch come from freshly cut images; the head's batch norm
    takes its statistics over the whole batch of 4096 while training and its running averages on the val set;
    LARC; base lr 0.03 per 256 images; 100 epochs, cosine by epochs; the best epoch on the val set is reported.
    """

    config: LinearConfig


class LinearSgd(_LinearProbe):
    """VISSL's linear probe, as its configs have it for Places205 and iNaturalist 2018.

    What moves the number: SGD with Nesterov's momentum; weight decay of all but the batch norm, which has weights; lr
    0.01 at a batch of 256, divided by 10 three times; 14 epochs or 84; the best epoch on the val set is reported.
    """

    config: LinearSgdConfig


def _plan(recipe: LinearRecipe | LinearSgdRecipe, images: int, job: Job) -> BatchPlan:
    return BatchPlan(
        images=images, batch=recipe.batch, replicas=recipe.replicas, joint=True, part=job.batch_size or _CHUNK
    )


class _Probe(Trainee):
    """The head on a frozen backbone.

    Every process computes the features of its share; all of them then train the same head on the whole batch.
    """

    kept = ("head",)

    def __init__(self, recipe: LinearRecipe | LinearSgdRecipe, encoder: Encoder, val: ValImages, seed: int) -> None:
        width, classes = encoder.backbone.width, len(val.images.classes)
        self.head = torch.nn.Sequential(
            torch.nn.BatchNorm1d(width, eps=recipe.head_norm_eps, affine=isinstance(recipe, LinearSgdRecipe)),
            make_linear(width, classes, recipe.head_std, seed),
        ).to(encoder.device)
        self.modules = {"head": self.head}
        self.optimizer = _optimizer(recipe, self.head)
        self._encoder = encoder
        self._val = val
        self._val_features: torch.Tensor | None = None
        encoder.network.requires_grad_(False).eval()

    @torch.no_grad()
    def prepare(self) -> None:
        """Compute the features of the val images, which do not move."""
        say(f"features of {len(self._val.images)} val images")
        self._val_features = self._val.map(self._encoder)

    def train_mode(self) -> None:
        """The head alone: the backbone stays as it was, BN statistics included."""
        self.head.train()

    def backward(self, replica: int, parts: Iterator[Part]) -> torch.Tensor:
        """Take the gradient of the whole batch, whose features are gathered from all processes."""
        encoded = [(self._encoder(images), labels.to(self._encoder.device)) for images, labels in parts]
        features = _interleave(torch.cat([features for features, _ in encoded]))
        labels = _interleave(torch.cat([labels for _, labels in encoded]))
        loss = torch.nn.functional.cross_entropy(self.head(features), labels)
        loss.backward()
        return loss.detach()

    def reduce(self, loss: torch.Tensor) -> torch.Tensor:
        """Nothing to bring together: every process has seen the whole batch."""
        return loss

    @torch.no_grad()
    def predict(self) -> np.ndarray:
        """Judge the val images by their features, which a frozen backbone need compute only once."""
        assert self._val_features is not None  # since `prepare`
        broadcast_state(self.head)
        self.head.eval()
        return self._val.gather_top(torch.cat([self.head(chunk) for chunk in self._val_features.split(_CHUNK)]))


def _trained(
    head: torch.nn.Sequential, recipe: LinearRecipe | LinearSgdRecipe, classes: tuple[str, ...]
) -> TrainedHead:
    """Return the head of the last epoch, which no test images have chosen, with its batch norm in evaluation."""
    norm, linear = head
    assert isinstance(norm, torch.nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
    assert isinstance(linear, torch.nn.Linear)
    scale, bias = (norm.running_var + norm.eps).rsqrt(), linear.bias.detach()
    if norm.affine:
        scale, bias = scale * norm.weight.detach(), bias + linear.weight.detach() @ norm.bias.detach()
    return TrainedHead(
        mean=norm.running_mean,
        scale=scale,
        weight=linear.weight.detach(),
        bias=bias,
        classes=classes,
        view=recipe.eval_view.model_dump(mode="json"),
        selection=Selection(chosen=f"epoch {recipe.epochs} of {recipe.epochs}", by="protocol"),
    )


def _optimizer(recipe: LinearRecipe | LinearSgdRecipe, head: torch.nn.Sequential) -> torch.optim.SGD:
    rate = recipe.base_lr * recipe.batch / 256
    if isinstance(recipe, LinearRecipe):
        return LarcSGD(
            head.parameters(),
            lr=rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            trust_coefficient=recipe.larc.trust_coefficient,
            eps=recipe.larc.eps,
        )
    norm, linear = head
    decayed = {"params": list(linear.parameters()), "weight_decay": recipe.weight_decay}
    return torch.optim.SGD(
        [decayed, {"params": list(norm.parameters()), "weight_decay": 0.0}],
        lr=rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )


def _interleave(share: torch.Tensor) -> torch.Tensor:
    """Return the whole batch in its order, given this process's share of it (every W-th row)."""
    if not torch.distributed.is_initialized():
        return share
    shares = [torch.empty_like(share) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(shares, share.contiguous())
    return torch.stack(shares, dim=1).flatten(0, 1)
