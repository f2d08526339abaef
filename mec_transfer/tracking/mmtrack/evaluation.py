"""How a trained tracker is measured: once through each sequence, or started anew after each failure.

Either way the number is computed from text files: results/SEQUENCE.txt, as the data sets' own tools read them, and
truth/, a copy of what they are measured against. Neither the data nor the engine is needed.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from mec_transfer.common.errors import DataError, UserError
from mec_transfer.common.files import read_json
from mec_transfer.datasets.annotations import parse_number, read_lines, split_fields
from mec_transfer.datasets.videos.box_video import BoxVideo, box_lines, parse_boxes, read_boxes
from mec_transfer.datasets.videos.vot import VotVideo
from mec_transfer.tracking.mmtrack import ope_metrics, vot_metrics
from mec_transfer.tracking.overlay import Box, Marks
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files, Measured

_AGAIN = "delete the folder and run the job again"
_VISIBLE = "visible"


class Evaluation(abc.ABC):
    """One way to measure."""

    METRICS: ClassVar[tuple[str, ...]]
    TEST_MODE: ClassVar[str]
    """`test_cfg.test_mode` of the stock config."""
    RANKED_BY: ClassVar[str]
    """By which of a sequence's metrics the best and the worst are drawn."""

    @abc.abstractmethod
    def targets(self, video: BoxVideo) -> np.ndarray:
        """Return what the pipelines get as the target: (frames, 4) of x0, y0, x1, y1, or (frames, 8) of corners."""

    @abc.abstractmethod
    def truth(self, video: BoxVideo) -> Files:
        """Return what `measure` needs of the truth, to be written below truth/."""

    @abc.abstractmethod
    def measure(self, folder: Path, sequences: Sequence[str]) -> Measured:
        """Compute every metric from folder/results and folder/truth. Raises UserError for a damaged file."""

    def problem(self, videos: Sequence[BoxVideo]) -> str:
        """Return why these videos cannot be measured so; empty where they can."""
        return ""

    def marks(self, video: BoxVideo, folder: Path) -> Callable[[int], Marks]:
        """Return a function from a frame's index to the box found and the true one."""
        found = read_regions(folder / RESULTS / f"{video.name}.txt")

        def draw(index: int) -> Marks:
            truth, box = video.boxes[index], found[index]
            there = not np.isnan(truth).any() and (truth[2:] > 0).all()
            return Marks(boxes={1: _corners(box)} if len(box) == 4 else {}, truth=(_corners(truth),) if there else ())

        return draw


class OnePass(Evaluation):
    """Success, normalised precision and precision over all frames of a sequence, then the mean over sequences."""

    METRICS = ope_metrics.METRICS
    TEST_MODE = "OPE"
    RANKED_BY = "success"

    def __init__(self, visible_only: bool) -> None:
        self.visible_only = visible_only
        """Whether frames in which the target cannot be seen are no hits (MMTracking's `only_eval_visible`)."""

    def targets(self, video: BoxVideo) -> np.ndarray:
        """Return the true boxes."""
        boxes = video.boxes.copy()
        boxes[:, 2:] += boxes[:, :2]
        return boxes

    def truth(self, video: BoxVideo) -> Files:
        """Return the true boxes, and in which frames the target is seen where that counts."""
        files = {f"{video.name}.txt": box_lines(video.boxes)}
        if self.visible_only:
            files[f"{_VISIBLE}/{video.name}.txt"] = "".join(f"{int(seen)}\n" for seen in video.is_visible()).encode()
        return files

    def measure(self, folder: Path, sequences: Sequence[str]) -> Measured:
        """Measure each sequence."""
        by_sequence = {}
        for name in sequences:
            path = folder / RESULTS / f"{name}.txt"
            found, truth = read_boxes(path), read_boxes(folder / TRUTH / f"{name}.txt")
            if len(found) != len(truth) or np.isnan(found).any():
                raise UserError(f"{path}: not a box for each of {len(truth)} frames; {_AGAIN}")
            seen = _read_flags(folder / TRUTH / _VISIBLE / f"{name}.txt", len(truth)) if self.visible_only else None
            by_sequence[name] = ope_metrics.measure_boxes(truth, found, seen)
        overall = {metric: float(np.mean([row[metric] for row in by_sequence.values()])) for metric in self.METRICS}
        return Measured(overall=overall, by_sequence=by_sequence)


class ResetBased(Evaluation):
    """VOT's: expected average overlap and accuracy as percentages, and failures in a hundred frames."""

    METRICS = vot_metrics.METRICS
    TEST_MODE = "VOT"
    RANKED_BY = "accuracy"

    def __init__(self, interval: tuple[int, int]) -> None:
        self.interval = interval
        """Lengths in frames that the expected average overlap is the mean over."""

    def problem(self, videos: Sequence[BoxVideo]) -> str:
        """Polygons are needed, and a sequence that is longer than the interval's beginning."""
        if odd := [video for video in videos if not isinstance(video, VotVideo)]:
            return f"{odd[0].files[0]}: has no polygons; reset-based evaluation reads data of layout vot"
        longest, first = max(len(video.frames) for video in videos), self.interval[0]
        if longest > first:
            return ""
        return (
            f"the longest sequence has {longest} frames, and the expected average overlap is over lengths from {first} "
            "on; add --set recipe.interval=[FIRST,LAST]"
        )

    def targets(self, video: BoxVideo) -> np.ndarray:
        """Return the true polygons; the tracker itself finds out with them when it has failed."""
        assert isinstance(video, VotVideo)
        return video.polygons

    def truth(self, video: BoxVideo) -> Files:
        """Return the true polygons, and the frames' size."""
        size = f"[{video.frames.width}, {video.frames.height}]\n".encode()
        return {f"{video.name}.txt": box_lines(self.targets(video)), f"size/{video.name}.json": size}

    def measure(self, folder: Path, sequences: Sequence[str]) -> Measured:
        """Measure all sequences together, and each sequence's accuracy and failures."""
        runs, truths, sizes = _read_runs(folder, sequences)
        by_sequence = {
            name: _percent(vot_metrics.measure_run(run, truth, size))
            for name, run, truth, size in zip(sequences, runs, truths, sizes, strict=True)
        }
        return Measured(
            overall=_percent(vot_metrics.measure_runs(runs, truths, sizes, self.interval)), by_sequence=by_sequence
        )

    def pooled(self, folder: Path, sequences: Sequence[str], metric: str) -> Callable[[Sequence[int]], float]:
        """Return a function that measures a metric on a sample of the sequences, by their places.

        It gives NaN where the sample has no run that is long enough.

        Raises:
            UserError: a file is missing or damaged.
            KeyError: there is no such metric.
        """
        if metric not in (*self.METRICS, "failures"):
            raise KeyError(metric)
        counted = list(map(vot_metrics.count_run, *_read_runs(folder, sequences)))

        def measure(sample: Sequence[int]) -> float:
            try:
                return _percent(vot_metrics.combine_runs([counted[place] for place in sample], self.interval))[metric]
            except DataError:
                return math.nan

        return measure


def _read_runs(
    folder: Path, sequences: Sequence[str]
) -> tuple[list[list[np.ndarray]], list[np.ndarray], list[tuple[int, int]]]:
    """Return what was found in each sequence, its truth, and its frames' size. Raises UserError for a damaged file."""
    runs, truths, sizes = [], [], []
    for name in sequences:
        path = folder / RESULTS / f"{name}.txt"
        truth, broken = parse_boxes(folder / TRUTH / f"{name}.txt", columns=8)
        run = read_regions(path)
        if broken or len(run) != len(truth):
            raise UserError(f"{path}: not a line for each of {len(truth)} frames; {_AGAIN}")
        width, height = read_json(folder / TRUTH / "size" / f"{name}.json")
        runs.append(run)
        truths.append(truth)
        sizes.append((width, height))
    return runs, truths, sizes


def read_regions(path: Path) -> list[np.ndarray]:
    """Read boxes and states, a line a frame. Raises DataError where a line is neither."""
    regions = []
    for number, line in read_lines(path):
        try:
            region = np.array([parse_number(word) for word in split_fields(line)])
        except ValueError:
            region = np.empty(0)
        if len(region) not in (1, 4) or not np.isfinite(region).all():
            raise DataError(f"{path}:{number}: neither a box nor a state; {_AGAIN}")
        regions.append(region)
    return regions


def _percent(values: dict[str, float]) -> dict[str, float]:
    return {name: 100 * value if name in ("eao", "accuracy") else value for name, value in values.items()}


def _read_flags(path: Path, frames: int) -> np.ndarray:
    flags = np.array([line.strip() for _, line in read_lines(path)])
    if len(flags) != frames:
        raise UserError(f"{path}: {len(flags)} lines for {frames} frames; {_AGAIN}")
    seen: np.ndarray = flags == "1"
    return seen


def _corners(box: np.ndarray) -> Box:
    x, y, w, h = box.tolist()
    return x, y, x + w, y + h
