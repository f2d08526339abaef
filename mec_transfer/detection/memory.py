"""What training a detector takes of the memory of a machine without a GPU, where batches for eight GPUs do not fit."""

from __future__ import annotations

from typing import Any

from mec_transfer.benchmark import Problem, memory_problems

_ALONE = 1.2
_C4_IMAGE = 4.4
_FPN_IMAGE = 2.6
"""GiB of a process and of each image of its batch, as measured with ResNet-50 on COCO's photos with a shorter side of
800 and batches of 1 and 2: 5.7 and 10.1 (C4), 3.6 and 6.1 (FPN, whose memory goes with an image's area; C4's goes with
the regions that its head, a whole stage of the network, is trained on)."""
_MEASURED_SIDE, _MEASURED_REGIONS = 800, 512


def needed_bytes(config: Any) -> float:
    """Return about how much memory all processes together take that train by Detectron2's `config` with a ResNet-50."""
    if config.MODEL.ROI_HEADS.NAME.startswith("Res5ROIHeads"):
        image = _C4_IMAGE * config.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE / _MEASURED_REGIONS
    else:
        image = _FPN_IMAGE * (max(config.INPUT.MIN_SIZE_TRAIN) / _MEASURED_SIDE) ** 2
    return (_ALONE + image * config.SOLVER.IMS_PER_BATCH) * float(1 << 30)


def check_memory(config: Any, available: int | None) -> list[Problem]:
    """Return a warning where a CPU's memory is too small for the batch: the machine would swap, or end the job."""
    batch = f"a batch of {config.SOLVER.IMS_PER_BATCH} images"
    cure = "--set recipe.images_per_batch=1 (rate and schedule are scaled along)"
    return memory_problems(batch, needed_bytes(config), available, cure)
