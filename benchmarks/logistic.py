"""Logistic regression's grid of penalties on synthetic features: seconds and the C that is chosen, by device.

    python benchmarks/logistic.py --device cuda
    python benchmarks/logistic.py --classes 10 --penalties 9

Features are like pooled ones: float32, none negative. A fifth of the images choose C; then all are fitted. `--device
cuda` puts the CPU's row beside it. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from mec_transfer.classification import lbfgs
from mec_transfer.classification.config import LogisticConfig
from mec_transfer.classification.logistic import grid, validation_rows
from mec_transfer.suite.registry import benchmark_config, find_benchmark


def synthetic(images: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) float64 whose values are float32's, and labels (N,)."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    centres = rng.normal(size=(classes, width))
    features = np.maximum(centres[labels] + 4 * rng.normal(size=(images, width)), 0)
    return features.astype(np.float32).astype(np.float64), labels


def search(features: torch.Tensor, labels: np.ndarray, classes: int, cs: list[float]) -> tuple[float, float]:
    """Return the best C and its score on the images held out, in percent."""
    held = validation_rows(len(labels), 0.2, 0)
    fitted, truth = features[torch.from_numpy(~held).to(features.device)], labels[~held]
    judged = features.cpu().numpy()[held]
    fit, scores = None, []
    for c in cs:
        fit = lbfgs.fit(fitted, truth, classes, c, fit, 100)
        scores.append(100 * float((fit.scores(judged).argmax(axis=1) == labels[held]).mean()))
    best = scores.index(max(scores))
    lbfgs.fit(features, labels, classes, cs[best], fit, 100)
    return cs[best], scores[best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--penalties", type=int, default=45, help="of the grid, from the weakest on")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    config = benchmark_config(find_benchmark("transfer_cars", Path()))
    assert isinstance(config, LogisticConfig)
    cs = grid(config.recipe)[: args.penalties]
    print(f"{args.images} images of {args.width} numbers, {len(cs)} penalties, {torch.get_num_threads()} threads\n")
    print("| classes | device | C | validation | seconds |\n| ---: | --- | ---: | ---: | ---: |")
    for classes in args.classes:
        features, labels = synthetic(args.images, args.width, classes)
        for device in dict.fromkeys(["cpu", args.device]):
            rows = torch.from_numpy(features).to(device)
            began = time.monotonic()
            c, score = search(rows, labels, classes, cs)
            print(f"| {classes} | {device} | {c:.4g} | {score:.2f} | {time.monotonic() - began:.1f} |", flush=True)


if __name__ == "__main__":
    main()
