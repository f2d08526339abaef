"""The per-image predictions that every metric of classification can be recomputed from, with NumPy alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from mec_transfer.benchmark import Benchmark, MetricsConfig, Problem
from mec_transfer.common.arrays import PREDICTIONS_NAME, measure_saved, save_arrays
from mec_transfer.common.errors import did_you_mean
from mec_transfer.results.record import Record
from mec_transfer.units import Ratios


class ClassificationBenchmark(Benchmark):
    """A benchmark that leaves the classes it predicted in `predictions.npz`, from which all its metrics follow."""

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """Recompute the metrics of every tag: each k, each learning rate, or the best and the last epoch."""
        return recompute_metrics(folder)


def best_classes(scores: np.ndarray) -> np.ndarray:
    """Return the classes of the highest scores, best first: (..., C) -> (..., 5), or (..., 1) for 5 classes or fewer.

    Of equal scores the lower class comes first, on any machine.
    """
    guesses = 5 if scores.shape[-1] > 5 else 1
    return np.argsort(-scores, axis=-1, kind="stable")[..., :guesses]


def check_primary(metrics: MetricsConfig, tags: Iterable[str]) -> list[Problem]:
    """Return what is wrong with a benchmark's primary metric, found out before hours of computing rather than after."""
    names = [f"{top}{tag}" for top in ("top1", "top5") for tag in ("", *(f"_{tag}" for tag in tags))]
    if metrics.primary in names:
        return []
    hint = did_you_mean(metrics.primary, names)
    return [Problem(message=f"metrics.primary: no metric '{metrics.primary}'.{hint} There are: {', '.join(names)}")]


def save_predictions(
    folder: Path, targets: np.ndarray, top: Mapping[str, np.ndarray], primary: str
) -> dict[str, float]:
    """Write `folder`/predictions.npz atomically and return the metrics that follow from it.

    Args:
        folder: the job's own.
        targets: (N,) true classes.
        top: tag to (N, K) predicted classes, best first; K is 5, or 1 where there are 5 classes or fewer.
        primary: the tag whose numbers are also called plain `top1` and `top5`.

    Returns:
        `top1` and `top1_<tag>` in percent, and `top5` likewise where K is 5.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    metrics = {name: _percent(hits) for name, hits in _hits(targets, top, primary).items()}
    largest = max([int(targets.max()), *(int(classes.max()) for classes in top.values())])
    dtype = np.int16 if largest < 2**15 else np.int32
    arrays = {f"top_{tag}": classes.astype(dtype) for tag, classes in top.items()}
    save_arrays(folder / PREDICTIONS_NAME, targets=targets.astype(dtype), primary=np.array(primary), **arrays)
    return metrics


def recompute_metrics(folder: Path) -> dict[str, float]:
    """Return the metrics of the predictions saved in `folder`. Raises UserError as `read_hits` does."""
    return {name: _percent(hits) for name, hits in read_hits(folder)[1].items()}


def image_units(folder: Path) -> Ratios:
    """Return each image's part in the metrics of `folder`: 100 or 0. Raises UserError as `read_hits` does."""
    targets, hits = read_hits(folder)
    return Ratios(
        kind="images",
        truth=hashlib.sha256(targets.astype("<i4").tobytes()).hexdigest(),
        totals={name: 100.0 * right for name, right in hits.items()},
        sizes=np.ones(len(targets)),
    )


def read_hits(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the true classes, (N,), and for each metric which images it counts, (N,) bool.

    Raises:
        UserError: the file is missing or damaged.
    """
    return measure_saved(folder, _saved_hits, ("targets", "primary"))


def _saved_hits(saved: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    top = {name.removeprefix("top_"): saved[name] for name in saved if name.startswith("top_")}
    return saved["targets"], _hits(saved["targets"], top, str(saved["primary"]))


def _hits(targets: np.ndarray, top: Mapping[str, np.ndarray], primary: str) -> dict[str, np.ndarray]:
    by_tag: dict[str, np.ndarray] = {}
    for tag, classes in top.items():
        if len(targets) == 0 or classes.ndim != 2 or len(classes) != len(targets):
            raise ValueError(f"predictions '{tag}' of shape {classes.shape} do not fit {len(targets)} targets")
        hits = classes == targets[:, None]  # (N, K)
        by_tag[f"top1_{tag}"] = hits[:, 0]
        if classes.shape[1] == 5:
            by_tag[f"top5_{tag}"] = hits.any(axis=1)
    plain = {name: by_tag[f"{name}_{primary}"] for name in ("top1", "top5") if f"{name}_{primary}" in by_tag}
    return plain | by_tag


def _percent(correct: np.ndarray) -> float:
    return 100.0 * int(correct.sum()) / len(correct)
