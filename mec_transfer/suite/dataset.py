"""What a job is measured on: the data set's fingerprint, and whether it is what its name says."""

from __future__ import annotations

from pathlib import Path

from mec_transfer.benchmark import DatasetConfig
from mec_transfer.common.errors import DataError
from mec_transfer.results.record import DatasetInfo

PUBLISHED_SIZES = {"imagenet": (1000, 1_281_167 + 50_000), "cifar10": (10, 50_000 + 10_000)}
"""Classes and images (train and val) of data sets whose name on a leaderboard means the whole published set."""


def describe_dataset(dataset: DatasetConfig, folder: Path) -> DatasetInfo:
    """Fingerprint the data in `folder` (no image is decoded).

    Where the name promises a published data set and the number of images is another, the note says so.

    Raises:
        DataError: the folder has not the layout that the config names, or other classes than its name promises.
    """
    from mec_transfer.datasets import fingerprint, layouts

    problems = layouts.find_problems(folder, dataset.layout)
    if problems:
        more = f" (and {len(problems) - 1} more: see mec-transfer data check)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}")
    summary = fingerprint.summarise(folder, dataset.layout)
    classes, images = PUBLISHED_SIZES.get(dataset.name, (summary.classes, summary.num_images))
    if summary.classes != classes:
        raise NotThatDataset(
            f"{folder}: has {summary.classes} classes, but the config says '{dataset.name}', which has {classes}; "
            "name the right folder, or give the data a name of its own (dataset.name)"
        )
    note = "" if summary.num_images == images else f"{summary.num_images} images where {dataset.name} has {images}"
    return DatasetInfo(
        name=dataset.name,
        fingerprint=summary.fingerprint,
        num_images=summary.num_images,
        classes=summary.classes,
        note=note,
    )


class NotThatDataset(DataError):
    """The data is usable, but it is not the published data set that the config names."""
