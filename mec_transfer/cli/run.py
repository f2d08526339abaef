"""A whole suite: every model on every benchmark, resumable, ending with one leaderboard.

  mec-transfer run --suite demo --out runs/demo
  mec-transfer run --suite paper --model mec=mec_r50.pth --data-root /data --out runs/paper --gpus 8

What is finished is not run again; what failed is tried again. Exit status 1 when a job failed; of --dry-run 3 when one
cannot run.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.cli import options
from mec_transfer.cli.launching import add_launcher, slurm_options
from mec_transfer.common import distributed
from mec_transfer.common.command import add_compute, check_compute
from mec_transfer.common.errors import MissingExtra, RunError, UserError, tell
from mec_transfer.common.progress import print_to_stderr, warn

if TYPE_CHECKING:
    from mec_transfer.results.leaderboard import Leaderboard
    from mec_transfer.suite.config import SuiteConfig
    from mec_transfer.suite.plan import RunOptions
    from mec_transfer.suite.run import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--suite", required=True, metavar="FILE|NAME", help="a suite YAML, or one in configs/suites")
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        default=[],
        metavar="NAME=CKPT",
        help=f"a row of the leaderboard, added to the suite's or in place of its model of that name; CKPT is "
        f"{options.CHECKPOINT_HELP}",
    )
    options.add_out(parser)
    add_run_options(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a suite is run, as opposed to what is in it and where it goes."""
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="the folder that holds the data sets' folders")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="GLOB",
        help="only jobs whose MODEL/BENCHMARK matches, for instance 'mec/*' or '*/coco_*'; may be given again",
    )
    options.add_models_dir(parser)
    options.add_cache(parser)
    parser.add_argument("--skip-invalid", action="store_true", help="leave broken annotations out, and say how many")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what is done and what would run, and stop (OUT keeps what was learnt)",
    )
    parser.add_argument(
        "--plan-json",
        action="store_true",
        help="write the job.json of every job that is to run, print them all as JSON, and stop: for launchers of your "
        "own, which run `mec-transfer job JOB.json` in this folder",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="jobs at once on CPUs, each on its share of cores and loading processes (default: 1); the last digits of "
        "a number may differ with the cores that a job has",
    )
    parser.add_argument(
        "--gpus",
        type=int,
        metavar="N",
        help="GPUs to use: a job takes as many as its published run had processes, or a divisor of that; what is left "
        "goes to others beside it (default: one job at a time, on one)",
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="MINUTES", help="end a job after so long; the same command goes on with it"
    )
    parser.add_argument(
        "--silence-limit", type=float, metavar="MINUTES", help="end a job that has printed nothing for so long"
    )
    add_compute(parser)
    add_launcher(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.common.paths import find_config
    from mec_transfer.suite.config import load_suite

    run_options = options_of(args)
    source = find_config(args.suite, "suites")
    done = carry_out(load_suite(source, args.models), source, args, run_options)
    if isinstance(done, int):
        return done
    return 1 if done.failed else 0


def options_of(args: argparse.Namespace) -> RunOptions:
    """Return how the arguments say that a suite is to be run. Raises UserError if they contradict each other."""
    from mec_transfer.suite.plan import RunOptions

    check_compute(args)
    options.check_cache(args)
    if distributed.world_size() > 1:  # its jobs would wait for partners that never come
        raise UserError("a suite runs in one process; start it without torchrun (its single commands share GPUs)")
    _check_slots(args)
    slurm = slurm_options(args)
    slots = 1 if slurm else args.jobs or args.gpus or 1
    workers = min(args.workers, slurm.cpus) if slurm else args.workers
    return RunOptions(
        out=args.out,
        data_root=args.data_root,
        cache=args.cache,
        device=args.device,
        workers=max(1, workers // slots) if workers else 0,
        seed=args.seed,
        skip_invalid=args.skip_invalid,
        dry_run=args.dry_run,
        only=tuple(args.only),
        jobs=args.jobs or 1,
        gpus=args.gpus,
        time_limit=args.time_limit and args.time_limit * 60,
        silence_limit=args.silence_limit and args.silence_limit * 60,
        slurm=slurm,
    )


def carry_out(suite: SuiteConfig, source: Path, args: argparse.Namespace, run_options: RunOptions) -> Outcome | int:
    """Run the part of a suite that --only selects, and print its leaderboard; return the outcome.

    If only the plan was asked for, print that and return the exit status.
    """
    from mec_transfer.results.markdown import format_text
    from mec_transfer.suite.only import narrow_suite
    from mec_transfer.suite.run import run_suite, show_plan, write_plan

    suite = narrow_suite(suite, source, args.only)
    if args.plan_json:
        print(json.dumps(write_plan(suite, source, run_options), indent=2))
        return 0
    if args.dry_run:
        return 3 if show_plan(suite, source, run_options) else 0
    outcome = run_suite(suite, source, run_options)
    print(format_text(outcome.board))
    print(f"\n{args.out / 'leaderboard.md'} (and .csv, .json)")
    if picture := _overview(args.out, outcome.board):
        print(f"{picture}: the same as bars, with curves and pictures")
    if page := _report(args.out):
        print(f"{page}: all of it in a browser, and what is behind each number")
    if outcome.failed:
        print_to_stderr(
            f"mec-transfer: failed: {outcome.failed} of {outcome.jobs} jobs; the same command tries them again"
        )
    return outcome


def _overview(out: Path, board: Leaderboard) -> Path | None:
    """Draw the run; a run that has its numbers does not fail because of a missing picture."""
    from mec_transfer.results.overview import write_overview

    try:
        return write_overview(out, board)
    except MissingExtra:
        return None
    except RunError as error:
        warn(str(error))
        return None


def _report(out: Path) -> Path | None:
    """Write the run's page if a record is newer; a run that has its numbers does not fail because of a missing page."""
    from mec_transfer.cli.report import intervals_of
    from mec_transfer.report.page import REPORT, write_report
    from mec_transfer.results.store import Store, is_current

    try:
        if is_current(out / REPORT, out):
            return out / REPORT
        store = Store.read(out)
        return write_report(out, store, intervals=intervals_of(store))
    except Exception as error:  # whatever it is, the numbers are safe
        warn(f"{REPORT} could not be written: {tell(error) or type(error).__name__}")
        return None


def _check_slots(args: argparse.Namespace) -> None:
    """Raise UserError for impossible numbers of jobs and GPUs, or impossible limits."""
    for name in ("jobs", "gpus", "time_limit", "silence_limit"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {value:g}: must be above 0")
    if args.gpus is None:
        return
    if args.jobs is not None:
        raise UserError("--jobs shares out the cores of a machine without GPUs, --gpus its GPUs; give one of them")
    if args.device not in ("auto", "cuda"):
        raise UserError(f"--gpus and --device {args.device} contradict each other; leave one out")
    if args.launcher == "slurm":  # they are the nodes'
        return
    from mec_transfer.common.runtime import visible_gpus

    if args.gpus > len(found := visible_gpus()):
        raise UserError(f"--gpus {args.gpus}: torch sees {len(found)} here")
