"""How well embeddings find the same person again: mAP and rank-1, by MMTracking's rule (ReIDDataset.evaluate).

Every crop in turn is the query, and all others are ranked by their Euclidean distance from it. A query whose person
has no other crop is left out. MMTracking takes the first of each ranking for the query itself, in float32, and rounds
to three digits; here the query is left out by its place, distances are float64, equal ones keep the files' order, and
nothing is rounded. The two differ only where two crops have the same embedding to the last digits.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import RunError, UserError, one_line
from mec_transfer.common.files import write_bytes
from mec_transfer.units import Ratios

METRICS = ("mAP", "rank1")
"""Percentages."""
EMBEDDINGS = "embeddings.npz"
_QUERIES = 256
"""At a time: a matrix of distances to all crops stays below 100 MB."""


def reid_metrics(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return `METRICS` of embeddings, (N, C), of persons `labels`, (N,) int64. Raises RunError as `rank` does."""
    _, precision, first = rank(embeddings, labels)
    return {"mAP": 100 * float(precision.mean()), "rank1": 100 * float(first.mean())}


def rank(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank all other crops for each query, of embeddings, (N, C), whose persons are `labels`, (N,) int64.

    Returns:
        Of each query that counts its person, its average precision, 0 to 1, and whether the first crop is right.

    Raises:
        RunError: an embedding is not finite, or no person has two crops.
    """
    points = embeddings.astype(np.float64)
    if not np.isfinite(points).all():
        raise RunError("an embedding is not finite: the training has diverged; lower the stock config's optimizer.lr")
    squares = (points**2).sum(axis=1)
    persons: list[np.ndarray] = []
    precisions: list[np.ndarray] = []
    first: list[np.ndarray] = []
    for begin in range(0, len(points), _QUERIES):
        queries = np.arange(begin, min(begin + _QUERIES, len(points)))
        distances = squares[queries, None] + squares - 2 * (points[queries] @ points.T)
        distances[np.arange(len(queries)), queries] = -np.inf  # the query itself comes first, and is then left out
        ranking = np.argsort(distances, axis=1, kind="stable")[:, 1:]
        same = labels[ranking] == labels[queries, None]
        counts = same.any(axis=1)
        same = same[counts]
        persons.append(labels[queries[counts]])
        hits = same.cumsum(axis=1) / np.arange(1, same.shape[1] + 1)
        precisions.append((hits * same).sum(axis=1) / same.sum(axis=1))
        first.append(same[:, 0])
    if not sum(map(len, first)):
        raise RunError("no person has two crops to find one by the other")
    return np.concatenate(persons), np.concatenate(precisions), np.concatenate(first)


def save_embeddings(folder: Path, embeddings: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """Write embeddings, (N, C) float32, with labels and the crops' names into `folder`."""
    stream = io.BytesIO()
    np.savez(stream, embeddings=embeddings, labels=labels, names=np.array(names))
    write_bytes(folder / EMBEDDINGS, stream.getvalue())


def measure_saved(folder: Path) -> dict[str, float]:
    """Return the metrics of what `save_embeddings` left in `folder`. Raises UserError where it is not whole."""
    return reid_metrics(*_read(folder))


def person_units(folder: Path) -> Ratios:
    """Return each person's part in the metrics: their queries, among the crops of all persons.

    Raises:
        UserError: what `save_embeddings` left is not whole.
    """
    embeddings, labels = _read(folder)
    persons, precision, first = rank(embeddings, labels)
    names, place = np.unique(persons, return_inverse=True)
    sums = {"mAP": np.bincount(place, 100 * precision), "rank1": np.bincount(place, 100.0 * first)}
    truth = hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
    return Ratios(kind="persons", truth=truth, totals=sums, sizes=np.bincount(place, minlength=len(names)))


def _read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    path = folder / EMBEDDINGS
    try:
        with np.load(path, allow_pickle=False) as saved:
            embeddings, labels = saved["embeddings"], saved["labels"]
        if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
            raise ValueError(f"{embeddings.shape} embeddings of {labels.shape} labels")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the job left none") from None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        what = f"cannot be read ({one_line(error)})"
        raise UserError(f"{path}: {what}; delete the folder and run the job again") from None
    return embeddings, labels
