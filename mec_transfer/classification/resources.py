"""What jobs of classification take: known from images, classes and recipe alone, without torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mec_transfer.backbone.architectures import expected_tensors
from mec_transfer.benchmark import Resources, Work
from mec_transfer.results.record import DatasetInfo

if TYPE_CHECKING:
    from mec_transfer.classification.config import (
        FeatureRecipe,
        LogisticRecipe,
        LowShotRecipe,
        MachineRecipe,
        SvmRecipe,
        TrainingRecipe,
    )


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
    width, images = width_of(arch), data.splits
    neighbours = Work(kind="neighbours", setting=f"{width} numbers", units=float(images["train"] * images["val"]))
    work = (feature_work(recipe, data), neighbours)
    return Resources(
        work=work if search else None,
        own_bytes=prediction_bytes(images["val"], tags, data.classes or 0),
        cached_bytes=feature_bytes(recipe, arch, data),
    )


def feature_work(recipe: FeatureRecipe, data: DatasetInfo) -> Work:
    """Return the features of all splits."""
    units = float(sum(data.splits.values()))
    return Work(kind="features", setting=f"{recipe.view.crop} px", units=units, half=recipe.mixed_precision)


def logistic_work(recipe: LogisticRecipe, arch: str, data: DatasetInfo, several: bool) -> tuple[Work, ...]:
    """Return what the fits take at most, with every one of them stopped by its limit of iterations.

    An iteration passes over all numbers of the images' features, and multiplies each by a weight of each class. Where
    an image has `several` classes, each class has a classifier of two.
    """
    classes = data.classes or 0
    learnt = data.splits["train"] * (recipe.penalties * (1 - recipe.validation) + 1)
    numbers = width_of(arch) * learnt * recipe.max_iterations * (classes if several else 1)
    products = numbers * (2 if several else classes)
    return (
        Work(kind="logistic passes", setting="float64", units=numbers),
        Work(kind="logistic products", setting="float64", units=products),
    )


def svm_work(recipe: SvmRecipe, arch: str, data: DatasetInfo) -> Work:
    """Return the images of all fits of all classes: of each fold and cost, and of the last one on all images."""
    share = len(recipe.costs) * (recipe.folds - 1) + 1
    return _svm_work(recipe, arch, (data.classes or 0) * data.splits["train"] * share)


def low_shot_work(recipe: LowShotRecipe, arch: str, data: DatasetInfo) -> Work:
    """Return the images of all fits of all samples: of each cost, and of the chosen one once more."""
    classes = data.classes or 0
    return _svm_work(recipe, arch, sum(recipe.ks) * classes**2 * recipe.samples * (len(recipe.costs) + 1))


def _svm_work(recipe: MachineRecipe, arch: str, images: int) -> Work:
    costs = f"{len(recipe.costs)} costs to {max(recipe.costs):g}"
    return Work(kind="svm images", setting=f"{width_of(arch)} numbers, {costs}", units=float(images))


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
