"""Options that several commands share, under the same names with the same meaning."""

from __future__ import annotations

import argparse
from pathlib import Path

from mec_transfer.common.errors import UserError

CHECKPOINT_HELP = "a file, or random:resnet50[:SEED][:cifar], torchvision:resnet50, timm:NAME, hf:REPO/FILE"


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add CKPT and --encoder."""
    parser.add_argument("checkpoint", metavar="CKPT", help=CHECKPOINT_HELP)
    add_encoder(parser)


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Add --encoder: which network of a file that holds several."""
    parser.add_argument(
        "--encoder",
        default="auto",
        metavar="auto|online|teacher|PREFIX",
        help="which network of a file that holds several; auto takes the one that the method's authors evaluate",
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add --out."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the record and its files go")


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add --cache."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="where features are kept; any number of commands and runs may share it, at once too (default: OUT/cache)",
    )


def check_cache(args: argparse.Namespace) -> None:
    """Raise UserError for a --cache that is no folder and cannot become one."""
    if args.cache and (files := [path for path in (args.cache, *args.cache.absolute().parents) if path.is_file()]):
        raise UserError(f"--cache {args.cache}: {files[0]} is a file; give a folder")
