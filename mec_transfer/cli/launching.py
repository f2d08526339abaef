"""Where a suite's jobs run: the options of `mec-transfer run` for a SLURM cluster."""

from __future__ import annotations

import argparse
import math

from mec_transfer.common.errors import UserError
from mec_transfer.launchers.slurm_submit import SlurmOptions, require_slurm

_GPUS, _CPUS = 8, 8
_WORDS, _COUNTS = ("partition", "account", "qos", "constraint"), ("cpus", "gpus_per_node", "max_running", "requeues")


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add --launcher, and a group of those that go with --launcher slurm."""
    parser.add_argument(
        "--launcher", choices=("local", "slurm"), default="local", help="this machine (default), or a SLURM cluster"
    )
    group = parser.add_argument_group(
        "with --launcher slurm",
        "Every job asks for --time-limit minutes, and is requeued and goes on when they are up. Unless there is\n"
        "--device cpu it asks for as many GPUs as its published run had, or at most for --gpus N. The jobs go on when\n"
        "this command is stopped, and the same command finds them again.",
    )
    for name in ("partition", "account", "qos", "constraint"):
        group.add_argument(f"--{name}", metavar="NAME", help="as sbatch takes it")
    group.add_argument(
        "--cpus", type=int, metavar="N", help=f"cores of each process, and most loading processes (default: {_CPUS})"
    )
    group.add_argument(
        "--gpus-per-node",
        type=int,
        metavar="N",
        help=f"GPUs of a node; a job that needs more takes several nodes (default: {_GPUS})",
    )
    group.add_argument("--max-running", type=int, metavar="N", help="jobs at once (default: as many as SLURM lets run)")
    group.add_argument(
        "--requeues", type=int, metavar="N", help="how often at most a job is requeued at its time limit (default: 10)"
    )
    group.add_argument(
        "--slurm",
        action="append",
        metavar="KEY=VALUE",
        help="any other long option of sbatch, such as mem=64G or exclusive (may be given again)",
    )


def slurm_options(args: argparse.Namespace) -> SlurmOptions | None:
    """Return what the jobs ask of SLURM, None with --launcher local.

    Raises:
        UserError: options do not go together, or there is no SLURM here.
    """
    if args.launcher == "local":
        if lone := [name for name in (*_WORDS, *_COUNTS, "slurm") if getattr(args, name) is not None]:
            raise UserError(f"--{lone[0].replace('_', '-')}: goes with --launcher slurm")
        return None
    if args.jobs is not None:
        raise UserError("--jobs shares out this machine; with --launcher slurm it is --max-running")
    if args.plan_json:
        raise UserError("--plan-json is for launchers of your own; leave it or --launcher slurm out")
    if args.time_limit is None:
        raise UserError("--launcher slurm needs --time-limit MINUTES; a job that takes longer is requeued and goes on")
    for name in _COUNTS:
        if (value := getattr(args, name)) is not None and value < (name != "requeues"):
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least {int(name != 'requeues')}")
    if args.device == "cpu" and args.gpus_per_node is not None:
        raise UserError("--gpus-per-node and --device cpu contradict each other; leave one out")
    given = {name: value for name in (*_WORDS, *_COUNTS) if (value := getattr(args, name)) is not None}
    defaults = {"cpus": _CPUS, "gpus_per_node": 0 if args.device == "cpu" else _GPUS}
    options = SlurmOptions(minutes=math.ceil(args.time_limit), extra=tuple(args.slurm or ()), **(defaults | given))
    if not args.dry_run:
        require_slurm()
    return options
