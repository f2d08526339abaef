"""The benchmark: finetune a segmentation network from the checkpoint, measure it on the test split."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from mec_transfer.benchmark import Benchmark, Job, Problem, make_record, primary_problems
from mec_transfer.common import distributed
from mec_transfer.common.device import is_gpu
from mec_transfer.common.errors import DataError, RunError, one_line
from mec_transfer.common.files import short_of_room
from mec_transfer.common.progress import warn
from mec_transfer.common.runtime import available_memory, derive_seed, pick_device
from mec_transfer.datasets.segments.data import SegmentData
from mec_transfer.datasets.values import few
from mec_transfer.results.record import Record, Selection
from mec_transfer.segmentation.config import METRICS, SegmentationConfig
from mec_transfer.segmentation.counts import Counts, read_counts
from mec_transfer.segmentation.inference import Predictor, predict_all
from mec_transfer.segmentation.masks import BYTES_A_PIXEL, FOLDER, MaskFolder
from mec_transfer.segmentation.memory import check_memory
from mec_transfer.segmentation.network import Segmenter
from mec_transfer.segmentation.pictures import draw_examples
from mec_transfer.segmentation.trained import FINAL, TrainedSegmenter
from mec_transfer.segmentation.training import discard_training, train

_MEASURED_WIDTH = 2048
"""The width of the networks whose memory was measured: that of ResNet-50, and of deeper ones, which take more."""
_SHOWN = 5
"""How many of many problems an error names."""


class Segment(Benchmark):
    """A fully convolutional network on the checkpoint's backbone, all layers finetuned."""

    config: SegmentationConfig

    def check(self, job: Job) -> list[Problem]:
        """Every mask, the recipe's fit to the data, the disk."""
        data, recipe = _data(job), self.config.recipe
        problems = primary_problems(self.config, [*METRICS, *(f"IoU/{name}" for name in data.test.classes)])
        if found := data.problems:
            check = f"mec-transfer data check {data.folder} --layout {data.config.layout}"
            more = f"; and {len(found) - _SHOWN} more, which {check} lists" if len(found) > _SHOWN else ""
            return [*problems, Problem(message="; ".join(found[:_SHOWN]) + more)]
        images, world = len(data.train), distributed.world_size()
        if images < recipe.batch:
            problems.append(
                Problem(
                    message=f"{images} training images do not fill a batch of {recipe.batch}; override recipe.batch"
                )
            )
        if recipe.batch % world:
            problems.append(
                Problem(
                    message=f"a batch of {recipe.batch} images does not divide over {world} processes; set recipe.batch"
                )
            )
        if shared := sorted({path.stem for path in data.train.images} & {path.stem for path in data.test.images}):
            what = f"{len(shared)} of the {len(data.test)} test images are trained on: {few(shared, 3)}"
            problems.append(Problem(message=what, severity="warning"))
        if job.backbone.width == _MEASURED_WIDTH and not is_gpu(pick_device(job.device)):
            problems += check_memory(recipe, available_memory())
        return problems + self._unlearnt(data) + self._full_disk(job) + self._foreign_masks(job)

    def run(self, job: Job) -> Record:
        """Train (from where an earlier attempt stopped), keep the network, test it, keep its masks, measure.

        Raises:
            DataError: an image or a mask cannot be read.
            RunError: the loss is not finite, or memory or the disk is full.
            Interrupted: a signal came; the state is saved.
        """
        began = time.monotonic()
        data, recipe, device = _data(job), self.config.recipe, pick_device(job.device)
        seed, preprocessing = derive_seed(job.seed, job.trial, "segment"), job.backbone.preprocessing
        network = Segmenter(job.backbone, recipe, len(data.train.classes), derive_seed(seed, "head")).to(device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Float32 keeps all its bits: torch itself lets a GPU drop 13 of 23 in convolutions. The fastest ones are only
        # looked for in training, where all images are of one size.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=recipe.tf32):
            train(
                network,
                data.train,
                recipe,
                preprocessing,
                folder=job.workdir,
                identity=self.training_identity(job),
                seed=seed,
                workers=job.workers,
            )
        trained, masks = time.monotonic(), MaskFolder(job.workdir / FOLDER, data.test)
        distributed.on_first(lambda: self._keep_network(job, network, masks))
        predictor = Predictor(network, recipe, preprocessing)
        counts = predict_all(predictor, data.test, recipe.scale, job.workers, masks.write)
        metrics = distributed.on_first(lambda: self._keep(job, counts, masks))
        notes = _notes(counts)
        for note in notes:
            warn(note)
        return make_record(
            self.config,
            job,
            metrics=metrics,
            selection=Selection(chosen=f"iteration {recipe.iterations}", by="protocol"),
            seconds=time.monotonic() - began,
            warnings=notes,
            details={
                "classes": list(counts.classes),
                "confusion": counts.confusion.tolist(),
                "train_images": len(data.train),
                "test_images": len(data.test),
                "iterations": recipe.iterations,
                "processes": distributed.world_size(),
                "precision": "tf32" if recipe.tf32 else "float32",
                "testing_seconds": round(time.monotonic() - trained, 3),
            },
        )

    def finished(self, job: Job) -> None:
        """Remove the training state: the number is safe."""
        discard_training(job.workdir)

    def training_identity(self, job: Job) -> dict[str, Any]:
        """Return what the trained network depends on."""
        return {
            "backbone": job.backbone.sha256,
            "config": self.config.training_sha256,
            "data": job.dataset.train_fingerprint,
            "seed": [job.seed, job.trial],
        }

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """From the saved counts of every image; the data set is not needed."""
        return read_counts(folder).metrics()

    def _keep_network(self, job: Job, network: Segmenter, masks: MaskFolder) -> None:
        """Save the trained network, and make room for its masks."""
        TrainedSegmenter(
            network=network,
            arch=job.backbone.arch,
            stem=job.backbone.stem,
            preprocessing=job.backbone.preprocessing,
            recipe=self.config.recipe,
            classes=_data(job).test.classes,
            ids=_data(job).test.ids,
        ).save(job.workdir / FINAL)
        masks.clear()

    def _keep(self, job: Job, counts: Counts, masks: MaskFolder) -> dict[str, float]:
        """Save counts and pictures; return the metrics."""
        counts.save(job.workdir)
        try:
            draw_examples(_data(job).test, counts, masks.read, job.workdir / "pictures")
        except (OSError, DataError, RunError) as error:  # a number is not lost for a picture
            warn(f"{job.workdir / 'pictures'}: not drawn ({one_line(error)})")
        return counts.metrics()

    def _unlearnt(self, data: SegmentData) -> list[Problem]:
        """Say which classes no training image shows."""
        pixels = [sum(column) for column in zip(*(data.surveys[name].pixels for name in set(data.config.train)))]
        absent = [name for name, count in zip(data.train.classes, pixels) if not count]
        if not absent:
            return []
        if len(absent) > len(pixels) - 2:
            (present,) = set(data.train.classes) - set(absent)
            what = f"the training images have pixels of {present} alone"
            cure = "two classes are needed, and 255 in a mask is void, never a class: write 1 in its place"
            return [Problem(message=f"{data.folder}: {what}; {cure}")]
        what = f"no training image has a pixel of {len(absent)} of {len(pixels)} classes ({few(absent)})"
        return [Problem(message=what, severity="warning")]

    def _full_disk(self, job: Job) -> list[Problem]:
        needed = self.config.resources(job.backbone.arch, job.dataset).own_bytes or 0
        pixels = sum(_data(job).surveys[self.config.dataset.test].pixels)
        short = short_of_room(job.workdir, needed + int(BYTES_A_PIXEL * pixels))
        return [Problem(message=f"{short} for the training state, the trained network and the masks")] if short else []

    def _foreign_masks(self, job: Job) -> list[Problem]:
        """Refuse a folder of masks that is not the job's: they could be the only ones of somebody's data."""
        folder = job.workdir / FOLDER
        if not folder.exists() or (job.workdir / FINAL).exists():  # the network is written before the first mask
            return []
        return [Problem(message=f"{folder}: is there, and not of this job, whose masks go there; choose another --out")]


def _notes(counts: Counts) -> list[str]:
    """Say where one class was all that was predicted."""
    called = [name for name, pixels in zip(counts.classes, counts.predicted.sum(axis=0), strict=True) if pixels]
    if len(called) > 1:
        return []
    return [f"every pixel of the {len(counts.names)} test images was called {called[0]}: has it been trained enough?"]


def _data(job: Job) -> SegmentData:
    assert isinstance(job.data, SegmentData)
    return job.data
