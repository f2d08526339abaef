"""What a job is measured on: the data set's fingerprint, and whether it is what its name says."""

from __future__ import annotations

from pathlib import Path

from mec_transfer.benchmark import DatasetConfig, ObjectsDatasetConfig, VideosDatasetConfig
from mec_transfer.common.errors import DataError
from mec_transfer.results.record import DatasetInfo

PUBLISHED_SIZES = {"imagenet": (1000, 1_281_167 + 50_000), "cifar10": (10, 50_000 + 10_000)}
"""Classes and images (train and val) of data sets whose name on a leaderboard means the whole published set."""


PUBLISHED_CLASSES = {"voc07": 20, "voc0712": 20, "coco2017": 80}
PUBLISHED_SEQUENCES: dict[str, int] = {"otb2015": 100, "davis2016": 20, "davis2017": 30, "mot16": 7, "mots20": 4}
"""Sequences of the split that a published protocol measures on."""


def describe_dataset(dataset: DatasetConfig, folder: Path, skip_invalid: bool = False) -> DatasetInfo:
    """Fingerprint the data in `folder` (no image is decoded).

    Where objects are to be found, `skip_invalid` leaves broken annotations out. Where the name promises a published
    data set and the number of images is another, the note says so.

    Raises:
        DataError: the folder has not the layout that the config names, or other classes than its name promises.
    """
    from mec_transfer.datasets import fingerprint, layouts

    if isinstance(dataset, ObjectsDatasetConfig):
        return _describe_objects(dataset, folder, skip_invalid)
    if isinstance(dataset, VideosDatasetConfig):
        return _describe_videos(dataset, folder)
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
        train_fingerprint=summary.train_fingerprint,
        num_images=summary.num_images,
        classes=summary.classes,
        note=note,
    )


def _describe_objects(dataset: ObjectsDatasetConfig, folder: Path, skip_invalid: bool) -> DatasetInfo:
    from mec_transfer.datasets import objects

    names = (*dataset.train, dataset.test)
    classes = dataset.classes or None
    splits = {name: objects.open_objects(folder, dataset.layout, name, classes, skip_invalid) for name in names}
    count = len(splits[dataset.test].classes)
    wanted = PUBLISHED_CLASSES.get(dataset.name, count)
    if count != wanted:
        raise NotThatDataset(
            f"{folder}: has {count} classes, but the config says '{dataset.name}', which has {wanted}; "
            "name the right folder, or give the data a name of its own (dataset.name)"
        )
    skipped = sum(len(split.skipped) for split in splits.values())
    fingerprints = objects.fingerprints(splits)
    return DatasetInfo(
        name=dataset.name,
        fingerprint=fingerprints[-1],
        train_fingerprint=fingerprints[len(set(dataset.train)) - 1],
        num_images=sum(len(split.images) for split in splits.values()),
        classes=count,
        note=f"{skipped} broken annotations left out" if skipped else "",
    )


def _describe_videos(dataset: VideosDatasetConfig, folder: Path) -> DatasetInfo:
    from mec_transfer.datasets import videos

    found = videos.open_videos(folder, dataset.layout, dataset.split, dataset.sequences, dataset.detections)
    wanted = PUBLISHED_SEQUENCES.get(dataset.name, len(found))
    if len(found) != wanted:
        raise NotThatDataset(
            f"{folder}: has {len(found)} sequences, but the config says '{dataset.name}', which has {wanted}; "
            "name the right folder, or give the data a name of its own (dataset.name)"
        )
    frames = sum(len(video.frames) for video in found)
    return DatasetInfo(name=dataset.name, fingerprint=videos.fingerprint(found), num_images=frames)


class NotThatDataset(DataError):
    """The data is usable, but it is not the published data set that the config names."""
