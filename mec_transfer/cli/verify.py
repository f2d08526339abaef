"""Recompute every metric from the saved predictions, and compare it with the record.

  mec-transfer verify runs/demo                    a whole run
  mec-transfer verify runs/demo/jobs/mec/knn-t0-…  one job

Exit status 1 when a number differs, or when predictions are missing; 2 when a library is missing that a metric needs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.extras import explain

if TYPE_CHECKING:
    from mec_transfer.results.store import Stored

TOLERANCE = 1e-9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a job's folder, or a run's with many of them")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.results.store import Store

    store = Store.read(args.run)
    for problem in store.problems:
        print(f"BAD   {problem}")
    finished = [stored for stored in store.stored if stored.record.status == "ok"]
    if not finished and not store.problems:
        raise UserError(f"{args.run}: no job below it has a number to verify")
    wrong = unable = 0
    for stored in finished:
        try:
            problem = _problem(stored)
            verdict = f"BAD   {problem}" if problem else f"same  {len(stored.record.metrics)} metrics"
            wrong += bool(problem)
        except ImportError as error:
            missing = explain(error)
            if missing is None:
                raise
            verdict = f"?     {missing}"
            unable += 1
        print(f"{verdict}  {stored.record.model.name}  {stored.record.benchmark.protocol}  {stored.folder}")
    failed = len(store.stored) - len(finished)
    skipped = f", {unable} that cannot be verified here" if unable else ""
    good, bad = len(finished) - wrong - unable, wrong + len(store.problems)
    print(f"{good} verified, {bad} bad, {failed} without a number{skipped}")
    return 1 if bad else 2 if unable else 0


def _problem(stored: Stored) -> str:
    """Recompute one record's metrics; return what is wrong, or ""."""
    from mec_transfer.suite.registry import saved_benchmark

    try:
        found = saved_benchmark(stored.folder).recompute(stored.folder, stored.record)
    except (UserError, RunError) as error:
        return str(error)
    for name, value in stored.record.metrics.items():
        if name not in found:
            return f"{name} = {value} in the record, and nothing in the predictions"
        if not abs(found[name] - value) <= TOLERANCE:
            return f"{name} = {value} in the record, {found[name]} from the predictions"
    return ""
