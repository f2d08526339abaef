"""One job of a run that `mec-transfer run --plan-json` has planned, on any machine that sees the same folders.

  mec-transfer run --suite paper --model mec=mec_r50.pth --data-root /data --out runs/paper --plan-json > plan.json
  mec-transfer job runs/paper/jobs/mec/knn_dino-t0-1a2b3c4d/job.json

The job goes on where an earlier process of it was stopped, and is left alone when it has its number. `mec-transfer run`
with the same words then finds it done, and makes the leaderboard.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mec_transfer.cli.options import add_models_dir
from mec_transfer.common.progress import is_main_process


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("job", type=Path, metavar="JOB.json", help="of a folder below OUT/jobs")
    add_models_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.suite.child import run_job_file

    record = run_job_file(args.job)
    if is_main_process():
        print(
            f"{record.model.name}  {record.benchmark.protocol}  {record.primary} {record.metrics[record.primary]:.2f}"
        )
    return 0
