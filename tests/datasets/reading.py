"""Data sets opened by the one door, in the words that tests of readers need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import DatasetConfig, VideosDatasetConfig
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.registry import find_layout, open_data
from mec_transfer.datasets.videos.video import Video


def find_problems(root: Path, layout: str) -> list[str]:
    """Return what is wrong with images."""
    return find_layout(layout).examine(DatasetConfig(name="x", layout=layout), root, Index())[1]


def summarise(root: Path, layout: str) -> SimpleNamespace:
    """Return what a record says of images."""
    data = open_data(DatasetConfig(name="x", layout=layout), root)
    names = ("fingerprint", "train_fingerprint", "splits", "classes")
    return SimpleNamespace(**{name: getattr(data, name) for name in names})


def open_splits(root: Path, layout: str, *args: Any, **options: Any) -> dict[str, ObjectSplit]:
    """Return sound splits of objects."""
    return find_layout(layout).open_splits(root, *args, **options)  # type: ignore[attr-defined]


def read_splits(root: Path, layout: str, *args: Any, **options: Any) -> dict[str, ObjectSplit]:
    """Return splits of objects, whatever is broken."""
    return find_layout(layout).read_splits(root, *args, **options)  # type: ignore[attr-defined]


def open_objects(root: Path, layout: str, split: str, *args: Any, **options: Any) -> ObjectSplit:
    """Return one split of objects alone."""
    return open_splits(root, layout, [split], *args, **options)[split]


def open_videos(
    root: Path, layout: str, split: str, sequences: Sequence[str] = (), detections: str = ""
) -> tuple[Video, ...]:
    """Return the sound videos of a split."""
    return open_data(_videos(layout, split, sequences, detections), root).videos  # type: ignore[attr-defined]


def read_videos(
    root: Path, layout: str, split: str, sequences: Sequence[str] = (), detections: str = ""
) -> tuple[Sequence[Video], list[str]]:
    """Return what is sound of a split, and what is not. Raises DataError where nothing can be read."""
    data, problems = find_layout(layout).examine(_videos(layout, split, sequences, detections), root, Index())
    if data is None:
        raise DataError(problems[0])
    return data.videos, problems  # type: ignore[attr-defined]


def _videos(layout: str, split: str, sequences: Sequence[str], detections: str) -> VideosDatasetConfig:
    return VideosDatasetConfig(name="x", layout=layout, split=split, sequences=tuple(sequences), detections=detections)
