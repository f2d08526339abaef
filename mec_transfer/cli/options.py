"""Options that several commands share, under the same names with the same meaning."""

from __future__ import annotations

import argparse
from pathlib import Path

from mec_transfer.common.errors import UserError

CHECKPOINT_HELP = (
    "a file, or random:resnet50[:SEED][:cifar], torchvision:resnet50, timm:NAME, hf:REPO/FILE, or a name that "
    "`mec-transfer models` lists, such as moco:v2-800ep"
)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add CKPT and --encoder."""
    parser.add_argument("checkpoint", metavar="CKPT", help=CHECKPOINT_HELP)
    add_encoder(parser)
    add_models_dir(parser)


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Add --encoder: which network of a file that holds several."""
    parser.add_argument(
        "--encoder",
        default="auto",
        metavar="auto|online|teacher|PREFIX",
        help="which network of a file that holds several; auto takes the one that the method's authors evaluate",
    )


def add_models_dir(parser: argparse.ArgumentParser) -> None:
    """Add --models-dir, which `cli.main` hands on to this process and to all that it starts."""
    parser.add_argument(
        "--models-dir",
        type=Path,
        metavar="DIR",
        help="where public checkpoints lie that have a name (default: $MEC_TRANSFER_MODELS, else the user's cache)",
    )


def add_out(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add --out."""
    parser.add_argument("--out", type=Path, required=required, metavar="DIR", help="where the record and its files go")


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


def split_names(text: str | None) -> list[str]:
    """Return the names in "A,B" or "A, B"; none for an option that was not given."""
    return [name.strip() for name in text.split(",")] if text else []
