"""The leaderboard of a run's records.

mec-transfer leaderboard runs/demo
mec-transfer leaderboard runs/demo --format csv > numbers.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("run", type=Path, metavar="DIR", help="a run's folder, or any folder with records below it")
    parser.add_argument("--format", choices=("md", "csv", "json"), default="md", help="default: md")
    parser.add_argument("--no-references", action="store_true", help="leave out the published numbers")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.api import leaderboard
    from mec_transfer.results.formats import format_leaderboard

    print(format_leaderboard(leaderboard(args.run, not args.no_references), args.format), end="")
    return 0
