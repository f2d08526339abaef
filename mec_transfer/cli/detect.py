"""Detection and instance segmentation by finetuning a detector through Detectron2.

mec-transfer detect mec_r50.pth --config voc0712_c4 --data VOCdevkit --out runs/voc0712
mec-transfer detect mec_r50.pth --config coco_c4_1x --data coco --out runs/coco
mec-transfer detect mec_r50.pth --config voc07_c4 --data DIR --out runs/mine      your own VOC- or COCO-like folder

Data that is not the published set is trained on with its own classes, under its own name and a custom protocol id.
Fewer images than the protocol's fit a batch: --set recipe.images_per_batch=4 scales rate and length linearly.
"""

from __future__ import annotations

import argparse

from mec_transfer.cli import evaluate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    evaluate.add_arguments(parser)
    parser.add_argument("--train", metavar="SPLIT", help="of your own data (default: trainval or train)")
    parser.add_argument("--test", metavar="SPLIT", help="of your own data (default: test or val)")
    parser.add_argument(
        "--classes", metavar="A,B,...", help="of your own data: any other is a mistake (default: all found)"
    )
    parser.add_argument("--skip-invalid", action="store_true", help="leave broken annotations out, and say how many")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return evaluate.evaluate(
        args,
        "detect",
        "voc0712_c4",
        family="detection",
        settings=evaluate.own_data_settings(args),
        skip_invalid=args.skip_invalid,
    )
