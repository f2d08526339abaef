"""Episodes of few-shot classification: a few images of a few classes to learn from, others of them to classify."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.arrays import Arrays, measure_saved
from mec_transfer.units import Ratios

# E episodes, W ways (the classes of an episode), K shots and Q queries of each, D numbers of a feature


def draw_episode(images: Sequence[np.ndarray], ways: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes, and of each of them as many images as are learnt from and measured on together.

    Args:
        images: (n,) int64 for each class: which images are its own, `each` at least.
        ways: how many classes.
        each: how many images of a class.
        seed: of the draw, which depends on nothing else.

    Returns:
        (W,) the classes and (W, each) their images, nothing twice.
    """
    rng = np.random.default_rng(seed)
    classes = rng.choice(len(images), ways, replace=False)
    return classes, np.stack([rng.choice(images[number], each, replace=False) for number in classes])


def nearest_prototypes(support: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return each query's class: that of the nearest mean of what is learnt from, by Euclidean distance.

    Args:
        support: (W, K, D) float64.
        queries: (W, Q, D) float64.

    Returns:
        (W, Q) the place of the class, the first of equally near ones.
    """
    prototypes = support.mean(axis=1)
    # |q - p|^2 / 2 less |q|^2 / 2, which is the same for all prototypes
    return np.asarray((0.5 * np.square(prototypes).sum(axis=1) - queries @ prototypes.T).argmin(axis=-1))


def measure(saved: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return `top1_<k>shot`, the mean over the episodes in percent, for each number k of shots in `predictions.npz`.

    It holds the `shots`, and for each of them which class each query was taken for, `nearest_<k>` (E, W, Q): the class
    at the query's own place of W is right.

    Raises:
        ValueError: the arrays do not fit together.
    """
    return {metric: float(np.mean(values)) for metric, values in accuracies(saved).items()}


def accuracies(saved: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return each episode's share of queries that are right, (E,) in percent, by metric. Raises ValueError."""
    found = {}
    for shots in saved["shots"].tolist():
        nearest = saved[f"nearest_{shots}"]
        if nearest.ndim != 3 or not nearest.size:
            raise ValueError(f"'nearest_{shots}' is of shape {nearest.shape}, not episodes, ways and queries")
        right = nearest == np.arange(nearest.shape[1])[:, None]
        found[f"top1_{shots}shot"] = 100.0 * right.mean(axis=(1, 2))
    return found


def interval(values: np.ndarray) -> float:
    """Return half the length of the mean's 95 % interval as published, of episodes' values (E,)."""
    return float(1.96 * np.std(values) / np.sqrt(len(values)))


def episode_units(folder: Path) -> Ratios:
    """Return each episode's accuracies. Raises UserError where predictions.npz is missing or damaged."""
    return measure_saved(folder, _units, ("shots",))


def _units(saved: Arrays) -> Ratios:
    """The classes and queries of all episodes tell whether two jobs have the same ones."""
    totals = accuracies(saved)
    counts = {len(values) for values in totals.values()}
    if len(counts) != 1:
        raise ValueError(f"there are {' and '.join(map(str, sorted(counts)))} episodes")
    drawn = hashlib.sha256()
    for shots in saved["shots"].tolist():
        for name in ("classes", "queries"):
            drawn.update(saved[f"{name}_{shots}"].astype("<i4").tobytes())
    return Ratios(kind="episodes", truth=drawn.hexdigest(), totals=totals, sizes=np.ones(counts.pop()))
