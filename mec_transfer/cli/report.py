"""A run as one page, report.html: the leaderboard to sort and filter, profiles, bars, curves, pictures, and a panel
with all that is known of each number.

  mec-transfer report runs/demo
  mec-transfer report runs --out all.html --no-pictures

The page opens in any browser from the disk, without a network. `mec-transfer run` makes it when it ends.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mec_transfer.results.store import Store

MOST_INTERVALS = 500
"""Records: to draw their predictions anew takes from milliseconds to half a minute each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("run", type=Path, metavar="DIR", help="a run's folder, or any folder with records below it")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: DIR/report.html)")
    parser.add_argument("--no-pictures", action="store_true", help="leave out what the jobs drew: a page below 3 MB")
    parser.add_argument(
        "--no-intervals",
        action="store_true",
        help=f"no bootstrap of each number; so it is anyway with more than {MOST_INTERVALS} records",
    )
    parser.add_argument("--no-references", action="store_true", help="leave out the published numbers")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.common.errors import UserError
    from mec_transfer.common.progress import warn
    from mec_transfer.report.page import write_report
    from mec_transfer.results.store import Store

    if args.out and args.out.is_dir():
        raise UserError(f"--out {args.out}: is a folder; name the page, for instance {args.out / 'report.html'}")
    store = Store.read(args.run)
    for problem in store.problems:
        warn(problem)
    if not store.records:
        raise UserError(f"{args.run}: no job below it has a record yet")
    references = () if args.no_references else None
    intervals = {} if args.no_intervals else intervals_of(store)
    pictures = not args.no_pictures
    print(write_report(args.run, store, args.out, pictures=pictures, references=references, intervals=intervals))
    return 0


def intervals_of(store: Store) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the interval of each number of a run that is not too large for it, by row and column."""
    from mec_transfer.comparison.compare import cell_intervals
    from mec_transfer.suite.registry import saved_units

    return cell_intervals(store.stored, saved_units) if len(store.stored) <= MOST_INTERVALS else {}
