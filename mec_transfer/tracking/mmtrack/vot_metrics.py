"""What VOT's short-term challenges measure: a tracker is started anew after each failure (Kristan et al., VOT2018).

The states of a tracker's frames are MMTracking's, and so are the numbers (mmtrack/core/evaluation/eval_sot_vot.py,
after the VOT toolkit's supervised analysis), but for its rounding of overlaps to float32. Regions are laid on a grid of
pixels before they are compared, as in the toolkit (vot/region/raster.py, the same from 2021 to its version 0.9).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mec_transfer.common.errors import DataError

METRICS = ("eao", "accuracy", "robustness")
"""The expected average overlap and the mean overlap, from 0 to 1; and failures in a hundred frames, the fewer the
better."""
SKIPPED, STARTED, FAILED = 0.0, 1.0, 2.0
"""What stands in place of a frame's box: not tracked after a failure; started here; lost here."""
INTERVAL = (100, 356)
"""VOT2018 takes the expected average overlap as the mean over these lengths in frames, both ends included."""
BURN_IN = 10
"""Frames from a start on whose overlap does not count in the accuracy."""
SKIP = 5
"""A tracker that is lost in frame n is started anew in frame n + 5."""


def measure_runs(
    runs: Sequence[Sequence[np.ndarray]],
    truths: Sequence[np.ndarray],
    sizes: Sequence[tuple[int, int]],
    interval: tuple[int, int] = INTERVAL,
) -> dict[str, float]:
    """Return the metrics of all sequences together.

    Args:
        runs: for each sequence a frame's box, (4,) of x, y, w, h, or its state, (1,).
        truths: for each sequence (frames, 8), the corners of the target.
        sizes: for each sequence width and height of its frames in pixels.
        interval: of the expected average overlap.

    Returns:
        The metrics, and `failures`, how often a tracker was lost.

    Raises:
        DataError: a sequence does not begin with a start, or no run is long enough for the interval.
    """
    for number, run in enumerate(runs, start=1):
        if _states(run)[0] != STARTED:
            raise DataError(f"sequence {number}: its first frame is not a start of the tracker")
    return combine_runs([count_run(*sequence) for sequence in zip(runs, truths, sizes, strict=True)], interval)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountedRun:
    """What the metrics take of a sequence."""

    frames: int
    failures: int
    accuracy: float
    pieces: list[tuple[np.ndarray, bool]]
    """As `expected_overlap` takes them."""


def count_run(run: Sequence[np.ndarray], truth: np.ndarray, size: tuple[int, int]) -> CountedRun:
    """Compare one sequence's boxes with its truth; see `measure_runs`."""
    overlaps, states = run_overlaps(run, truth, size), _states(run)
    return CountedRun(
        frames=len(run),
        failures=int((states == FAILED).sum()),
        accuracy=_accuracy(overlaps, states),
        pieces=_pieces(overlaps, states),
    )


def combine_runs(runs: Sequence[CountedRun], interval: tuple[int, int] = INTERVAL) -> dict[str, float]:
    """Return the metrics of several sequences together, as `measure_runs` does.

    Raises:
        DataError: no run is long enough for the interval.
    """
    frames, failures = sum(run.frames for run in runs), sum(run.failures for run in runs)
    return {
        "eao": expected_overlap([piece for run in runs for piece in run.pieces], interval),
        "accuracy": sum(run.accuracy * run.frames for run in runs) / frames,
        "robustness": failures / frames * 100,
        "failures": float(failures),
    }


def measure_run(run: Sequence[np.ndarray], truth: np.ndarray, size: tuple[int, int]) -> dict[str, float]:
    """Return accuracy and robustness of one sequence; see `measure_runs`."""
    states = _states(run)
    failures = np.count_nonzero(states == FAILED)
    return {"accuracy": _accuracy(run_overlaps(run, truth, size), states), "robustness": failures / len(run) * 100}


def run_overlaps(run: Sequence[np.ndarray], truth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the overlap of each frame's box with the truth, (frames,); 0 for a frame that has a state in its place."""
    pairs = zip(run, truth, strict=True)
    return np.array([0.0 if len(box) == 1 else region_overlap(box, corners, size) for box, corners in pairs])


def expected_overlap(pieces: Sequence[tuple[np.ndarray, bool]], interval: tuple[int, int] = INTERVAL) -> float:
    """Return the expected average overlap.

    Args:
        pieces: from each start to a failure or the sequence's end: overlaps, (n,), and whether it ended in a failure.
            A lost target's overlap is 0 for ever; one that was followed to the end says nothing of longer videos.
        interval: lengths in frames, both ends included. MMTracking's curve ends with the longest piece. Where that is
            before the interval, so that it has no number, the zeros of the lost ones go on to the interval's end.

    Raises:
        DataError: no piece says anything about the interval's lengths.
    """
    longest = max(len(overlaps) for overlaps, _ in pieces)
    if longest <= interval[0] and any(failed for _, failed in pieces):
        longest = interval[1] + 1
    if longest <= interval[0]:
        raise DataError(
            f"the longest sequence has {longest} frames, and the expected average overlap is over lengths from "
            f"{interval[0]} on; choose a shorter interval, under a protocol id of its own"
        )
    total, count = np.zeros(longest), np.zeros(longest)
    for overlaps, failed in pieces:
        padded = np.zeros(longest)
        padded[: len(overlaps)] = overlaps
        means = np.concatenate([padded[:1], padded[1:].cumsum() / np.arange(1, longest)])
        known = longest if failed else len(overlaps)
        total[:known] += means[:known]
        count[:known] += 1
    kept = slice(interval[0], interval[1] + 1)
    return float(np.mean(total[kept] / count[kept]))


def region_overlap(one: np.ndarray, other: np.ndarray, bounds: tuple[int, int]) -> float:
    """Return the intersection over union of two regions in pixels, each a box or a polygon.

    Args:
        one: (4,) of x, y, w, h, or (2 n,) of corners x1, y1, x2, y2, ...
        other: like `one`.
        bounds: width and height of the image; what lies outside does not count.
    """
    spans = [_extent(region) for region in (one, other)]
    left, top = (min(pair) for pair in list(zip(*spans))[:2])
    right, bottom = (max(pair) for pair in list(zip(*spans))[2:])
    if left >= right or top >= bottom:
        return 1.0  # the toolkit's word for two regions without an area
    left, top = max(0, left), max(0, top)
    right, bottom = min(bounds[0] - 1, right), min(bounds[1] - 1, bottom)
    if left >= right or top >= bottom:
        return 0.0
    masks = [_raster(region, (left, top, right, bottom)) for region in (one, other)]
    union = np.count_nonzero(masks[0] | masks[1])
    return np.count_nonzero(masks[0] & masks[1]) / union if union else 0.0


def _states(run: Sequence[np.ndarray]) -> np.ndarray:
    """Return each frame's state, (frames,); NaN where there is a box."""
    return np.array([float(found[0]) if len(found) == 1 else np.nan for found in run])


def _accuracy(overlaps: np.ndarray, states: np.ndarray) -> float:
    """Return the mean overlap over the frames that count, or 0 where there are none."""
    counts = np.isnan(states) | (states == STARTED)
    for start in np.flatnonzero(states == STARTED):
        counts[start : start + BURN_IN] = False
    return float(overlaps[counts].mean()) if counts.any() else 0.0


def _pieces(overlaps: np.ndarray, states: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """Return the overlaps from each start on, up to its failure or the end, and whether it failed."""
    starts, failures = np.flatnonzero(states == STARTED), np.flatnonzero(states == FAILED)
    pieces = [(overlaps[start:end], True) for start, end in zip(starts, failures)]
    return pieces + [(overlaps[start:], False) for start in starts[len(failures) :]]


def _points(region: np.ndarray) -> np.ndarray:
    """Return a region's numbers rounded to whole ones, half to even, from float32 as the toolkit holds them."""
    return np.round(np.asarray(region, dtype=np.float32)).astype(np.int64)


def _extent(region: np.ndarray) -> tuple[int, int, int, int]:
    """Return the first and the last column and row: left, top, right, bottom."""
    points = _points(region)
    if len(points) == 4:
        x, y, w, h = points.tolist()
        return x, y, x + w - 1, y + h - 1
    x, y = points[0::2], points[1::2]
    return int(x.min()), int(y.min()), int(x.max()), int(y.max())


def _raster(region: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """Return which pixels of a window (left, top, right, bottom, all included) a region covers, (H, W) bool."""
    left, top, right, bottom = window
    mask = np.zeros((bottom - top + 1, right - left + 1), dtype=bool)
    if len(region) == 4:
        x0, y0, x1, y1 = _extent(region)
        mask[max(y0 - top, 0) : max(y1 - top + 1, 0), max(x0 - left, 0) : max(x1 - left + 1, 0)] = True
        return mask
    x, y = _points(region).reshape(-1, 2).T - np.array([[left], [top]])
    rows = np.arange(len(mask))[:, None]
    before_x, before_y = np.roll(x, 1), np.roll(y, 1)
    crossed = (np.minimum(y, before_y) <= rows) & (rows <= np.maximum(y, before_y))  # (H, edges)
    rise = before_y - y
    share = (rows - y) / np.where(rise == 0, 1, rise)
    crossings = np.trunc(x + np.where(rise == 0, 0, share) * (before_x - x)).astype(np.int64)
    for row, (places, there) in enumerate(zip(crossings, crossed)):
        for begin, end in _fill(np.sort(places[there]).tolist()):
            mask[row, max(begin, 0) : max(end + 1, 0)] = True
    return mask


def _fill(places: list[int]) -> list[tuple[int, int]]:
    """Return the stretches between the crossings of one row, sorted, with edges: even-odd, touching corners once."""
    stretches, at = [], 0
    while at < len(places) - 1:
        if places[at] == places[at + 1] and at < len(places) - 2:
            at += 1
            continue
        stretches.append((places[at], places[at + 1]))
        at += 2
    return stretches
