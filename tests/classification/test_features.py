from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.benchmark import Job, describe_data
from mec_transfer.classification import feature_store, features
from mec_transfer.classification.config import FeatureRecipe, ViewConfig
from mec_transfer.classification.features import check_features, extract_features, labelled_splits
from mec_transfer.classification.network import Encoder
from mec_transfer.classification.transforms import eval_transform
from mec_transfer.common.errors import DataError, RunError
from mec_transfer.datasets.decode import load_rgb
from mec_transfer.datasets.images.image_list import ImageList
from tests import warm
from tests.classification.conftest import write_images

MakeJob = Callable[..., Job]
RECIPE = FeatureRecipe(view=ViewConfig(resize=None, crop=32), mixed_precision=True)


def extract(job: Job, recipe: FeatureRecipe = RECIPE) -> dict[str, features.Features]:
    return extract_features(job, labelled_splits(job), recipe)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths of all images decoded from here on."""
    paths: list[Path] = []

    real = ImageList.load

    def counting(self: ImageList, index: int) -> Image.Image:
        paths.append(self.root / self.paths[index])
        return real(self, index)

    monkeypatch.setattr(ImageList, "load", counting)
    return paths


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "PART_IMAGES", 10)


def parts(job: Job) -> list[Path]:
    return sorted(features.features_folder(job).glob("*/part-*.f32"))


@pytest.mark.usefixtures("small_parts")
def test_features_are_those_of_a_plain_forward_pass(make_job: MakeJob, resnet18: Backbone) -> None:
    job = make_job(batch_size=4)
    network = resnet18.module().double().eval()
    view = eval_transform(RECIPE.view)
    mean, std = (torch.tensor(v).double().view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for split, images in labelled_splits(job).items():
        found = extract(job)[split]
        pixels = torch.stack([view(load_rgb(images.root / path)) for path in images.paths])
        with torch.no_grad():
            expected = network((pixels.double() / 255 - mean) / std)
        torch.testing.assert_close(found.values[:].double(), expected, rtol=1e-4, atol=1e-4)
        assert found.values[:].dtype == torch.float32 and found.precision == "float32"
        assert found.labels.tolist() == images.labels.tolist()


@pytest.mark.usefixtures("small_parts")
def test_the_second_time_nothing_is_decoded(make_job: MakeJob, decoded: list[Path]) -> None:
    job = make_job(cache=make_job().workdir / "cache")
    first = extract(job)
    assert len(decoded) == len(set(decoded)) == 60  # each image once
    again = extract(dataclasses.replace(job, workdir=job.workdir / "other"))
    assert len(decoded) == 60
    for split in first:
        assert torch.equal(first[split].values[:], again[split].values[:])
        assert (first[split].computed, again[split].computed) == (len(first[split].values), 0)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "swapped", "empty"])
def test_a_lost_or_damaged_part_alone_is_made_again(make_job: MakeJob, decoded: list[Path], damage: str) -> None:
    job = make_job()
    expected = extract(job)["train"].values[:]  # a copy of what lies in the file that is damaged in place
    decoded.clear()
    path = next(path for path in parts(job) if path.parent.name.startswith("train"))
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "swapped":
        path.write_bytes(path.with_name("part-00001.f32").read_bytes())
    else:
        flipped = data.copy()
        flipped[len(data) // 2] ^= 1
        path.write_bytes({"cut": data[:-7], "flipped": flipped, "empty": b""}[damage])
    again = extract(job)
    assert torch.equal(expected, again["train"].values[:])
    assert len(decoded) == again["train"].computed == 10
    assert path.read_bytes() == bytes(data)


@pytest.mark.usefixtures("small_parts")
def test_a_kill_loses_the_parts_in_hand_alone(
    make_job: MakeJob, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = extract(make_job("undisturbed"))
    job = make_job("killed")
    decoded.clear()
    real = feature_store.FeatureStore.write

    def killed(self: feature_store.FeatureStore, part: int, values: np.ndarray) -> None:
        if part == 3:
            raise KeyboardInterrupt
        real(self, part, values)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(feature_store.FeatureStore, "write", killed)
        extract(job)
    # The two parts of val come first; of train's one was being written, and the next computed.
    assert len(decoded) == 60 and len(parts(job)) == 2 + 3
    decoded.clear()
    found = extract(job)
    assert len(decoded) == 60 - 12 - 30
    for split in found:
        assert torch.equal(found[split].values[:], undisturbed[split].values[:])


def test_a_mended_val_image_leaves_the_features_of_the_training_images(
    make_job: MakeJob, tmp_path: Path, decoded: list[Path]
) -> None:
    """A broken one is found first; when it is mended, the data set is another, and its training images are not."""
    data = write_images(tmp_path / "images")
    broken = data / "val" / "class0" / "class0_0.png"
    whole = broken.read_bytes()

    def described() -> Job:
        dataset = describe_data(make_job(data=data).data)
        return make_job(data=data, cache=tmp_path / "cache", dataset=dataset)

    first = described()
    extract(first)
    decoded.clear()
    broken.write_bytes(whole[:200])
    with pytest.raises(DataError, match="class0_0.png"):
        extract(described())
    assert not [path for path in decoded if "train" in path.parts]
    Image.new("RGB", (40, 40)).save(broken)
    decoded.clear()
    mended = described()
    assert mended.dataset.fingerprint != first.dataset.fingerprint
    assert extract(mended)["train"].computed == 0 and len(decoded) == 12
    (data / "train" / "class0" / "class0_0.png").write_bytes(whole)
    assert extract(described())["train"].computed == 48


def test_what_features_depend_on_keeps_them_apart(
    make_job: MakeJob, resnet18: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(cache=make_job().workdir / "cache")
    extract(job)
    other = resnet18.state_dict["conv1.weight"].clone()
    other[0, 0, 0, 0] += 1
    moved = dataclasses.replace(resnet18, state_dict={**resnet18.state_dict, "conv1.weight": other})
    wider = FeatureRecipe(view=ViewConfig(resize=None, crop=36), mixed_precision=True)
    same_view = FeatureRecipe(view=ViewConfig(resize=None, crop=32, interpolation="bicubic"), mixed_precision=True)
    assert extract(dataclasses.replace(job, backbone=moved))["val"].computed == 12
    assert extract(job, wider)["val"].computed == 12
    monkeypatch.setattr(features, "_versions", lambda: {"torch": "0.1"})
    assert extract(job)["val"].computed == 12
    monkeypatch.undo()
    renamed = job.dataset.model_copy(update={"fingerprint": "1" * 16})
    assert extract(dataclasses.replace(job, dataset=renamed))["val"].computed == 12
    assert extract(job, same_view)["val"].computed == 0  # without a resize nothing is interpolated


@pytest.mark.parametrize("moved", ["bn1.running_mean", "bn1.num_batches_tracked", "layer4.1.conv2.weight"])
def test_a_backbone_that_moves_gives_no_number(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, moved: str) -> None:
    real = Encoder.__call__

    def moving(self: Encoder, images: torch.Tensor) -> torch.Tensor:
        self.network.state_dict()[moved].add_(1)
        return real(self, images)

    monkeypatch.setattr(Encoder, "__call__", moving)
    job = make_job()
    with pytest.raises(RunError, match="r18: the frozen backbone's weights or BN statistics changed"):
        extract(job)
    assert parts(job) == []


def test_features_that_are_not_finite_are_refused(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "__call__", lambda self, images: torch.full((len(images), 512), float("nan")))
    job = make_job()
    with pytest.raises(RunError, match="not finite"):
        extract(job)
    assert parts(job) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_in_one_line(
    make_job: MakeJob, tiny_images: Path, tmp_path: Path, workers: int
) -> None:
    for path in tiny_images.rglob("*.png"):
        copy = tmp_path / "copy" / path.relative_to(tiny_images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    bad = tmp_path / "copy" / "train" / "class3" / "class3_2.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"class3_2\.png") as caught:
        extract(make_job(data=tmp_path / "copy", workers=workers))
    assert "\n" not in str(caught.value)
    picture = Image.new("RGB", (20, 30))
    picture.save(bad)
    with pytest.raises(DataError, match=r"class3_2\.png: an image of 20x30 pixels") as caught:
        extract(make_job("second", data=tmp_path / "copy", workers=workers))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_loading_processes_change_nothing(make_job: MakeJob, workers: int) -> None:
    alone, helped = extract(make_job("a", batch_size=7)), extract(make_job("b", batch_size=7, workers=workers))
    assert torch.equal(alone["train"].values[:], helped["train"].values[:])


def test_a_full_disk_is_said_before_and_during(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()
    assert check_features(job, RECIPE, labelled_splits)[0] == []
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        (problem,) = check_features(job, RECIPE, labelled_splits)[0]
        assert f"{job.workdir.parent}: cannot be written to, and 0.1 MiB of features" in problem.message
    usage = features.shutil._ntuple_diskusage(1 << 30, 1 << 30, 1000)  # type: ignore[attr-defined]
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: usage)
    (problem,) = check_features(job, RECIPE, labelled_splits)[0]
    assert "0 MiB free" in problem.message and "features" in problem.message
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(RunError, match=r"features.*cannot be written \(No space left on device\)"):
        extract(job)
    assert parts(job) == []


def _no_space(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_checks_name_what_is_wrong(make_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        make_job(data=tmp_path / "nowhere")
    large = FeatureRecipe(view=ViewConfig(resize=None, crop=64), mixed_precision=True)
    (problem,) = check_features(make_job(), large, labelled_splits)[0]
    assert "40x40 pixels is smaller than the crop of 64" in problem.message


PROGRAM = """
import pickle, sys
from mec_transfer.classification import feature_store
from mec_transfer.classification.knn import Knn
from mec_transfer.classification.linear_fast import LinearFast
from mec_transfer.common import distributed, runtime
from mec_transfer.suite.registry import load_benchmark
feature_store.PART_IMAGES = 10
with open(sys.argv[1], "rb") as file:
    job, benchmarks = pickle.load(file)
with distributed.process_group(runtime.pick_device("cpu")):
    for config, overrides in benchmarks:
        record = load_benchmark(config, overrides).run(job)
        print(sorted(record.metrics.items()), record.details["features_computed"], flush=True)
"""


def test_what_another_job_computes_meanwhile_is_waited_for(
    make_job: MakeJob, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(cache=make_job().workdir / "cache")
    kept = {path: path.read_bytes() for path in (extract(job), parts(job))[1]}
    for path in kept:
        path.unlink()
    decoded.clear()
    held: list[Path] = []

    @contextlib.contextmanager
    def other_job(folder: Path, doing: str, patience: float | None, sole_writer: bool) -> Iterator[None]:
        assert patience is None and not sole_writer  # processes that share out a job write there without the lock
        held.append(folder)
        for path, data in kept.items():
            if path.parent == folder:
                path.write_bytes(data)
        yield

    monkeypatch.setattr(features, "folder_lock", other_job)
    again = extract(job)
    assert not decoded and held == [path.parent for path in parts(job)][::-1] and again["val"].computed == 0


@pytest.mark.usefixtures("small_parts")
def test_two_processes_give_the_features_of_one(make_job: MakeJob, tmp_path: Path) -> None:
    from mec_transfer.common.paths import CONFIGS
    from mec_transfer.suite.registry import load_benchmark

    small = ["dataset.name=tiny", "recipe.view.resize=null", "recipe.view.crop=32"]
    folder = CONFIGS / "classification"
    benchmarks = [
        (folder / "knn_dino.yaml", [*small, "recipe.ks=[1, 5]", "recipe.k=5"]),
        (folder / "linear_fast.yaml", [*small, "recipe.epochs=2"]),
    ]
    alone, shared = (make_job(name, cache=tmp_path / name / "cache", batch_size=4) for name in ("alone", "shared"))
    expected = []
    for config, overrides in benchmarks:
        record = load_benchmark(config, overrides).run(alone)
        expected.append(f"{sorted(record.metrics.items())} {record.details['features_computed']}")
    file = tmp_path / "work.pickle"
    file.write_bytes(pickle.dumps((shared, benchmarks)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    processes = [
        warm.Popen(
            [sys.executable, "-c", PROGRAM, str(file)],
            env={**os.environ, **world, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0].splitlines() == outputs[1][0].splitlines() == expected
    ours, theirs = parts(shared), parts(alone)
    assert [path.relative_to(tmp_path / "shared") for path in ours] == [
        path.relative_to(tmp_path / "alone") for path in theirs
    ]
    assert len(ours) == 7 and all(a.read_bytes() == b.read_bytes() for a, b in zip(ours, theirs, strict=True))
