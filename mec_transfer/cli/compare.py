"""Which of two or more models is better on each benchmark, and where the data cannot tell.

  mec-transfer compare runs/demo                      every two models of a run
  mec-transfer compare mec random --in runs/demo      two models of a run, by their names on the leaderboard
  mec-transfer compare mec moco --in runs/a --in runs/b
  mec-transfer compare runs/mec_voc runs/moco_voc     folders that hold one model each: a run, or a single job

For each benchmark the difference of the numbers, with an interval by a paired bootstrap over the images or sequences
that both were measured on, and over trials where both have several. The intervals are corrected for how many there are.
Only numbers by one protocol on the same data are compared; others are refused. docs/compare.md has the method.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mec_transfer.common.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "models", nargs="+", metavar="A", help="models' names (with --in), or folders with one model each"
    )
    parser.add_argument(
        "--in", dest="runs", type=Path, action="append", default=[], metavar="RUN", help="where models lie"
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="of all intervals together (default: 0.95)")
    parser.add_argument("--format", choices=("text", "md", "json"), default="text", help="default: text")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.api import compare
    from mec_transfer.comparison.table import format_comparisons

    if not 0.5 <= args.confidence < 1:
        raise UserError(f"--confidence: {args.confidence:g} is not between 0.5 and 1, for instance 0.95")
    print(format_comparisons(compare(args.models, args.runs, confidence=args.confidence), args.format), end="")
    return 0
