"""Make, fetch, check, fingerprint, subset or shard a data set.

examples:
  mec-transfer data demo --out worlds/demo
  mec-transfer data fetch                                  which public data sets have an open address
  mec-transfer data fetch dtd --to /data --yes
  mec-transfer data check /data/imagenet
  mec-transfer data check /data/MOT16 --config mot_unitrack
  mec-transfer data check clips --layout otb --thorough
  mec-transfer data fingerprint /data/imagenet
  mec-transfer data subset --fetch --out /data/imagenet/imagenet_subsets
  mec-transfer data subset /data/cifar10 --labels 10% --out cifar10_10percent.txt
  mec-transfer data shard /data/imagenet --out /data/shards/imagenet --shard-size 500MB
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mec_transfer.cli.options import split_names
from mec_transfer.common.errors import UserError
from mec_transfer.datasets.registry import LAYOUTS, layout_names

if TYPE_CHECKING:
    from mec_transfer.archives.catalogue import PublicSet
    from mec_transfer.datasets.config import DatasetConfig
    from mec_transfer.datasets.data import Data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the six actions and their options."""
    layouts = "; ".join(", ".join(layout_names(kind)) for kind in LAYOUTS)
    actions = parser.add_subparsers(dest="action", required=True, metavar="demo|fetch|check|fingerprint|subset|shard")
    demo = actions.add_parser("demo", help="draw the demo world", allow_abbrev=False)
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder of its own for the world")
    demo.add_argument("--seed", type=int, default=0, help="the same seed gives the same pixels (default: 0)")
    fetch = actions.add_parser("fetch", help="download and unpack a public data set", allow_abbrev=False)
    fetch.add_argument("name", nargs="?", metavar="NAME", help="the data set; without it, all data sets are listed")
    fetch.add_argument("--to", type=Path, metavar="DIR", help="the folder that a suite's --data-root names")
    fetch.add_argument("--yes", action="store_true", help="begin; without it, only the size and source are printed")
    check = actions.add_parser("check", help="look for what keeps a data set from being used", allow_abbrev=False)
    fingerprint = actions.add_parser("fingerprint", help="print the fingerprint that records carry", allow_abbrev=False)
    check.add_argument("--thorough", action="store_true", help="decode every image, not a sample of them")
    for action in (check, fingerprint):
        action.add_argument("data", type=Path, metavar="DIR", help="the data set's own folder")
        action.add_argument(
            "--layout",
            default="imagefolder",
            help=f"how it lies on the disk (default: imagefolder): {layouts}",
        )
        action.add_argument(
            "--config", metavar="FILE|NAME", help="the data set of this benchmark, in place of a layout"
        )
        action.add_argument("--split", help="only this one (default: all that the folder has)")
        action.add_argument("--sequences", metavar="A,B", help="of videos: only these (default: all of the split)")
        action.add_argument(
            "--detections", metavar="PATH", help="of videos: a detector's files below DIR, {sequence} being the name"
        )
    subset = actions.add_parser(
        "subset", help="fetch SimCLR's published label lists, or draw a list", allow_abbrev=False
    )
    subset.add_argument("data", type=Path, nargs="?", metavar="DIR", help="the data set's own folder")
    subset.add_argument("--fetch", action="store_true", help="download SimCLR's 1 %% and 10 %% lists of ImageNet")
    subset.add_argument("--labels", metavar="N%", help="draw this share of every class, for instance 1%%")
    subset.add_argument("--out", type=Path, required=True, metavar="PATH", help="folder (--fetch) or file (--labels)")
    subset.add_argument("--seed", type=int, default=0, help="of the drawn list (default: 0)")
    shard = actions.add_parser("shard", help="pack images into a few tar files", allow_abbrev=False)
    shard.add_argument(
        "data",
        type=Path,
        metavar="DIR",
        help="every image below it is packed, its path kept; with folders train and val, those of each apart",
    )
    shard.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for shards and index")
    shard.add_argument("--shard-size", default="500MB", metavar="SIZE", help="of a tar file, at most (default: 500MB)")


def run(args: argparse.Namespace) -> int:
    """Do the action; 2 where `check` found problems."""
    actions = {
        "demo": _demo,
        "fetch": _fetch,
        "check": _check,
        "fingerprint": _fingerprint,
        "subset": _subset,
        "shard": _shard,
    }
    return actions[args.action](args)


def _demo(args: argparse.Namespace) -> int:
    from mec_transfer.demo_world.world import write_demo_world

    print(write_demo_world(args.out, args.seed))
    return 0


def _fetch(args: argparse.Namespace) -> int:
    """List the data sets, describe one, or fetch one and check the result."""
    from mec_transfer.archives.catalogue import find_set, load_sets

    if not args.name:
        print("\n".join(line for name, one in load_sets().items() for line in _listed(name, one)))
        return 0
    wanted = find_set(args.name)
    if not args.to:
        raise UserError(f"say where to: mec-transfer data fetch {args.name} --to DIR")
    assert wanted.place
    place = args.to / wanted.place
    if not place.exists():
        print("\n".join([*_listed(args.name, wanted), f"  place    {place}"]), flush=True)
        if not args.yes:
            raise UserError("nothing was fetched; the same with --yes does it")
    from mec_transfer.archives.fetch import fetch_set

    print(f"{fetch_set(args.name, wanted, args.to)}: is there")
    if not wanted.layout:
        return 0
    folder = args.to / (wanted.folder or wanted.place)
    print(f"mec-transfer data check {folder} --layout {wanted.layout}:", flush=True)
    unsaid = dict.fromkeys(("config", "split", "sequences", "detections", "thorough"))
    return _check(argparse.Namespace(data=folder, layout=wanted.layout, **unsaid))


def _listed(name: str, one: PublicSet) -> Iterator[str]:
    """Yield what to know about a public data set before it is fetched."""
    yield f"{name}: {one.title}"
    if one.by_hand:
        yield f"  by hand  {one.by_hand}"
        return
    yield f"  size     {one.size}"
    yield f"  licence  {one.licence}"
    for file in one.files:
        yield f"  from     {file.url}"


def _check(args: argparse.Namespace) -> int:
    """Print what there is and what is wrong with it; return 2 if anything is wrong."""
    from mec_transfer.datasets.index import Index
    from mec_transfer.datasets.registry import find_layout, open_data
    from mec_transfer.datasets.thorough import broken_images

    found = 0
    for config in _configs(args):
        parts = _parts_of(config, args.data)
        problems: list[str] = []
        for name, part, folder in parts:
            data, wrong = find_layout(part.layout).examine(part, folder, Index())
            if data:
                for line in data.describe():
                    print(f"{name}{line}")
                wrong += [line for line in broken_images(data, args.thorough) if line not in wrong]
            problems += [f"{name}{line}" for line in wrong]
        for problem in problems:
            print(f"problem: {problem}")
        if data and not problems and args.config:
            _tell_which(data if len(parts) == 1 else open_data(config, args.data))
        found += len(problems)
    if found:
        return 2
    print("no problems found")
    return 0


def _parts_of(config: DatasetConfig, folder: Path) -> list[tuple[str, DatasetConfig, Path]]:
    """Return the data sets to examine, each with a prefix for its lines: a tracker has training sets as well."""
    from mec_transfer.datasets.tracker_config import TrackerDatasetConfig

    if not isinstance(config, TrackerDatasetConfig):
        return [("", config, folder)]
    training = ((f"training set {part.name}: ", part, config.training_folder(part, folder)) for part in config.training)
    return [("", config, folder), *training]


def _tell_which(data: Data) -> None:
    """Print the fingerprint of sound data, and how it differs from the published data set of its name."""
    from mec_transfer.benchmark import describe_data
    from mec_transfer.suite.own_data import differences

    print(_fingerprint_line(data))
    promised = data.config.promised
    for difference in differences(describe_data(data), promised) if promised else ():
        print(f"note: is not {data.config.name}: {difference}")


def _configs(args: argparse.Namespace) -> list[DatasetConfig]:
    """Return the data set that --config names, else one for each split of the folder, or for all of them together."""
    from mec_transfer.common.config import parse_config
    from mec_transfer.datasets.config import (
        LabelsDatasetConfig,
        ObjectsDatasetConfig,
        PoolDatasetConfig,
        SegmentsDatasetConfig,
        TracksDatasetConfig,
        VideosDatasetConfig,
    )
    from mec_transfer.datasets.registry import find_layout, kind_of
    from mec_transfer.datasets.shifted_config import ShiftedDatasetConfig
    from mec_transfer.suite.registry import benchmark_config, find_benchmark

    if args.config:
        config = benchmark_config(find_benchmark(args.config, Path())).dataset
        _refuse_parts(args, config.kind())
        given = {key: value for key, value in _part(args).items() if value}
        return [parse_config(type(config), {**config.model_dump(mode="json"), **given}, "data check")]
    kind, about = kind_of(args.layout), {"name": "data", "layout": args.layout}
    _refuse_parts(args, kind)
    if kind in ("images", "pools"):
        return [PoolDatasetConfig(**about)]
    if kind == "shifted":
        return [ShiftedDatasetConfig(**about)]
    if not args.data.is_dir():
        raise UserError(f"{args.data}: no such folder")
    names = [args.split] if args.split else find_layout(args.layout).split_names(args.data)
    if not names:
        raise UserError(
            f"{args.data}: has no split of layout {args.layout}; name one with --split, or another --layout"
        )
    if kind == "objects":
        return [ObjectsDatasetConfig(**about, train=tuple(names), test=names[-1])]
    if kind == "segments":
        return [SegmentsDatasetConfig(**about, train=tuple(names), test=names[-1])]
    if kind == "labels":
        return [LabelsDatasetConfig(**about, splits={name: name for name in names})]
    if kind == "tracks":
        return [TracksDatasetConfig(**about, split=name) for name in names]
    part = {key: value for key, value in _part(args).items() if key != "split"}
    return [parse_config(VideosDatasetConfig, {**about, **part, "split": name}, "data check") for name in names]


def _refuse_parts(args: argparse.Namespace, kind: str) -> None:
    """Raise UserError for an option that does not apply to this kind of data and would be ignored."""
    if kind in ("images", "pools", "shifted") and args.split:
        raise UserError(f"--split {args.split}: a folder of images is opened as a whole; leave it out")
    if kind in ("labels", "objects", "segments") and args.split and args.config:
        raise UserError(f"--split {args.split}: --config names the splits; give --layout in its place")
    for name in ("sequences", "detections"):
        if kind != "videos" and (value := getattr(args, name)):
            raise UserError(f"--{name} {value}: is for videos; leave it out")


def _part(args: argparse.Namespace) -> dict[str, Any]:
    sequences, detections = split_names(args.sequences), args.detections or ""
    return {"split": args.split or "", "sequences": sequences, "detections": detections}


def _fingerprint_line(data: Data) -> str:
    from mec_transfer.benchmark import describe_data

    info = describe_data(data)
    classes = f"  {info.classes} classes" if info.classes else ""
    return f"{info.fingerprint}  {info.num_images} images{classes}" + (f"  {info.note}" if info.note else "")


def _fingerprint(args: argparse.Namespace) -> int:
    from mec_transfer.datasets.registry import open_data

    for config in _configs(args):
        print(_fingerprint_line(open_data(config, args.data)))
    return 0


def _subset(args: argparse.Namespace) -> int:
    if args.fetch:
        from mec_transfer.datasets.images.simclr import fetch_published

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
    from mec_transfer.datasets.images.folders import open_split
    from mec_transfer.datasets.images.labels import label_subset

    train = open_split(args.data, "train")
    subset = label_subset(train, args.labels, dataset="", root=args.data, seed=args.seed)
    header = f"# {subset.name} of {len(train)} images: {subset.note}\n"
    write_text(args.out, header + "".join(f"{train.paths[i]}\n" for i in subset.indices))
    print(f"{args.out}: {len(subset.indices)} images, sha256 of the names {subset.sha256}")
    return 0


def _shard(args: argparse.Namespace) -> int:
    from mec_transfer.datasets.images.folders import open_unlabelled
    from mec_transfer.datasets.images.ilsvrc import find_label_files
    from mec_transfer.datasets.images.shard_writer import parse_size, write_splits
    from mec_transfer.datasets.images.shards import ShardedImages
    from mec_transfer.datasets.images.simclr import find_published

    size = parse_size(args.shard_size)
    both = all((args.data / split).is_dir() for split in ("train", "val"))
    folders = {split: args.data / split for split in (("train", "val") if both else ("",))}
    splits = {split: open_unlabelled(folder) for split, folder in folders.items()}
    for split, images in splits.items():
        if isinstance(images, ShardedImages):
            raise UserError(f"{folders[split]}: holds shards already; give a folder of images")
    flat = both and not any("/" in path for path in splits["val"].paths)
    beside = [*(find_label_files(args.data) if flat else ()), *(find_published(args.data) if both else ())]
    shards = write_splits(splits, args.out, size, beside)
    count, total = sum(map(len, splits.values())), sum(shard.size for shard in shards)
    print(f"{args.out}: {count} images in {len(shards)} shards, {total / 1e6:.2f} MB")
    return 0
