"""Semantic segmentation by finetuning a fully convolutional network, measured by mIoU.

mec-transfer segment mec_r50.pth --data VOCdevkit --out runs/voc12aug
mec-transfer segment mec_r50.pth --config cityscapes_fcn_moco --data cityscapes --out runs/cityscapes
mec-transfer segment mec_r50.pth --data DIR --classes background,leaf,stem --out runs/mine      your own VOC-like folder

Data that is not the published set is trained on with its own classes, under its own name and a custom protocol id.
Few images: --set recipe.iterations=N and recipe.schedule.steps=[...] for a shorter training.
"""

from __future__ import annotations

import argparse

from mec_transfer.cli import evaluate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    evaluate.add_arguments(parser)
    parser.add_argument("--train", metavar="SPLIT", help="of your own data (default: train_aug or train)")
    parser.add_argument("--test", metavar="SPLIT", help="of your own data (default: val or test)")
    parser.add_argument(
        "--classes", metavar="A,B,...", help="of your own data, from label 0 on (default: class_names.txt)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return evaluate.evaluate(
        args, "segment", "voc12aug_fcn_moco", family="segmentation", settings=evaluate.own_data_settings(args)
    )
