"""Linear probe on the frozen backbone, by MEC's recipe; --fast extracts features once and tries many rates.

mec-transfer linear mec_r50.pth --data imagenet --out runs/linear
mec-transfer linear mec_r50.pth --data imagenet --out runs/linear-fast --fast
"""

from __future__ import annotations

import argparse

from mec_transfer.cli import evaluate
from mec_transfer.common.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    evaluate.add_arguments(parser)
    parser.add_argument("--fast", action="store_true", help="the fast probe: features once, another protocol")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.fast and args.config:
        raise UserError("--config names the probe; leave out --fast")
    return evaluate.evaluate(args, "linear", "linear_fast" if args.fast else "linear_mec")
