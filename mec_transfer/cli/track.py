"""Track with the frozen features of a checkpoint: five tasks, by UniTrack's protocols.

mec-transfer track mec_r50.pth --config sot_xcorr    --data OTB2015 --out runs/sot
mec-transfer track mec_r50.pth --config vos_unitrack --data DAVIS   --out runs/vos
mec-transfer track mec_r50.pth --config mot_unitrack --data MOT16   --out runs/mot
mec-transfer track mec_r50.pth --config mot_unitrack --data MOT16   --out runs/mot --detections '{sequence}.json'
mec-transfer track mec_r50.pth --config vos_dino     --data MYCLIPS --out runs/clips --split all --sequences dance,park

Data other than the published set is tracked under its own name and a custom protocol id. OUT/results holds the results
in the official submission format, to be scored elsewhere too; OUT/pictures shows the best and the worst sequence.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mec_transfer.cli import evaluate
from mec_transfer.common.errors import UserError
from mec_transfer.common.progress import warn

if TYPE_CHECKING:
    from mec_transfer.benchmark import Benchmark
    from mec_transfer.results.record import DatasetInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    evaluate.add_arguments(parser)
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
    return evaluate.evaluate(args, "track", args.config, family="tracking", describe=_describe, chosen={})


def _describe(args: argparse.Namespace, path: Path, benchmark: Benchmark) -> tuple[Benchmark, DatasetInfo]:
    """Take the published data where it is it; else the part of the folder that the options name, under its own name."""
    from mec_transfer.datasets.videos import MissingPart
    from mec_transfer.suite.dataset import NotThatDataset, describe_dataset
    from mec_transfer.suite.registry import load_benchmark

    published = benchmark.config.dataset.name
    settings: dict[str, Any] = {}
    if args.split:
        settings["split"] = args.split
    if args.split or args.sequences:
        settings["sequences"] = args.sequences.split(",") if args.sequences else []
    own = bool(settings)
    if args.detections:
        settings["detections"] = args.detections
    if not own:
        benchmark = load_benchmark(path, [*args.overrides, *evaluate.dataset_overrides(args, settings)])
        try:
            return benchmark, describe_dataset(benchmark.config.dataset, args.data)
        except NotThatDataset:
            pass
        except MissingPart as error:
            raise MissingPart(f"{error} (data of your own: name its part with --split and --sequences)") from None
    settings["name"] = evaluate.own_name(args.data, published)
    benchmark = load_benchmark(path, [*args.overrides, *evaluate.dataset_overrides(args, settings)])
    info = describe_dataset(benchmark.config.dataset, args.data)
    warn(f"{args.data}: is not the whole of {published}; the protocol is {benchmark.config.protocol}")
    return benchmark, info
