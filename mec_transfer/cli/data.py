"""Make, check, fingerprint, subset or shard a data set.

examples:
  mec-transfer data demo --out worlds/demo
  mec-transfer data check /data/imagenet
  mec-transfer data check /data/MOT16 --config mot_unitrack
  mec-transfer data fingerprint /data/imagenet
  mec-transfer data subset --fetch --out /data/imagenet/imagenet_subsets
  mec-transfer data subset /data/cifar10 --labels 10% --out cifar10_10percent.txt
  mec-transfer data shard /data/imagenet/train --out /data/imagenet_shards --shard-size 500MB
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.common.errors import UserError

if TYPE_CHECKING:
    from mec_transfer.benchmark import DatasetConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the five actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="demo|check|fingerprint|subset|shard")
    demo = actions.add_parser("demo", help="draw the demo world", allow_abbrev=False)
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder of its own for the world")
    demo.add_argument("--seed", type=int, default=0, help="the same seed gives the same pixels (default: 0)")
    check = actions.add_parser("check", help="look for what keeps a data set from being used", allow_abbrev=False)
    fingerprint = actions.add_parser("fingerprint", help="print the fingerprint that records carry", allow_abbrev=False)
    for action in (check, fingerprint):
        action.add_argument("data", type=Path, metavar="DIR", help="the data set's own folder")
        action.add_argument(
            "--layout",
            default="imagefolder",
            help="imagefolder (train/ and val/, the default), unlabelled, voc or coco",
        )
        action.add_argument(
            "--config", metavar="FILE|NAME", help="the data set of this benchmark, in place of a layout"
        )
    subset = actions.add_parser(
        "subset", help="fetch SimCLR's published label lists, or draw a list", allow_abbrev=False
    )
    subset.add_argument("data", type=Path, nargs="?", metavar="DIR", help="the data set's own folder")
    subset.add_argument("--fetch", action="store_true", help="download SimCLR's 1 %% and 10 %% lists of ImageNet")
    subset.add_argument("--labels", metavar="N%", help="draw this share of every class, for instance 1%%")
    subset.add_argument("--out", type=Path, required=True, metavar="PATH", help="folder (--fetch) or file (--labels)")
    subset.add_argument("--seed", type=int, default=0, help="of the drawn list (default: 0)")
    shard = actions.add_parser("shard", help="pack images for pretraining into a few tar files", allow_abbrev=False)
    shard.add_argument("data", type=Path, metavar="DIR", help="every image below it is packed, its path kept")
    shard.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for shards and index")
    shard.add_argument("--shard-size", default="500MB", metavar="SIZE", help="of a tar file, at most (default: 500MB)")


def run(args: argparse.Namespace) -> int:
    """Do the action; 2 where `check` found problems."""
    actions = {"demo": _demo, "check": _check, "fingerprint": _fingerprint, "subset": _subset, "shard": _shard}
    return actions[args.action](args)


def _demo(args: argparse.Namespace) -> int:
    from mec_transfer.datasets.demo.world import write_demo_world

    print(write_demo_world(args.out, args.seed))
    return 0


def _check(args: argparse.Namespace) -> int:
    from mec_transfer.datasets.layouts import find_problems, open_all

    if args.config:
        return _check_for(args.config, args.data)
    if args.layout in ("voc", "coco"):
        return _check_objects(args.data, args.layout)
    problems = find_problems(args.data, args.layout)
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        return 2
    for name, images in open_all(args.data, args.layout).items():
        classes = f", {len(images.classes)} classes" if images.classes else ""
        print(f"{name or 'images'}: {len(images)} images{classes}")
    print("no problems found")
    return 0


def _check_objects(data: Path, layout: str) -> int:
    from mec_transfer.datasets import coco, objects, voc
    from mec_transfer.datasets.object_notes import training_notes

    names = {"voc": voc.split_names, "coco": coco.split_names}[layout](data)
    if not names:
        raise UserError(
            f"{data}: has no split of layout {layout}; see mec-transfer detect --help for what it looks like"
        )
    found = objects.read_splits(data, "voc" if layout == "voc" else "coco", names, look="sample")
    for name, split in found.items():
        for problem in split.skipped:
            print(f"problem: {problem}")
        print(f"{name}: {len(split.images)} images, {split.num_objects} objects, {len(split.classes)} classes")
        for note in training_notes(split):
            print(f"note: {note}")
    if any(split.skipped for split in found.values()):
        return 2
    print("no problems found")
    return 0


def _check_for(config: str, data: Path) -> int:
    """Check the data set that a benchmark's config names."""
    from mec_transfer.benchmark import VideosDatasetConfig
    from mec_transfer.datasets.videos import read_videos

    dataset = _dataset_of(config)
    if isinstance(dataset, VideosDatasetConfig):
        wanted = (dataset.layout, dataset.split, dataset.sequences, dataset.detections)
        videos, problems = read_videos(data, *wanted)
        for problem in problems:
            print(f"problem: {problem}")
        if problems:
            return 2
        for video in videos:
            print(f"{video.name}: {len(video.frames)} frames of {video.frames.width}x{video.frames.height}")
    print(_describe(dataset, data))
    print("no problems found")
    return 0


def _dataset_of(config: str) -> DatasetConfig:
    from mec_transfer.suite.registry import find_benchmark, load_benchmark

    return load_benchmark(find_benchmark(config, Path())).config.dataset


def _describe(dataset: DatasetConfig, data: Path) -> str:
    from mec_transfer.suite.dataset import describe_dataset

    info = describe_dataset(dataset, data)
    return f"{info.fingerprint}  {info.num_images} images" + (f"  {info.note}" if info.note else "")


def _fingerprint(args: argparse.Namespace) -> int:
    from mec_transfer.datasets.fingerprint import summarise

    if args.config:
        print(_describe(_dataset_of(args.config), args.data))
        return 0
    summary = summarise(args.data, args.layout)
    classes = f"  {summary.classes} classes" if summary.classes else ""
    print(f"{summary.fingerprint}  {summary.num_images} images{classes}")
    return 0


def _subset(args: argparse.Namespace) -> int:
    if args.fetch:
        from mec_transfer.datasets.simclr import fetch_published

        if args.data or args.labels:
            raise UserError("data subset: --fetch takes neither DIR nor --labels, only --out")
        for path in fetch_published(args.out):
            print(path)
        return 0
    if not args.data or not args.labels:
        raise UserError("data subset: give DIR and --labels N%, or --fetch")
    return _draw_subset(args)


def _draw_subset(args: argparse.Namespace) -> int:
    from mec_transfer.common.files import write_text
    from mec_transfer.datasets.labels import label_subset
    from mec_transfer.datasets.layouts import open_split

    train = open_split(args.data, "imagefolder", "train")
    subset = label_subset(train, args.labels, dataset="", root=args.data, seed=args.seed)
    header = f"# {subset.name} of {len(train)} images: {subset.note}\n"
    write_text(args.out, header + "".join(f"{train.paths[i]}\n" for i in subset.indices))
    print(f"{args.out}: {len(subset.indices)} images, sha256 of the names {subset.sha256}")
    return 0


def _shard(args: argparse.Namespace) -> int:
    from mec_transfer.datasets.images import ImageList
    from mec_transfer.datasets.layouts import open_unlabelled
    from mec_transfer.datasets.shard_writer import parse_size, write_shards

    size = parse_size(args.shard_size)
    if (args.data / "train").is_dir() and (args.data / "val").is_dir():
        raise UserError(f"{args.data}: has train and val; give {args.data / 'train'}, the folder to pretrain on")
    images = open_unlabelled(args.data)
    if not isinstance(images, ImageList):
        raise UserError(f"{args.data}: holds shards already; give a folder of images")
    shards = write_shards(images, args.out, size)
    print(f"{args.out}: {len(images)} images in {len(shards)} shards, {sum(s.size for s in shards) / 1e6:.2f} MB")
    return 0
