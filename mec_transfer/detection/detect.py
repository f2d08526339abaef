"""The benchmark: finetune a detector from the checkpoint, measure it on the test split.

What moves the number lies in two files side by side: the benchmark's YAML (data, metric, scaling) and the stock
Detectron2 yaml that it names (network and schedule). Both are part of the job's key.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mec_transfer.benchmark import Benchmark, Job, Problem, make_record
from mec_transfer.common import distributed
from mec_transfer.common.device import is_gpu
from mec_transfer.common.errors import DataError, UserError, one_line
from mec_transfer.common.progress import say, warn
from mec_transfer.common.runtime import available_memory, derive_seed, pick_device, seed_everything
from mec_transfer.datasets.objects.data import ObjectData
from mec_transfer.datasets.objects.notes import mask_notes, training_notes
from mec_transfer.datasets.objects.splits import ObjectSplit, require_masks
from mec_transfer.detection import engine
from mec_transfer.detection.config import DetectionConfig, measures_masks, stock_path
from mec_transfer.detection.memory import check_memory
from mec_transfer.detection.predictions import measure, measure_saved, save_predictions
from mec_transfer.detection.sufficiency import check_sufficiency
from mec_transfer.results.record import Record, Selection

FINAL = "model_final.pth"
SETTINGS = "detectron2.yaml"
"""The trained detector and its config, as plain Detectron2 loads them."""

_MEASURED_WIDTH = 2048
"""The width of the networks whose memory was measured: that of ResNet-50, and of deeper ones, which take more."""


class Detect(Benchmark):
    """Faster or Mask R-CNN on the checkpoint's backbone, all layers finetuned, by a stock Detectron2 config."""

    config: DetectionConfig

    def check(self, job: Job) -> list[Problem]:
        """Engine, data, network and metric."""
        problems, masks = [], self._metric == "coco"
        try:
            train, test = self._splits(job)
            problems += check_sufficiency(train, test)
            config, _ = self._detectron2(job, len(train.classes))
            if job.backbone.width == _MEASURED_WIDTH and not is_gpu(pick_device(job.device)):
                problems += check_memory(config, available_memory())
            masks = masks and config.MODEL.MASK_ON
            if config.MODEL.MASK_ON:
                require_masks(train, training=True)
                require_masks(test)
        except UserError as error:
            problems.append(Problem(message=str(error)))
        allowed = {"AP", "AP50", "AP75"} | ({"mask_AP", "mask_AP50", "mask_AP75"} if masks else set())
        if self.config.metrics.primary not in allowed:
            what = (
                f"'{self.config.metrics.primary}' is not one of {', '.join(sorted(allowed))}, which this run measures"
            )
            problems.append(Problem(message=f"metrics.primary: {what}; add --set metrics.primary=AP"))
        return problems

    def run(self, job: Job) -> Record:
        """Train (from where an earlier attempt stopped), test, measure.

        Raises:
            DataError: an annotation is broken or an image cannot be read.
            RunError: the network in memory is not the checkpoint's, the loss is not finite, or the disk is full.
            Interrupted: a signal came; the state is saved.
        """
        began = time.monotonic()
        train_split, test_split = self._splits(job)
        config, notes = self._detectron2(job, len(train_split.classes))
        notes += training_notes(train_split) + (mask_notes(test_split) if config.MODEL.MASK_ON else [])
        skipped = [line for split in (train_split, test_split) for line in split.skipped]
        notes += [f"{len(skipped)} broken annotations are left out, the first: {skipped[0]}"] if skipped else []
        for note in notes:
            warn(note)
        import torch

        from mec_transfer.common.files import save_torch, write_text
        from mec_transfer.detection import guard, inference, loading, network, training

        device = pick_device(job.device)
        seed_everything(derive_seed(job.seed, "init"))
        detector = network.build_network(config, job.backbone, device)
        difference = guard.check_network(detector, job.backbone, config.INPUT.FORMAT)
        say(f"the detector's backbone is the checkpoint's: every tensor, and its features to {difference:.1g}")
        masks = bool(config.MODEL.MASK_ON)
        items = loading.training_records(train_split, masks)
        config.INPUT.MASK_FORMAT = loading.mask_format(items)
        # Float32 keeps all its bits: torch itself lets a GPU drop 13 of 23 in convolutions.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=self.config.recipe.tf32):
            identity = self.training_identity(job)
            notes += training.train(detector, config, items, job.workdir, job.seed, job.workers, identity)
            trained = time.monotonic()
            predictions = inference.predict(detector, config, loading.records(test_split, False), job.workers)
        if not predictions:
            notes.append(f"the detector found nothing in {len(test_split.images)} test images, so that its AP is 0")
            warn(notes[-1])

        def keep() -> dict[str, float]:
            save_torch(job.workdir / FINAL, {"model": detector.state_dict()})
            write_text(job.workdir / SETTINGS, config.dump())
            save_predictions(job.workdir, test_split, predictions)
            metrics = measure(test_split, predictions, self._metric, masks)
            self._draw(job, test_split, predictions)
            return metrics

        return make_record(
            self.config,
            job,
            metrics=distributed.on_first(keep),
            selection=Selection(chosen=f"iteration {config.SOLVER.MAX_ITER}", by="protocol"),
            seconds=time.monotonic() - began,
            warnings=notes,
            details={
                "classes": list(train_split.classes),
                "train_images": len(items),
                "test_images": len(test_split.images),
                "iterations": config.SOLVER.MAX_ITER,
                "images_per_batch": config.SOLVER.IMS_PER_BATCH,
                "images_per_process": config.SOLVER.IMS_PER_BATCH // distributed.world_size(),
                "processes": distributed.world_size(),
                "precision": "tf32" if self.config.recipe.tf32 else "float32",
                "base_lr": config.SOLVER.BASE_LR,
                "guard_difference": difference,
                "testing_seconds": round(time.monotonic() - trained, 3),
                "engine": {version.name: version.found for version in engine.versions()},
            },
        )

    def finished(self, job: Job) -> None:
        """Remove the training state: the number is safe."""
        engine.load()
        from mec_transfer.detection import training

        training.discard_training(job.workdir)

    def training_identity(self, job: Job) -> dict[str, Any] | None:
        """Return what the trained detector depends on; None where the data was described without its training part."""
        if not job.dataset.train_fingerprint:
            return None
        return {
            "backbone": job.backbone.sha256,
            "config": self.config.training_sha256,
            "data": job.dataset.train_fingerprint,
            "seed": job.seed,
        }

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """From the saved predictions and the truth beside them; the data set is not needed."""
        return measure_saved(folder, self._metric, measures_masks(record))

    @property
    def _metric(self) -> str:
        return self.config.recipe.metric

    def _splits(self, job: Job) -> tuple[ObjectSplit, ObjectSplit]:
        assert isinstance(job.data, ObjectData)
        return job.data.train, job.data.test

    def _detectron2(self, job: Job, classes: int) -> tuple[Any, list[str]]:
        """Return Detectron2's config for the job, and what a reader of the number should know of it."""
        engine.load()
        from mec_transfer.detection import network, training

        recipe, notes = self.config.recipe, []
        config = network.read_config(stock_path(recipe.config), recipe.changes)
        network.check_settings(config, recipe.changes)
        network.fit_backbone(config, job.backbone)
        config.MODEL.ROI_HEADS.NUM_CLASSES = classes
        if recipe.images_per_batch not in (None, config.SOLVER.IMS_PER_BATCH):
            published = config.SOLVER.IMS_PER_BATCH
            scale = training.scale_schedule(config, int(recipe.images_per_batch or 0))
            notes.append(
                f"{recipe.images_per_batch} images a batch in place of {published}: rate times {scale:g}, "
                f"{config.SOLVER.MAX_ITER} iterations"
            )
        training.check_schedule(config)
        return config, notes + self._note_of_shares(config.SOLVER.IMS_PER_BATCH)

    def _note_of_shares(self, batch: int) -> list[str]:
        """Say where the images lie in other shares than in the published runs, and why that matters."""
        from mec_transfer.detection import network

        processes = distributed.world_size()
        published = network.read_config(stock_path(self.config.recipe.config)).SOLVER.IMS_PER_BATCH
        if published != 16 or (batch, processes) == (16, 8):
            return []
        here = f"{batch} images on {processes} process{'es' if processes > 1 else ''}"
        if "+custom-" in self.config.protocol:
            return [f"{here}; the published runs had 2 on each of 8"]
        return [
            f"{here}: Detectron2 pads the images of a process to the largest of them, and batch norm and PreciseBN see "
            "the padding; the published runs had 2 images on each of 8 processes"
        ]

    def _draw(self, job: Job, split: ObjectSplit, predictions: list[dict[str, Any]]) -> None:
        from mec_transfer.detection.pictures import draw_best_and_worst

        try:
            draw_best_and_worst(split, predictions, job.workdir / "pictures")
        except (OSError, DataError) as error:  # a number is not lost for a picture
            warn(f"{job.workdir / 'pictures'}: not drawn ({one_line(error)})")
