"""Detection and instance segmentation by finetuning a detector through Detectron2.

mec-transfer detect mec_r50.pth --config voc0712_c4 --data VOCdevkit --out runs/voc0712
mec-transfer detect mec_r50.pth --config coco_c4_1x --data coco --out runs/coco
mec-transfer detect mec_r50.pth --config voc07_c4 --data DIR --out runs/mine      your own VOC- or COCO-like folder

Data that is not the published set is trained on with its own classes, under its own name and a custom protocol id.
Fewer images than the protocol's fit a batch: --set recipe.images_per_batch=4 scales rate and length linearly.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.cli import evaluate
from mec_transfer.common.errors import DataError
from mec_transfer.common.progress import warn

if TYPE_CHECKING:
    from mec_transfer.benchmark import Benchmark, DatasetConfig
    from mec_transfer.results.record import DatasetInfo

_TRAIN = ("trainval", "train", "train2017")
_TEST = ("test", "val", "val2017", "valid")


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
    chosen = {"skip_invalid": True} if args.skip_invalid else {}
    return evaluate.evaluate(args, "detect", "voc0712_c4", family="detection", describe=_describe, chosen=chosen)


def _describe(args: argparse.Namespace, path: Path, benchmark: Benchmark) -> tuple[Benchmark, DatasetInfo]:
    """Take the published data where it is it; else the folder's own layout, splits and classes."""
    from mec_transfer.suite.dataset import NotThatDataset, describe_dataset
    from mec_transfer.suite.registry import load_benchmark

    dataset = benchmark.config.dataset
    own = args.train or args.test or args.classes or not _has_splits(args.data, dataset)
    if not own:
        try:
            return benchmark, describe_dataset(dataset, args.data, args.skip_invalid)
        except NotThatDataset:
            pass
    layout, train, test = _own_splits(args, dataset)
    settings = {
        "name": evaluate.own_name(args.data, dataset.name),
        "layout": layout,
        "train": train,
        "test": test,
        "classes": [name.strip() for name in args.classes.split(",")] if args.classes else [],
    }
    benchmark = load_benchmark(path, [*args.overrides, *evaluate.dataset_overrides(args, settings)])
    info = describe_dataset(benchmark.config.dataset, args.data, args.skip_invalid)
    warn(
        f"{args.data}: is not {dataset.name}: its {info.classes} classes are trained on {'+'.join(train)} and measured "
        f"on {test}; the protocol is {benchmark.config.protocol}"
    )
    return benchmark, info


def _has_splits(data: Path, dataset: DatasetConfig) -> bool:
    from mec_transfer.benchmark import ObjectsDatasetConfig

    assert isinstance(dataset, ObjectsDatasetConfig)
    return {*dataset.train, dataset.test} <= set(_splits(data, dataset.layout))


def _splits(data: Path, layout: str) -> list[str]:
    from mec_transfer.datasets import coco, voc

    return {"voc": voc.split_names, "coco": coco.split_names}[layout](data)


def _own_splits(args: argparse.Namespace, dataset: DatasetConfig) -> tuple[str, list[str], str]:
    """Find layout and splits. Raises DataError where the folder has none, or they cannot be guessed."""
    if not args.data.is_dir():
        raise DataError(f"{args.data}: no such folder")
    for layout in sorted(("voc", "coco"), key=lambda one: one != dataset.layout):
        names = _splits(args.data, layout)
        if not names:
            continue
        train = args.train or next((name for name in _TRAIN if name in names), None)
        test = args.test or next((name for name in _TEST if name in names), None)
        for what, name in (("--train", train), ("--test", test)):
            if name not in names:
                raise DataError(f"{args.data}: {what} {name or 'is needed'}; the folder has {', '.join(names)}")
        assert train and test
        return layout, [train], test
    raise DataError(
        f"{args.data}: neither a VOC folder (ImageSets/Main/*.txt, Annotations/, JPEGImages/) nor a COCO folder "
        "(annotations/*.json)"
    )
