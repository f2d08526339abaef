"""Track with a checkpoint: with its frozen features, five tasks by UniTrack's protocols, or trained through MMTracking.

mec-transfer track mec_r50.pth --config sot_xcorr    --data OTB2015 --out runs/sot
mec-transfer track mec_r50.pth --config vos_unitrack --data DAVIS   --out runs/vos
mec-transfer track mec_r50.pth --config mot_unitrack --data MOT16   --out runs/mot
mec-transfer track mec_r50.pth --config mot_unitrack --data MOT16   --out runs/mot --detections '{sequence}.json'
mec-transfer track mec_r50.pth --config vos_dino     --data MYCLIPS --out runs/clips --split all --sequences dance,park
mec-transfer track mec_r50.pth --config siamrpn_lasot --data DATA/lasot --train-root DATA --out runs/siamrpn

Data other than the published set is tracked under its own name and a custom protocol id. OUT/results holds the results
in the official submission format, to be scored elsewhere too; OUT/pictures shows the best and the worst sequence.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from mec_transfer.cli import evaluate, options
from mec_transfer.common.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    evaluate.add_arguments(parser)
    parser.add_argument(
        "--train-root",
        metavar="DIR",
        help="of a tracker that is trained: the folder with its training sets (default: where --data lies)",
    )
    parser.add_argument("--split", help="of your own data, for instance val or all")
    parser.add_argument("--sequences", metavar="A,B", help="only these sequences (default: all of the split)")
    parser.add_argument(
        "--detections",
        metavar="PATH",
        help="for mot, mots, posetrack: a detector's files below DIR, with {sequence} for the sequence's name",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.common.paths import CONFIGS

    if not args.config:
        names = sorted(file.stem for file in (CONFIGS / "tracking").glob("*.yaml"))
        raise UserError(f"--config is needed: one of {', '.join(names)}, or a file")
    settings: dict[str, Any] = {"split": args.split} if args.split else {}
    if args.split or args.sequences:
        settings["sequences"] = options.split_names(args.sequences)
    if args.train_root:
        args.overrides.append(f"dataset.training_root={json.dumps(args.train_root)}")
    if args.detections:  # another detector's output is another protocol, but the same data set
        args.overrides.append(f"dataset.detections={json.dumps(args.detections)}")
    return evaluate.evaluate(args, "track", args.config, family="tracking", settings=settings)
