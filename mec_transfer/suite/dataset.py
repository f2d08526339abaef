"""What a job is measured on: the data set's fingerprint, and whether it is what its name promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mec_transfer.benchmark import Contents, DatasetConfig, ObjectsDatasetConfig, VideosDatasetConfig
from mec_transfer.common.errors import DataError
from mec_transfer.results.record import DatasetInfo


def describe_dataset(dataset: DatasetConfig, folder: Path, skip_invalid: bool = False) -> DatasetInfo:
    """Fingerprint the data in `folder` and count what it holds (no image is decoded).

    Where objects are to be found, `skip_invalid` leaves broken annotations out.

    Raises:
        DataError: the folder has not the layout that the config names, or cannot be used as it is.
    """
    if isinstance(dataset, ObjectsDatasetConfig):
        return _describe_objects(dataset, folder, skip_invalid)
    if isinstance(dataset, VideosDatasetConfig):
        return _describe_videos(dataset, folder)
    return _describe_images(dataset, folder)


def differences(found: DatasetInfo, promised: Contents) -> list[str]:
    """Return each count in which a data set differs from what its name promises, in words."""
    return list(_differences(found, promised))


def _differences(found: DatasetInfo, promised: Contents) -> Iterator[str]:
    if promised.classes not in (None, found.classes):
        yield f"{found.classes} classes, not {promised.classes}"
    if promised.sequences not in (None, found.sequences):
        yield f"{found.sequences} sequences, not {promised.sequences}"
    for split, images in promised.images.items():
        if found.splits.get(split, 0) != images:
            yield f"{found.splits.get(split, 0)} images in {split}, not {images}"


def _describe_images(dataset: DatasetConfig, folder: Path) -> DatasetInfo:
    from mec_transfer.datasets import fingerprint, layouts

    problems = layouts.find_problems(folder, dataset.layout)
    if problems:
        more = f" (and {len(problems) - 1} more: see mec-transfer data check)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}")
    summary = fingerprint.summarise(folder, dataset.layout)
    return DatasetInfo(
        name=dataset.name,
        fingerprint=summary.fingerprint,
        train_fingerprint=summary.train_fingerprint,
        num_images=summary.num_images,
        classes=summary.classes,
        splits=summary.splits,
    )


def _describe_objects(dataset: ObjectsDatasetConfig, folder: Path, skip_invalid: bool) -> DatasetInfo:
    from mec_transfer.datasets import objects

    names = (*dataset.train, dataset.test)
    splits = objects.open_splits(folder, dataset.layout, names, tuple(dataset.classes) or None, skip_invalid)
    skipped = sum(len(split.skipped) for split in splits.values())
    counts = {name: len(split.images) for name, split in splits.items()}
    fingerprints = objects.fingerprints(splits)
    return DatasetInfo(
        name=dataset.name,
        fingerprint=fingerprints[-1],
        train_fingerprint=fingerprints[len(set(dataset.train)) - 1],
        num_images=sum(counts.values()),
        classes=len(splits[dataset.test].classes),
        splits=counts,
        note=f"{skipped} broken annotations left out" if skipped else "",
    )


def _describe_videos(dataset: VideosDatasetConfig, folder: Path) -> DatasetInfo:
    from mec_transfer.datasets import videos

    found = videos.open_videos(folder, dataset.layout, dataset.split, dataset.sequences, dataset.detections)
    frames = sum(len(video.frames) for video in found)
    return DatasetInfo(
        name=dataset.name,
        fingerprint=videos.fingerprint(found),
        num_images=frames,
        splits={dataset.split: frames},
        sequences=len(found),
    )
