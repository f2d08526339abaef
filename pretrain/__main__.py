"""Pretrain a ResNet with Maximum Entropy Coding: images in, checkpoint_last.pth and log.jsonl out.

    mec-pretrain configs/pretrain/mec_r50_100ep.yaml --data imagenet/train --out runs/mec
    torchrun --nproc-per-node 8 -m pretrain mec_r50_100ep --data imagenet/train --out runs/mec

CONFIG is a file, or the name of one in configs/pretrain. The same command again goes on from the last checkpoint,
within the epoch where that was interrupted, and returns at once when the run is finished. SIGTERM, SIGUSR1 and Ctrl-C
save first; the exit status is then 128 + the signal's number.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from mec_transfer.common.command import add_compute, add_overrides, check_compute, exit_status
from mec_transfer.common.config import load_config
from mec_transfer.common.errors import UserError
from mec_transfer.common.paths import find_config
from mec_transfer.common.processes import end_process
from mec_transfer.common.progress import say
from pretrain.config import PretrainConfig
from pretrain.identity import CHECKPOINT, identify, is_finished, training_folder


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status: 0 when the run is finished, 2 for a mistake of the user's, 1 else."""
    return exit_status("mec-pretrain", lambda: _run(_parser().parse_args(argv)))


def run_and_end() -> NoReturn:
    """Run the command of this process's own words, and end it."""
    end_process(main())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mec-pretrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, or a name in configs/pretrain")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="every image below it, or in its tar shards, is used"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where checkpoint and log go")
    parser.add_argument(
        "--labelled", type=Path, metavar="DIR", help="train/ and val/ of class folders to watch k-NN accuracy on"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write for TensorBoard as well, to --out/tensorboard"
    )
    parser.add_argument(
        "--resume",
        choices=("auto", "never"),
        default="auto",
        help="auto (default) goes on from the checkpoint in --out; never wants an empty --out",
    )
    add_overrides(parser)
    add_compute(parser, workers_on_cpu=False)
    return parser


def _run(args: argparse.Namespace) -> int:
    config = load_config(PretrainConfig, find_config(args.config, "pretrain"), args.overrides)
    check_compute(args)
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out}: is a file; give a folder")
    if args.resume == "never" and args.out.is_dir() and any(args.out.iterdir()):
        raise UserError(f"--out {args.out}: is not empty; --resume never needs a new folder")
    folder = training_folder(args.data)
    if folder != args.data:
        say(f"{args.data}: has train and val; pretraining on {folder}")
    identity = identify(config, args.seed, folder)
    if is_finished(args.out, identity):
        say(f"{args.out / CHECKPOINT}: this run is finished; nothing to do")
        return 0

    from pretrain.loop import RunOptions, pretrain  # imports torch

    options = RunOptions(
        folder=folder,
        out=args.out,
        device=args.device,
        workers=args.workers,
        labelled=args.labelled,
        tensorboard=args.tensorboard,
    )
    pretrain(config, identity, options)
    return 0


if __name__ == "__main__":
    run_and_end()
