"""Options that several commands share, under the same names with the same meaning."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

CHECKPOINT_HELP = "a file, or random:resnet50[:SEED][:cifar], torchvision:resnet50, timm:NAME, hf:REPO/FILE"


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add CKPT and --encoder."""
    parser.add_argument("checkpoint", metavar="CKPT", help=CHECKPOINT_HELP)
    add_encoder(parser)


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Add --encoder: which network of a file that holds several."""
    parser.add_argument(
        "--encoder",
        default="auto",
        metavar="auto|online|teacher|PREFIX",
        help="which network of a file that holds several; auto takes the one that the method's authors evaluate",
    )


def add_compute(parser: argparse.ArgumentParser) -> None:
    """Add --device, --workers and --seed."""
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute (default: auto)")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes that load data")
    parser.add_argument("--seed", type=int, default=0, help="of everything random in the run (default: 0)")


def add_config_overrides(parser: argparse.ArgumentParser) -> None:
    """Add --set."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="a.b=VALUE",
        help="override a key of the config; the protocol id then ends in +custom-HASH",
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add --out."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the record and its files go")


def default_workers() -> int:
    """As many loading processes as there are cores to spare beside the one that computes, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)
