"""The leaderboard of a run's records.

mec-transfer leaderboard runs/demo
mec-transfer leaderboard runs/demo --format csv > numbers.csv
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mec_transfer.common.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("run", type=Path, metavar="DIR", help="a run's folder, or any folder with records below it")
    parser.add_argument("--format", choices=("md", "csv", "json"), default="md", help="default: md")
    parser.add_argument("--no-references", action="store_true", help="leave out the published numbers")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.results.formats import format_leaderboard
    from mec_transfer.results.leaderboard import build_leaderboard
    from mec_transfer.results.references import load_references
    from mec_transfer.results.store import Store

    store = Store(args.run)
    for problem in store.problems:
        print(f"mec-transfer: warning: {problem}", file=sys.stderr)
    if not store.records:
        raise UserError(f"{args.run}: no job below it has a record yet")
    references = () if args.no_references else load_references()
    print(format_leaderboard(build_leaderboard(store.records, references), args.format), end="")
    return 0
