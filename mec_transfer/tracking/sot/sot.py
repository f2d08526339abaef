"""Single-object tracking on OTB: one box in the first frame, followed by cross-correlation or a correlation filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from mec_transfer.common.errors import UserError
from mec_transfer.datasets.videos.box_video import BoxVideo, box_lines, read_boxes
from mec_transfer.tracking.appearance import Features
from mec_transfer.tracking.overlay import Box, Marks
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files, Measured, Tick
from mec_transfer.tracking.sot.config import SotConfig
from mec_transfer.tracking.sot.otb_metrics import METRICS, measure_boxes
from mec_transfer.tracking.sot.search import follow_box
from mec_transfer.tracking.task import FrozenTask


class Sot(FrozenTask[BoxVideo]):
    """One-pass evaluation by UniTrack's protocols; results/SEQUENCE.txt as OTB and pysot read them."""

    METRICS: ClassVar[tuple[str, ...]] = METRICS
    WHOLE_FRAMES: ClassVar[bool] = False
    config: SotConfig

    def follow(self, video: BoxVideo, features: Features, tick: Tick) -> Files:
        """Track through a video; return the submission's file."""
        boxes = follow_box(video.frames, video.boxes[0], features, self.config.recipe, tick)
        return {f"{video.name}.txt": box_lines(boxes)}

    def truth(self, video: BoxVideo) -> Files:
        """Return the true boxes, one line for each frame that is tracked."""
        return {f"{video.name}.txt": box_lines(video.boxes)}

    def measure(self, folder: Path, sequences: Sequence[str]) -> Measured:
        """Compute every metric from folder/results and folder/truth alone.

        Raises:
            UserError: a file is missing or damaged.
        """
        by_sequence = {}
        for name in sequences:
            found, truth = _read(folder, RESULTS, name), _read(folder, TRUTH, name)
            where = folder / RESULTS / f"{name}.txt"
            if len(found) != len(truth):
                raise UserError(f"{where}: {len(found)} boxes, but {len(truth)} frames have a truth; track it again")
            if np.isnan(found).any():
                raise UserError(f"{where}: a box is not a number (NaN); track it again")
            by_sequence[name] = measure_boxes(truth, found)
        overall = {metric: float(np.mean([row[metric] for row in by_sequence.values()])) for metric in METRICS}
        return Measured(overall=overall, by_sequence=by_sequence)

    def marks(self, video: BoxVideo, folder: Path) -> Callable[[int], Marks]:
        """Return a function from a frame's index to the box found and the true one."""
        found, truth = _read(folder, RESULTS, video.name), _read(folder, TRUTH, video.name)

        def draw(index: int) -> Marks:
            there = (truth[index, 2:] > 0).all() and not np.isnan(truth[index]).any()
            return Marks(boxes={1: _corners(found[index])}, truth=(_corners(truth[index]),) if there else ())

        return draw


def _read(folder: Path, part: str, name: str) -> np.ndarray:
    return read_boxes(folder / part / f"{name}.txt")


def _corners(box: np.ndarray) -> Box:
    x, y, w, h = box.tolist()
    return x - 1, y - 1, x - 1 + w, y - 1 + h
