"""What jobs of classification take: known from images, classes and recipe alone, without torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mec_transfer.backbone.architectures import expected_tensors
from mec_transfer.benchmark import Resources, Work
from mec_transfer.results.record import DatasetInfo

if TYPE_CHECKING:
    from mec_transfer.classification.config import FeatureRecipe, TrainingRecipe


def width_of(arch: str) -> int:
    """Return how many numbers a feature has."""
    return expected_tensors(arch)["layer4.0.downsample.1.running_mean"][0]


def training_bytes(numbers: int) -> int:
    """Return the bytes of a training's states, the last and the one before: each number with its momentum, twice."""
    return 16 * numbers + (1 << 20)


def prediction_bytes(images: int, tags: int, classes: int) -> int:
    """Return the most that `predictions.npz` takes: two bytes for an image's truth and for each of five guesses."""
    return 2 * images * (1 + tags * (5 if classes > 5 else 1))


def head_bytes(arch: str, classes: int) -> int:
    """Return the most that `head.npz` takes: its numbers, and the names of the classes."""
    return 4 * (width_of(arch) * (classes + 2) + classes) + 64 * classes + (1 << 12)


def feature_resources(recipe: FeatureRecipe, arch: str, data: DatasetInfo, tags: int, search: bool) -> Resources:
    """Return what a job on frozen features takes.

    Args:
        recipe: of the benchmark.
        arch: of the network.
        data: with the images of `train` and `val`.
        tags: how many predictions an image gets.
        search: whether features and the search for neighbours are all of the job; the time of heads is not known.
    """
    view, width, images = recipe.view, width_of(arch), data.splits
    work = (
        Work(
            kind="features",
            setting=f"{view.crop} px",
            units=images["train"] + images["val"],
            half=recipe.mixed_precision,
        ),
        Work(kind="neighbours", setting=f"{width} numbers", units=float(images["train"] * images["val"])),
    )
    return Resources(
        work=work if search else None,
        own_bytes=prediction_bytes(images["val"], tags, data.classes or 0),
        cached_bytes=feature_bytes(recipe, arch, data),
    )


def feature_bytes(recipe: FeatureRecipe, arch: str, data: DatasetInfo) -> dict[str, int]:
    """Return what the features of every split take in the cache, by what they are of."""
    view = recipe.view
    shape = " squeezed" * view.squeezed + "".join(f" square {side}" for side, _ in view.squares)
    seen = f"{view.resize} {view.crop} {view.interpolation}{shape}{' half' * recipe.mixed_precision}"
    return {f"features of {split} {seen}": 4 * width_of(arch) * images for split, images in data.splits.items()}


def training_resources(recipe: TrainingRecipe, arch: str, data: DatasetInfo, whole: bool) -> Resources:
    """Return what a job that trains by epochs takes: of the head alone, or of the `whole` network."""
    classes = data.classes or 0
    numbers = width_of(arch) * classes
    head = 0 if whole else head_bytes(arch, classes)
    if whole:
        numbers += sum(math.prod(shape) for shape in expected_tensors(arch).values())
    predictions = prediction_bytes(data.splits["val"], 2, classes)
    return Resources(own_bytes=training_bytes(numbers) + head + predictions, cached_bytes={})
