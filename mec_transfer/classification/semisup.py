"""Semi-supervised finetuning: the whole network trained on 1 %, 10 % or a list of labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from mec_transfer.backbone import syncbn
from mec_transfer.benchmark import Job, Problem
from mec_transfer.classification.batches import BatchPlan, Part, TrainingImages
from mec_transfer.classification.config import SemisupConfig, SemisupRecipe, ViewConfig
from mec_transfer.classification.features import one_class_splits
from mec_transfer.classification.network import Encoder, ValImages, broadcast_state
from mec_transfer.classification.optim import make_linear
from mec_transfer.classification.predictions import ClassificationBenchmark
from mec_transfer.classification.recipe import check_training, finish
from mec_transfer.classification.training import Trainee, fit
from mec_transfer.classification.transforms import eval_transform, train_transform
from mec_transfer.common.device import copies_pinned_memory
from mec_transfer.common.distributed import sum_gradients
from mec_transfer.common.errors import UserError
from mec_transfer.common.runtime import derive_seed, pick_device
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.labels import LabelSubset, label_subset
from mec_transfer.datasets.values import few
from mec_transfer.results.record import DatasetInfo, Record


class Semisup(ClassificationBenchmark):
    """Finetuning on few labels, as published with Barlow Twins, VICReg and SwAV (each YAML names its source).

    What moves the number: the list of labels; separate rates for backbone and head; how many images batch norm
    sees together; the head's start; 20 epochs of random crops and flips, no weight decay; the best epoch on the
    val set is reported.
    """

    config: SemisupConfig

    def check(self, job: Job) -> list[Problem]:
        """Data, the list of labels, the recipe's fit to them, the disk."""
        recipe = self.config.recipe
        if job.data.problems:
            return [Problem(message=message) for message in job.data.problems]
        try:
            train, val = one_class_splits(job).values()
            labelled = train.subset(self._labels(train, job).indices)
            plan = _plan(recipe, len(labelled))
        except UserError as error:
            return [Problem(message=str(error))]
        problems = []
        absent = sorted(set(range(len(train.classes))) - set(labelled.labels.tolist()))
        if absent:
            names = few(train.classes[i] for i in absent)
            problems.append(
                Problem(
                    message=f"labels {recipe.labels}: no image of {len(absent)} of {len(train.classes)} "
                    f"classes ({names}); a class without a label can never be predicted: add one"
                )
            )
        weights = sum(tensor.numel() for tensor in job.backbone.state_dict.values())
        trained = weights + job.backbone.width * len(train.classes)
        return problems + check_training(plan, val, recipe, self.config.metrics, job, trained)

    def run(self, job: Job) -> Record:
        """Finetune; go on after the last whole epoch of an earlier attempt.

        Raises:
            DataError: the data set or the list of labels is not there, or an image cannot be decoded.
            RunError: the loss is no longer finite, or the disk is full.
        """
        recipe = self.config.recipe
        train, val = one_class_splits(job).values()
        labels = self._labels(train, job)
        labelled = train.subset(labels.indices)
        device, seed = pick_device(job.device), derive_seed(job.seed, job.trial, "semisup")
        plan = _plan(recipe, len(labelled))
        encoder = Encoder(job.backbone, device, recipe.mixed_precision, channels_last=True)
        val_images = ValImages(val, eval_transform(recipe.eval_view), job.workers, device, job.batch_size)
        cut = train_transform(ViewConfig(resize=None, crop=recipe.train_crop))
        state = fit(
            _Finetuning(recipe, encoder, plan, val_images, derive_seed(seed, "head")),
            TrainingImages(labelled, cut, plan, seed, job.workers, copies_pinned_memory(device)),
            title=self.config.id,
            key=job.key(self.config),
            folder=job.workdir,
            epochs=recipe.epochs,
            schedule=recipe.schedule,
            targets=val.labels,
        )
        details = {
            "precision": encoder.precision,
            "labels": {"name": labels.name, "images": len(labelled), "sha256": labels.sha256},
        }
        return finish(self.config, job, state, val.labels, dataset=_noted(job.dataset, labels), details=details)

    def _labels(self, train: ImageList, job: Job) -> LabelSubset:
        """The split of a data set without a published list is drawn from seed 0 for every job: it is data."""
        dataset, root = self.config.dataset.name, job.data.folder
        return label_subset(train, self.config.recipe.labels, dataset=dataset, root=root, seed=0)


def _plan(recipe: SemisupRecipe, images: int) -> BatchPlan:
    return BatchPlan(images=images, batch=recipe.batch, replicas=recipe.replicas, joint=recipe.sync_bn)


def _noted(dataset: DatasetInfo, labels: LabelSubset) -> DatasetInfo:
    """Say which labels were used, where they are not the published list."""
    if not labels.note:
        return dataset
    note = f"{labels.note} ({len(labels.indices)} images, sha256 of their names {labels.sha256[:16]})"
    return dataset.model_copy(update={"note": "; ".join(filter(None, (dataset.note, note)))})


class _Finetuning(Trainee):
    """Backbone and head trained together, replica by replica, as the processes of the published run did.

    The gradients of the replicas are averaged, and the running statistics are those of replica 0 alone:
    that is what DistributedDataParallel does with them, by giving everybody the buffers of rank 0.
    """

    def __init__(self, recipe: SemisupRecipe, encoder: Encoder, plan: BatchPlan, val: ValImages, seed: int) -> None:
        if recipe.sync_bn:
            encoder.network = syncbn.convert(encoder.network, encoder.device)
        self.head = make_linear(encoder.backbone.width, len(val.images.classes), recipe.head_std, seed)
        self.head.to(encoder.device)
        self.modules = {"backbone": encoder.network, "head": self.head}
        self.optimizer = torch.optim.SGD(
            [
                {"params": list(encoder.network.parameters()), "lr": recipe.lr_backbone},
                {"params": list(self.head.parameters()), "lr": recipe.lr_head},
            ],
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self._encoder, self._val = encoder, val
        self._joint = plan.joint
        self._groups = plan.world if plan.joint else plan.replicas

    def train_mode(self) -> None:
        """All of it, batch norm included."""
        for module in self.modules.values():
            module.train()

    def backward(self, replica: int, parts: Iterator[Part]) -> torch.Tensor:
        """Add the gradient of one replica's images, normalised by themselves."""
        batches = list(parts)
        images = torch.cat([images for images, _ in batches])
        labels = torch.cat([labels for _, labels in batches]).to(self._encoder.device)
        with _running_statistics(self._encoder.network, update=replica == 0 or self._joint):
            logits = self.head(self._encoder(images))
        loss = torch.nn.functional.cross_entropy(logits, labels) / self._groups
        self._encoder.backward(loss)
        return loss.detach()

    def reduce(self, loss: torch.Tensor) -> torch.Tensor:
        """Add gradients and loss up over the processes, in one message."""
        return sum_gradients(loss, (p for group in self.optimizer.param_groups for p in group["params"]))

    def predict(self) -> np.ndarray:
        """Judge the val images by rank 0's network."""
        for module in self.modules.values():
            broadcast_state(module)
            module.eval()
        return self._val.gather_top(self._val.map(lambda images: self.head(self._encoder(images))))


@contextmanager
def _running_statistics(network: torch.nn.Module, update: bool) -> Iterator[None]:
    """With `update` false, batch norm still normalises by the batch but leaves its running averages alone."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.track_running_stats = update
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
