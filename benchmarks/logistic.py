"""Logistic regression's grid of penalties on synthetic features, beside the plain loop that was published.

    python benchmarks/logistic.py                          # eleven data sets, as many classes as the suite's have
    python benchmarks/logistic.py --sets pets cars --plain # the published loop in the same run
    python benchmarks/logistic.py --device cuda            # the CPU's rows beside it

Features are like pooled ones: float32, none negative. A fifth of the images choose C; then all are fitted. The plain
loop is scikit-learn 0.22's loss in NumPy, given to the same optimiser for one penalty after the other, with as many
threads as BLAS has. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import optimize
from scipy.special import logsumexp

from mec_transfer.classification import lbfgs
from mec_transfer.classification.config import LogisticConfig
from mec_transfer.classification.logistic import average_precision, fit_all, grid, validation_rows
from mec_transfer.suite.registry import benchmark_config, find_benchmark

_CLASSES = {
    "aircraft": 100,
    "caltech101": 102,
    "cars": 196,
    "cifar10": 10,
    "cifar100": 100,
    "dtd": 47,
    "flowers102": 102,
    "food101": 101,
    "pets": 37,
    "sun397": 397,
    "voc2007": 20,
}
_SEVERAL = "voc2007"
"""Its images have any number of classes, and each class a classifier of its own."""
Fit = Callable[[torch.Tensor, np.ndarray, int, float, list[lbfgs.Fit]], list[lbfgs.Fit]]
"""Features, truth, classes, C and the fits of the last C, to the fits of this one."""


def synthetic(name: str, images: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) float64 whose values are float32's, and labels (N,), or (N, K) bool of several classes each."""
    rng = np.random.default_rng(0)
    classes = _CLASSES[name]
    centres = rng.normal(size=(classes, width))
    labels: np.ndarray
    if name == _SEVERAL:
        labels = rng.random((images, classes)) < 1.5 / classes
        signal = labels.astype(np.float64) @ centres
    else:
        labels = np.arange(images) % classes
        signal = centres[labels]
    features = np.maximum(signal + 4 * rng.normal(size=(images, width)), 0)
    return features.astype(np.float32).astype(np.float64), labels


def search(
    features: np.ndarray, labels: np.ndarray, classes: int, cs: list[float], fit: Fit, device: str
) -> tuple[float, float]:
    """Return the best C and its score on the images held out, in percent."""
    held = validation_rows(len(labels), 0.2, 0)
    judged, truth = features[held], labels[held]
    learnt, everything = (torch.from_numpy(x).to(device) for x in (features[~held], features))
    fits: list[lbfgs.Fit] = []
    scores = []
    for c in cs:
        fits = fit(learnt, labels[~held], classes, c, fits)
        if labels.ndim == 2:
            found = [average_precision(*columns) for columns in zip(truth.T, (f.scores(judged)[:, 1] for f in fits))]
            scores.append(100 * float(np.mean(found)))
        else:
            scores.append(100 * float((fits[0].scores(judged).argmax(axis=1) == truth).mean()))
    best = scores.index(max(scores))
    fit(everything, labels, classes, cs[best], fits)
    return cs[best], scores[best]


def ours(x: torch.Tensor, y: np.ndarray, classes: int, c: float, before: list[lbfgs.Fit]) -> list[lbfgs.Fit]:
    """The program's own, on the features' device."""
    return fit_all(x, y, classes, c, before, 100)


def plain(x: torch.Tensor, y: np.ndarray, classes: int, c: float, before: list[lbfgs.Fit]) -> list[lbfgs.Fit]:
    """The published loop: each class, where an image has several, or all at once."""
    start, fits = before[-1].weights if before else None, []
    for column in y.T if y.ndim == 2 else [y]:
        count = 2 if y.ndim == 2 else classes
        found = _plain(x.numpy(), np.eye(count)[column.astype(np.int64)], c, start)
        start = found.weights
        fits.append(found)
    return fits


def _plain(x: np.ndarray, truth: np.ndarray, c: float, start: np.ndarray | None) -> lbfgs.Fit:
    shape = (truth.shape[1], x.shape[1] + 1)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logs = x @ weights[:, :-1].T + weights[:, -1]
        logs -= logsumexp(logs, axis=1)[:, None]
        value = -float((truth * logs).sum()) + 0.5 / c * float((weights[:, :-1] ** 2).sum())
        difference = np.exp(logs) - truth
        gradient = np.empty(shape)
        gradient[:, :-1] = difference.T @ x + weights[:, :-1] / c
        gradient[:, -1] = difference.sum(axis=0)
        return value, gradient.ravel()

    begin = np.zeros(shape) if start is None else start
    limits = {"gtol": lbfgs.GRADIENT_TOLERANCE, "maxiter": 100}
    found = optimize.minimize(loss, begin.ravel(), method="L-BFGS-B", jac=True, options=limits)
    return lbfgs.Fit(found.x.reshape(shape), int(found.nit))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--sets", nargs="+", default=list(_CLASSES), choices=list(_CLASSES))
    parser.add_argument("--penalties", type=int, default=45, help="of the grid, from the weakest on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plain", action="store_true", help="the published loop as well")
    args = parser.parse_args()
    config = benchmark_config(find_benchmark("transfer_cars", Path()))
    assert isinstance(config, LogisticConfig)
    cs = grid(config.recipe)[: args.penalties]
    print(f"{args.images} images of {args.width} numbers, {len(cs)} penalties, {torch.get_num_threads()} threads\n")
    print("| set | classes | by | C | validation | seconds |\n| --- | ---: | --- | ---: | ---: | ---: |")
    ways: dict[str, tuple[Fit, str]] = {f"here, {at}": (ours, at) for at in dict.fromkeys(["cpu", args.device])}
    if args.plain:
        ways["published loop"] = plain, "cpu"
    total = dict.fromkeys(ways, 0.0)
    for name in args.sets:
        features, labels = synthetic(name, args.images, args.width)
        for way, (fit, device) in ways.items():
            began = time.monotonic()
            c, score = search(features, labels, _CLASSES[name], cs, fit, device)
            seconds = time.monotonic() - began
            total[way] += seconds
            print(f"| {name} | {_CLASSES[name]} | {way} | {c:.4g} | {score:.2f} | {seconds:.1f} |", flush=True)
    for way, seconds in total.items():
        print(f"| all | | {way} | | | {seconds:.0f} |")


if __name__ == "__main__":
    main()
