"""Finetune the whole network on 1 %, 10 % or your own list of labelled training images.

mec-transfer semisup mec_r50.pth --data imagenet --labels 1% --recipe vicreg --out runs/semisup-1pct
mec-transfer semisup mec_r50.pth --data imagenet --labels my_images.txt --recipe barlow --out runs/semisup-mine
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mec_transfer.cli import evaluate
from mec_transfer.common.errors import UserError

RECIPES = ("barlow", "vicreg", "swav")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    evaluate.add_arguments(parser)
    parser.add_argument(
        "--labels",
        metavar="1%|10%|FILE",
        help="which training images are labelled (default: 1%%); a FILE has one image name a line",
    )
    parser.add_argument("--recipe", choices=RECIPES, help="whose recipe (default: barlow)")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    listed = args.labels not in (None, "1%", "10%")
    if args.config and (args.recipe or (args.labels and not listed)):
        raise UserError("--config names the recipe and the share of labels; leave out --recipe and --labels 1%|10%")
    percent = 10 if args.labels == "10%" else 1  # a list of one's own takes the 1 % recipe
    config = f"semisup_{percent}pct_{args.recipe or 'barlow'}"
    if listed:
        file = Path(args.labels)
        if not file.is_file():
            raise UserError(f"--labels {file}: no such file; give 1%, 10% or a file with one image name a line")
        args.overrides = [f"recipe.labels={json.dumps(str(file.resolve()))}", *args.overrides]
    return evaluate.evaluate(args, "semisup", config)
