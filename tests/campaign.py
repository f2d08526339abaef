"""Thousands of spoilt files, over every reader: each is read, or is one line. Nothing else may come out.

    python -m tests.campaign --files 10000 --seed 0 [--only coco,checkpoint]

A subject is a folder that is sound, the files of it that are spoilt, and what reads it. A file is spoilt in its bytes,
or, where it is JSON or YAML, in its values as well. Looked for is: an exception that is no `UserError`, a message of
several lines or one that does not name what is wrong, more than ten seconds, code from a file that was run, and a
success that cannot be one. Every failure is printed with the seed that repeats it and kept in --keep.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.config import load_config
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.config import DatasetConfig, TracksDatasetConfig
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.registry import find_layout, open_data
from mec_transfer.results.record import write_record
from mec_transfer.results.store import Store
from mec_transfer.suite.config import load_suite
from mec_transfer.suite.memory import Memory
from mec_transfer.suite.registry import benchmark_config
from mec_transfer.suite.spec import JobSpec
from pretrain.config import PretrainConfig
from tests.backbone.conftest import make_weights
from tests.backbone.test_formats import PICKLED, detectron2
from tests.datasets.objects.test_fuzz import read_all, write_sound
from tests.datasets.test_mutations import spoil_bytes, spoil_json, try_once
from tests.datasets.tracks import tiny_tracks
from tests.datasets.videos import tiny_videos
from tests.results.test_store import RECORD

LIMIT_SECONDS = 10
RAN = Path(tempfile.gettempdir(), f"campaign-ran-{os.getpid()}")
"""A folder that code in a spoilt file makes."""


class Bad(Exception):
    """What must not come out of a spoilt file."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """Something that is read."""

    write: Callable[[Path], list[Path]]
    """Makes a sound folder; returns its files to spoil."""
    read: Callable[[Path, Path], bool]
    """Reads the folder, of which one file may be spoilt; returns whether it was taken for sound."""
    code: bool = False
    """Its files are of a kind that could hold code to run."""


def spoil(path: Path, sound: bytes, chance: random.Random, code: bool) -> bytes:
    """Return a file with something wrong in it, or, by chance, not."""
    if code and chance.random() < 0.2:
        return with_code(path, sound, chance)
    if path.suffix == ".json" and chance.random() < 0.6:
        return spoil_json(sound.decode(), chance).encode("utf-8", "surrogatepass")
    if path.suffix == ".yaml" and chance.random() < 0.6:
        spoilt = spoil_json(json.dumps(yaml.safe_load(sound)), chance)
        with contextlib.suppress(ValueError, OverflowError):
            return yaml.safe_dump(json.loads(spoilt)).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        return sound[: chance.randrange(len(sound) + 1)]
    return spoil_bytes(sound, chance)


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(RAN),)


def with_code(path: Path, sound: bytes, chance: random.Random) -> bytes:
    """Return a file of the same kind with code in it that the usual readers run."""
    call = pickle.dumps(_Code(), protocol=chance.choice((0, 2, 4)))
    if path.suffix == ".yaml":
        return sound + f"\nmore: !!python/object/apply:os.mkdir ['{RAN}']\n".encode()
    if not zipfile.is_zipfile(path):
        return call if chance.random() < 0.5 else call[:-1] + b"0" + sound
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "x.zip"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
            for name in old.namelist():
                data = old.read(name)
                if name.endswith("data.pkl"):
                    data = call if chance.random() < 0.5 else data[:2] + call[2:-1] + b"0" + data[2:]
                new.writestr(name, data)
        return copy.read_bytes()


def checkpoints(root: Path) -> list[Path]:
    """Write a checkpoint of each container."""
    weights = make_weights(0)
    dense = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}
    paths = [root / name for name in ("plain.pth", "legacy.pth", "d2.pkl", "x.safetensors")]
    torch.save({"state_dict": weights, "epoch": 3, "arch": "resnet18"}, paths[0])
    torch.save({"state_dict": weights}, paths[1], _use_new_zipfile_serialization=False)
    with paths[2].open("wb") as file:
        pickle.dump({"model": {name: values.copy() for name, values in detectron2(weights).items()}, **PICKLED}, file)
    save_file(dense, paths[3])
    return paths


def read_checkpoint(root: Path, path: Path) -> bool:
    """Read one; its values may have been spoilt, but all of them must be there, and finite."""
    backbone = resolve_backbone(str(path))
    reference = resolve_backbone("random:resnet18").state_dict
    if {name: tensor.shape for name, tensor in backbone.state_dict.items()} != {
        name: tensor.shape for name, tensor in reference.items()
    }:
        raise Bad("a checkpoint was read that is no whole ResNet-18")
    if not all(torch.isfinite(tensor).all() for tensor in backbone.state_dict.values()):
        raise Bad("a checkpoint was read whose values are not finite")
    return True


def configs(root: Path) -> list[Path]:
    """Write a benchmark of each family, a suite and a pretraining recipe."""
    names = ("classification/knn_dino", "classification/semisup_1pct_barlow", "tracking/mot_unitrack")
    paths = [root / "suite.yaml", root / "pretrain.yaml"]
    for name in names:
        paths.append(root / f"benchmark_{Path(name).name}.yaml")
        shutil.copy(CONFIGS / f"{name}.yaml", paths[-1])
    paths[0].write_text(
        "id: small\nmodels: {a: 'random:resnet18', b: {checkpoint: x.pth, encoder: teacher}}\n"
        "benchmarks: [knn_dino, {config: linear_mec, data: there, trials: 2, set: [recipe.epochs=3]}]\n"
    )
    shutil.copy(CONFIGS / "pretrain" / "mec_r50_100ep.yaml", paths[1])
    return paths


def read_config(root: Path, path: Path) -> bool:
    """Read a config in the way of its kind."""
    if path.stem == "suite":
        load_suite(path, [])
    elif path.stem == "pretrain":
        load_config(PretrainConfig, path, [])
    else:
        config = benchmark_config(path)
        _ = config.sha256
    return True


def records(root: Path) -> list[Path]:
    """Write a finished job's record and job."""
    write_record(root / "job", RECORD)
    config = benchmark_config(CONFIGS / "classification" / "knn_dino.yaml")
    assert RECORD.dataset is not None
    JobSpec(
        model=RECORD.model,
        benchmark=config.info(),
        dataset=RECORD.dataset,
        trial=0,
        seed=0,
        config=config,
        checkpoint="x.pth",
        encoder="auto",
        data=root / "data",
        workdir=root / "job",
        cache=root / "cache",
        device="cpu",
        workers=0,
    ).write()
    return [root / "job" / "record.json", root / "job" / "job.json"]


def read_records(root: Path, path: Path) -> bool:
    """Read a run's folder: nothing spoilt may keep the others from being shown."""
    store = Store.read(root)
    for line in store.problems:
        _one_line(line, root)
    for record in store.records:
        if record.status == "ok" and not all(np.isfinite(value) for value in record.metrics.values()):
            raise Bad("a record was read whose number is none")
    if path.name == "job.json":
        JobSpec.read(path)
    return not store.problems


def kept(root: Path) -> list[Path]:
    """Write a folder of images with what a run keeps of it."""
    from PIL import Image

    for split in ("train", "val"):
        for name in ("a", "b"):
            (root / "data" / split / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(root / "data" / split / name / "1.png")
    index = Index.read(root / "x.index")
    _ = open_data(DatasetConfig(name="x", layout="imagefolder"), root / "data", index).fingerprint
    index.save()
    Memory.read(root / "memory.json").keep("name", [1], {"value": 2})
    return [root / "x.index", root / "memory.json"]


def read_kept(root: Path, path: Path) -> bool:
    """Open the folder: what is kept of it may cost time, and nothing else."""
    index = Index.read(root / "x.index")
    data = open_data(DatasetConfig(name="x", layout="imagefolder"), root / "data", index)
    if data.splits != {"train": 2, "val": 2} or data.classes != 2:
        raise Bad(f"a spoilt index made another data set: {data.splits}")
    if Memory.read(root / "memory.json").recall("name", [1]) not in (None, {"value": 2}):
        raise Bad("a spoilt memory was believed")
    return True


def _objects(layout: str) -> Subject:
    def write(root: Path) -> list[Path]:
        return [write_sound(root, layout)[0]]

    return Subject(write, lambda root, path: read_all(root, layout, "train2017") == 0)


def _videos(layout: str) -> Subject:
    return Subject(lambda root: tiny_videos.write(root, layout), lambda root, path: try_once(root, layout, path))


def _tracks(layout: str) -> Subject:
    def read(root: Path, path: Path) -> bool:
        config = TracksDatasetConfig(name="x", layout=layout, split=tiny_tracks.SPLITS[layout])
        data, problems = find_layout(layout).examine(config, root, Index())
        for line in problems:
            _one_line(line, root)
        if data is None:
            return False
        for track in data.tracks:  # type: ignore[attr-defined]
            if not (np.isfinite(track.boxes).all() and all(path.is_file() for path in track.paths)):
                raise Bad("a track was read whose boxes are not finite, or whose pictures are not there")
        _ = data.fingerprint
        return not problems

    return Subject(tiny_tracks.WRITERS[layout], read)


SUBJECTS = {
    "checkpoint": Subject(checkpoints, read_checkpoint, code=True),
    "config": Subject(configs, read_config, code=True),
    "record": Subject(records, read_records),
    "kept": Subject(kept, read_kept),
    **{layout: _objects(layout) for layout in ("coco", "voc", "cityscapes")},
    **{layout: _videos(layout) for layout in tiny_videos.SPLITS},
    **{layout: _tracks(layout) for layout in tiny_tracks.WRITERS},
}


@dataclasses.dataclass
class Tally:
    """What came of a subject's files."""

    files: int = 0
    refused: int = 0
    longest: float = 0.0
    bad: list[str] = dataclasses.field(default_factory=list)


def run(name: str, files: int, seed: int, root: Path, keep: Path | None = None) -> Tally:
    """Spoil `files` files of a subject, one after the other, and read each."""
    subject, tally = SUBJECTS[name], Tally()
    paths = subject.write(root)
    sound = {path: path.read_bytes() for path in paths}
    for path in paths:
        assert subject.read(root, path), f"{name}: {path} is refused as it is"
    for number in range(files):
        path = paths[number % len(paths)]
        data = spoil(path, sound[path], random.Random(f"{seed} {name} {number}"), subject.code)
        path.write_bytes(data)
        began = time.monotonic()
        try:
            with _limited():
                tally.refused += not _read(subject, root, path)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {str(error)[:200]!r} at {Path(where.filename).name}:{where.lineno}"
            tally.bad.append(f"{name} {path.name} (--seed {seed}, file {number}): {what}")
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{seed}-{number}-{path.name}").write_bytes(data)
        tally.longest = max(tally.longest, time.monotonic() - began)
        tally.files += 1
        path.write_bytes(sound[path])
    return tally


def _read(subject: Subject, root: Path, path: Path) -> bool:
    try:
        sound = subject.read(root, path)
    except (UserError, RunError) as error:
        _one_line(str(error), root)
        sound = False
    if RAN.exists():
        RAN.rmdir()
        raise Bad("code of a file was run")
    return sound


def _one_line(message: str, root: Path) -> None:
    if len(message.splitlines()) != 1 or str(root) not in message:
        raise Bad(f"a message of several lines, or of no file: {message}")


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Bad(f"no end within {LIMIT_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    """Run the campaign; return 1 where something bad came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(SUBJECTS), help="subjects, commas between")
    parser.add_argument("--keep", type=Path, default=Path("runs/campaign"), help="where bad files go")
    args = parser.parse_args()
    names, bad = args.only.split(","), 0
    print("| subject | files | refused | longest, s | bad |\n|---|--:|--:|--:|--:|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            tally = run(name, -(-args.files // len(names)), args.seed, Path(folder), args.keep)
        print(f"| {name} | {tally.files} | {tally.refused} | {tally.longest:.2f} | {len(tally.bad)} |", flush=True)
        for line in tally.bad[:20]:
            print(f"  {line}", file=sys.stderr)
        bad += len(tally.bad)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
