"""k-NN classification on frozen features.

mec-transfer knn mec_r50.pth --data imagenet --out runs/knn
mec-transfer knn random:resnet50 --data cifar10 --config cifar10_knn --out runs/random-knn
"""

from __future__ import annotations

import argparse

from mec_transfer.cli import evaluate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    evaluate.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return evaluate.evaluate(args, "knn", "knn_dino")
