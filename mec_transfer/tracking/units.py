"""What tracking jobs are measured on: sequences. Nothing here imports torch or MMTracking."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mec_transfer.datasets.videos.frames import open_frames
from mec_transfer.datasets.videos.index_masks import read_index_mask
from mec_transfer.results.record import Record
from mec_transfer.tracking.sequences import TRUTH, recorded_sequences
from mec_transfer.units import Pooled, Ratios

_OF_A_DETECTOR = re.compile(r"^(MOT17-\d+)-(?:DPM|FRCNN|SDP)$")
Sample = Sequence[int]
"""The places of drawn sequences, each as often as it was drawn."""


def mean_units(folder: Path, record: Record) -> Ratios:
    """Units of metrics that are means over the sequences, which the record has."""
    names = _names(folder, record)
    return _ratios(record, names, np.ones(len(names)))


def object_units(folder: Path, record: Record) -> Ratios:
    """Units of metrics that are means over the objects of all sequences, as the truth in `folder` numbers them.

    Raises:
        UserError: a mask is missing or damaged.
    """
    names = _names(folder, record)
    first = [open_frames(folder / TRUTH / name, name).paths[0] for name in names]
    return _ratios(record, names, np.array([float(read_index_mask(path)[0].max()) for path in first]))


def pooled_units(
    folder: Path, record: Record, evaluator: Callable[[Path, Sequence[str], str], Callable[[Sample], float]]
) -> Pooled:
    """Units of metrics that an evaluator counts over all sequences.

    MOT17 has each video three times, with three detectors' boxes; these are one unit.

    Args:
        folder: of the job.
        record: of the job.
        evaluator: prepares the sequences of a folder for a metric; returns what measures a sample of them.
    """
    names = _names(folder, record)
    videos: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        videos.setdefault(_OF_A_DETECTOR.sub(r"\1", name), []).append(place)
    groups = list(videos.values())

    def pool(metric: str) -> Callable[[Sample], float]:
        measure = evaluator(folder, names, metric)
        return lambda sample: measure([place for unit in sample for place in groups[unit]])

    kind = "sequences" if len(groups) == len(names) else "videos"
    return Pooled(kind=kind, truth=_truth(names), count=len(groups), pool=pool)


def _names(folder: Path, record: Record) -> list[str]:
    return sorted(recorded_sequences(folder, record))


def _truth(names: Sequence[str]) -> str:
    return "\n".join(names)


def _ratios(record: Record, names: Sequence[str], sizes: np.ndarray) -> Ratios:
    rows = [record.details["by_sequence"][name] for name in names]
    totals = {
        metric: sizes * np.array([row[metric] for row in rows], dtype=np.float64)
        for metric in record.metrics
        if all(metric in row for row in rows)
    }
    return Ratios(kind="sequences", truth=_truth(names), totals=totals, sizes=sizes)
