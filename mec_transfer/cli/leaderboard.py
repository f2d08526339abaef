"""The leaderboard of the records of one run or of several.

mec-transfer leaderboard runs/demo
mec-transfer leaderboard runs/a runs/b runs/c                       all of them on one board
mec-transfer leaderboard runs/demo --format latex > tables.tex
mec-transfer leaderboard runs/demo --format hf --model mec > README.md
mec-transfer leaderboard runs/demo --add-reference quotes.yaml      numbers that you quote, beside those that ship
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    from mec_transfer.results.formats import EXPORTS

    parser.add_argument("runs", type=Path, nargs="+", metavar="DIR", help="a run, or any folder with records below it")
    parser.add_argument(
        "--format",
        choices=EXPORTS,
        default="md",
        help="md (default): everything, to be read; paper: short tables in markdown; latex: the same with booktabs; "
        "csv: one value a line; json: by docs/leaderboard.schema.json; hf: metadata of a model card on Hugging Face",
    )
    parser.add_argument("--model", metavar="NAME", help="the row that --format hf is of, where there are several")
    parser.add_argument("--no-references", action="store_true", help="leave out the published numbers that ship")
    parser.add_argument(
        "--add-reference",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="published numbers that you quote: a YAML file as docs/leaderboard.md describes it; may be repeated",
    )
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write the numbers for TensorBoard as well")
    parser.add_argument("--wandb", type=Path, metavar="DIR", help="write them for Weights & Biases, offline")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.api import leaderboard
    from mec_transfer.common.errors import UserError
    from mec_transfer.results.formats import format_leaderboard
    from mec_transfer.results.writers import write_tensorboard, write_wandb

    if args.model and args.format != "hf":
        raise UserError("--model chooses the row of a model card: give --format hf too")
    board = leaderboard(args.runs, not args.no_references, args.add_reference)
    text = format_leaderboard(board, args.format, args.model)
    if args.tensorboard:
        write_tensorboard(board, args.tensorboard)
    if args.wandb:
        write_wandb(board, args.wandb)
    print(text, end="")
    return 0
