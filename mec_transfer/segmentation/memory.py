"""What training takes of the memory of a machine without a GPU, where batches for several GPUs may not fit."""

from __future__ import annotations

from mec_transfer.benchmark import Problem, memory_problems
from mec_transfer.segmentation.config import SegmentationRecipe

_ALONE = 1.3
_IMAGE = {16: 0.49, 8: 1.09}
"""GiB of a process, and by output stride of each image of its batch, as measured with ResNet-50, the heads of the
shipped recipes and crops of 513 and 512 (benchmarks/results/segmentation.md); they go with a crop's area."""
_MEASURED_CROP = 512


def needed_bytes(recipe: SegmentationRecipe) -> float:
    """Return about how much memory all processes together take that train by `recipe` with a ResNet-50."""
    image = _IMAGE[recipe.output_stride] * (recipe.augmentation.crop / _MEASURED_CROP) ** 2
    return (_ALONE + image * recipe.batch) * float(1 << 30)


def check_memory(recipe: SegmentationRecipe, available: int | None) -> list[Problem]:
    """Return a warning where a CPU's memory is too small for the batch: the machine would swap, or end the job."""
    batch = f"a batch of {recipe.batch} crops of {recipe.augmentation.crop} pixels"
    cure = "--set recipe.batch=N with recipe.lr lowered along"
    return memory_problems(batch, needed_bytes(recipe), available, cure)
