"""The `mec-transfer` command: finds the subcommand, turns errors into one line and an exit status."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NoReturn

from mec_transfer import __version__
from mec_transfer.common.command import exit_status
from mec_transfer.common.errors import UserError, did_you_mean
from mec_transfer.common.processes import end_process

COMMANDS = {
    "models": "public checkpoints by name: which there are, where they come from, and fetching them",
    "inspect": "what is in a checkpoint, what would be taken, what left out",
    "convert": "write a checkpoint for another engine, with proof",
    "knn": "k-NN classification on frozen features",
    "linear": "linear probe on the frozen backbone",
    "semisup": "finetune on 1 %, 10 % or a list of labels",
    "detect": "finetune a detector (VOC, COCO or your own data) through Detectron2",
    "segment": "finetune a segmentation network (VOC, Cityscapes or your own masks)",
    "track": "object tracking with frozen features: five tasks (OTB, DAVIS, MOTChallenge, MOTS, PoseTrack)",
    "run": "a whole suite: many models, many benchmarks, one leaderboard",
    "reproduce": "run a public checkpoint by what it was published with, and say whether its numbers come out",
    "job": "one job of a planned run, for launchers of your own",
    "leaderboard": "the leaderboard of one run or several: markdown, LaTeX, csv, json, a model card",
    "report": "a run as one page: leaderboard, profiles, curves, pictures, and what is behind each number",
    "compare": "which of two models is better, and where the data cannot tell",
    "verify": "recompute every metric from the saved predictions",
    "ls": "the benchmarks, recipes and suites that there are",
    "show": "a benchmark's or a recipe's config: every key with its meaning, and the published numbers; protocol cards",
    "data": "make, fetch, check, fingerprint, subset or shard a data set",
    "engines": "install Detectron2 or MMTracking without a compiler, and prove that it works",
    "doctor": "what this machine has, and whether the pieces work",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status: 0 for a real result, 2 for a mistake of the user's, 1 else."""
    arguments = sys.argv[1:] if argv is None else argv
    return exit_status("mec-transfer", lambda: _dispatch(arguments))


def run_and_end() -> NoReturn:
    """Run the command of this process's own words, and end it."""
    end_process(main())


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if argv[0] == "--version":
        print(f"mec-transfer {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        raise UserError(f"'{name}' is not a command.{did_you_mean(name, COMMANDS)} See mec-transfer --help.")
    module = importlib.import_module(f"mec_transfer.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=f"mec-transfer {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    if given := getattr(args, "models_dir", None):
        from mec_transfer.models.zoo import FOLDER_VARIABLE

        # Jobs are processes of their own, which name a checkpoint as the user did.
        os.environ[FOLDER_VARIABLE] = str(given.absolute())
    status: int = module.run(args)
    return status


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return f"""usage: mec-transfer COMMAND ...

One self-supervised ResNet checkpoint in, every transfer number out.

{chr(10).join(lines)}

mec-transfer COMMAND --help says more. Pretraining: mec-pretrain --help."""


if __name__ == "__main__":
    run_and_end()
