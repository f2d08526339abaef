"""The features of a frozen backbone: each image is read once, however many benchmarks use it.

They are kept in the job's cache, keyed by everything they depend on (weights, data, split, view, precision, versions of
what computes them), and are used where they lie, mapped. Any number of runs may share a cache: a part is whole or
absent, the first of those that lack the same ones computes them, and the others wait or, where the file system has no
locks, compute them too. Under torchrun each process takes a contiguous share of what is missing; batches, and so
the features, do not depend on the number of processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.benchmark import Job, Problem
from mec_transfer.classification.config import FeatureRecipe, ViewConfig
from mec_transfer.classification.feature_rows import FeatureRows
from mec_transfer.classification.feature_store import FeatureStore
from mec_transfer.classification.loading import load_batches
from mec_transfer.classification.network import Encoder
from mec_transfer.classification.transforms import eval_transform, remark_on_size
from mec_transfer.common import device as devices
from mec_transfer.common import distributed
from mec_transfer.common.errors import DataError, RunError, UserError
from mec_transfer.common.files import existing_folder, short_of_room
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.progress import Meter, is_main_process, warn
from mec_transfer.common.runtime import pick_device, versions
from mec_transfer.datasets.images.data import ImageData
from mec_transfer.datasets.images.image_list import ImageList

_VERSION = 1
"""The version of what goes into a feature; raised when numbers may move."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The features of one split, in the order of its images."""

    values: FeatureRows
    """(N, width), mapped from the store's files."""
    labels: torch.Tensor
    """As the image list's, (N,) or (N, C) int64."""
    computed: int
    """How many of them were computed now, by all processes; the others came from the cache."""
    seconds: float
    """Wall clock of computing and checking them."""
    precision: str


def extract_features(job: Job, splits: Mapping[str, ImageList], recipe: FeatureRecipe) -> dict[str, Features]:
    """Return the features of each of `splits`, computing what the cache lacks.

    Raises:
        DataError: an image cannot be decoded, or is smaller than the crop.
        RunError: the disk is full, a feature is not finite, or the backbone's weights or BN statistics changed.
    """
    encoder = Encoder(job.backbone, pick_device(job.device), recipe.mixed_precision)
    encoder.network.requires_grad_(False).eval()
    if prefers_channels_last(job.backbone, recipe.view):
        encoder.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = _state_sha256(encoder)
    stores = {
        name: _store(job, name, images, recipe, encoder.precision, encoder.device) for name, images in splits.items()
    }
    # The training images last, which are the most: what is wrong with the others is found out before.
    order = sorted(splits, key=lambda name: name == "train")
    features = {name: _extract_split(job, stores[name], splits[name], recipe, encoder) for name in order}
    if _state_sha256(encoder) != before:
        for store in stores.values():
            store.remove()
        raise RunError(
            f"{job.model_name}: the frozen backbone's weights or BN statistics changed while its features were "
            "computed; the features are thrown away and no number is given"
        )
    return features


def check_features(
    job: Job, recipe: FeatureRecipe, open_splits: Callable[[Job], dict[str, ImageList]]
) -> tuple[list[Problem], dict[str, ImageList]]:
    """Return what keeps features from being computed (data, crop, device, disk), and the splits that are sound.

    `open_splits` is `labelled_splits` or `one_class_splits`, whichever the benchmark takes.
    """
    problems = [Problem(message=message) for message in job.data.problems]
    try:
        splits = open_splits(job)
        device = pick_device(job.device)
        for images in splits.values():
            next(load_batches(images, eval_transform(recipe.view), [range(1)], 0, device))
        if remark := remark_on_size(list(splits.values())[-1], recipe.view):
            problems.append(Problem(message=remark, severity="warning"))
    except UserError as error:
        return problems or [Problem(message=str(error))], {}
    precisions = ("float32", "bfloat16") if devices.computes_bfloat16(device) else ("float32",)
    needed = min(
        sum(_store(job, name, images, recipe, precision, device).missing_bytes() for name, images in splits.items())
        for precision in precisions
    )
    if problem := _no_room(features_folder(job), needed):
        problems.append(Problem(message=problem))
    return problems, splits


def _no_room(folder: Path, needed: int) -> str:
    """Return why `needed` bytes of features cannot be written to a folder that need not be there yet; or ""."""
    there = existing_folder(folder)
    if needed and not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        what = "cannot be written to" if there.is_dir() else "is a file"
        return f"{there}: {what}, and {needed / 2**20:.1f} MiB of features are to be kept there; choose another --cache"
    short = short_of_room(there, needed)
    return f"{short} for the features; free some, or choose another --cache" if short else ""


def feature_details(features: Mapping[str, Features]) -> dict[str, Any]:
    """Return what a record keeps of how its features came about."""
    computed = sum(part.computed for part in features.values())
    seconds = sum(part.seconds for part in features.values())
    return {
        "precision": next(iter(features.values())).precision,
        "feature_seconds": round(seconds, 3),
        "features_computed": computed,
        "features_from_cache": sum(len(part.values) for part in features.values()) - computed,
        "images_per_second": round(computed / seconds, 1) if computed else None,
        "backbone_unmoved": True,
        "processes": distributed.world_size(),
    }


def labelled_splits(job: Job) -> dict[str, ImageList]:
    """Return the images of each split, those to train on and those to measure on.

    An image has one class or, where `labels` has two dimensions, any number. Raises DataError where there are no
    labels.
    """
    assert isinstance(job.data, ImageData)
    return {split: job.data.labelled(split) for split in job.data.images}


def one_class_splits(job: Job) -> dict[str, ImageList]:
    """Return `labelled_splits`. Raises DataError as they do, and where an image may have any number of classes."""
    splits = labelled_splits(job)
    if any(images.labels.ndim == 2 for images in splits.values()):
        raise DataError(
            f"{job.data.folder}: an image of layout '{job.data.config.layout}' may have any number of classes, which "
            "logistic regression (transfer_voc2007) and SVMs (voc07_svm) measure alone; use 'imagefolder'"
        )
    return splits


def features_folder(job: Job) -> Path:
    """Return the folder of the job's features: in its cache, or in its own folder where it has none."""
    return (job.cache or job.workdir).absolute() / "features"


def discard_features(job: Job) -> None:
    """Delete what was kept for resuming alone: a finished job that has no cache keeps no features."""
    if job.cache is None and is_main_process():
        shutil.rmtree(features_folder(job), ignore_errors=True)


def _store(
    job: Job, split: str, images: ImageList, recipe: FeatureRecipe, precision: str, device: torch.device
) -> FeatureStore:
    view = recipe.view
    listing = "\n".join(images.paths).encode("utf-8", "surrogateescape")
    about = {
        "version": _VERSION,
        "backbone": job.backbone.sha256,
        # A mended val image leaves what was computed of the training images good.
        "data": (job.dataset.train_fingerprint if split == "train" else "") or job.dataset.fingerprint,
        "split": split,
        "images": hashlib.sha256(listing).hexdigest(),
        "view": [view.resize, view.crop, view.interpolation if view.resize or view.squeezed else None]
        + ["squeeze"] * view.squeezed
        + [list(square) for square in view.squares],
        "precision": precision,
        "device": device.type,
        "versions": _versions(),
    }
    return FeatureStore(features_folder(job), about, len(images), job.backbone.width)


@functools.cache
def _versions() -> dict[str, str]:
    """The versions of the libraries that decode and cut images and compute features of them."""
    found = versions()
    return {name: found[name] for name in ("pillow", "torch", "torchvision") if name in found}


def _extract_split(
    job: Job, store: FeatureStore, images: ImageList, recipe: FeatureRecipe, encoder: Encoder
) -> Features:
    began = time.monotonic()
    missing = _missing_parts(store)
    if missing:
        with _alone(store):
            began = time.monotonic()
            if distributed.world_size() == 1:  # another job may have computed them while this one waited
                missing = [part for part in missing if not store.is_whole(part)]
            if is_main_process():
                store.describe()
            own = _own_share(missing)
            _compute_parts(job, store, own, images, recipe, encoder)
            distributed.barrier()
        if lost := [part for part in missing if part not in own and not store.is_whole(part)]:
            raise RunError(
                f"{store.path(lost[0])}: cannot be read back; all processes must see the same cache folder, and the "
                "disk must be sound"
            )
    return Features(
        values=FeatureRows([store.open(part) for part in range(len(store.parts))]),
        labels=torch.from_numpy(images.labels),
        computed=sum(len(store.parts[part]) for part in missing),
        seconds=time.monotonic() - began,
        precision=encoder.precision,
    )


def _alone(store: FeatureStore) -> contextlib.AbstractContextManager[None]:
    """Keep other jobs from computing the same features meanwhile: they wait, and find them done.

    Processes that share out one job's images do not wait: the others of them would give the first one up.
    """
    if distributed.world_size() > 1:
        return contextlib.nullcontext()
    return folder_lock(store.folder, "computing the same features", patience=None, sole_writer=False)


def _missing_parts(store: FeatureStore) -> list[int]:
    """Return the parts that are to be computed; each process reads through a share of those that are there."""
    parts = range(len(store.parts))
    own = _own_share(parts)
    there = {part for part in parts if store.path(part).exists()}  # before: another run may write one meanwhile
    lacking = [part for part in parts if not (store.is_whole(part) if part in own else store.is_present(part))]
    missing = sorted(set().union(*distributed.gather_objects(lacking)))
    for part in missing:
        if part in there:
            warn(f"{store.path(part)}: damaged; its {len(store.parts[part])} images are read again")
    return missing


def _own_share(parts: Sequence[int]) -> Sequence[int]:
    """This process's contiguous share; the shares' sizes differ by one at most."""
    rank, world = distributed.rank(), distributed.world_size()
    return parts[len(parts) * rank // world : len(parts) * (rank + 1) // world]


@torch.inference_mode()
def _compute_parts(
    job: Job,
    store: FeatureStore,
    parts: Sequence[int],
    images: ImageList,
    recipe: FeatureRecipe,
    encoder: Encoder,
) -> None:
    """Compute `parts` and put them in the store: each is written while the next is computed."""
    size = job.batch_size or default_batch_size(recipe.view, encoder.device)
    batches = {part: _cut(store.parts[part], size) for part in parts}
    ordered = [batch for part in parts for batch in batches[part]]
    loaded = load_batches(images, eval_transform(recipe.view), ordered, job.workers, encoder.device)
    layout = torch.channels_last if prefers_channels_last(encoder.backbone, recipe.view) else torch.contiguous_format
    meter = Meter(f"{store.about['split']} features", sum(map(len, ordered)), "images")
    with ThreadPoolExecutor(max_workers=1) as writer, contextlib.closing(meter):
        written = None
        for part in parts:
            found = []  # stays on the device until the part is whole: a GPU is not made to wait for each batch
            for batch in batches[part]:
                found.append(encoder(next(loaded).contiguous(memory_format=layout)))
                meter.advance(len(batch))
            done = torch.cat(found).cpu().numpy()
            if written:
                written.result()
            _require_finite(done, job)
            written = writer.submit(store.write, part, done)
        if written:
            written.result()


def _cut(rows: range, size: int) -> list[range]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _require_finite(values: np.ndarray, job: Job) -> None:
    if not np.isfinite(values).all():
        raise RunError(
            f"{job.model_name}: the backbone gives features that are not finite; check the checkpoint with "
            "`mec-transfer inspect`"
        )


def default_batch_size(view: ViewConfig, device: torch.device) -> int:
    """Return a batch size near the fastest: on a CPU a small one, whose maps stay in the caches."""
    if devices.prefers_large_operations(device):
        return 512
    return 128 if view.crop < 64 else 32


def prefers_channels_last(backbone: Backbone, view: ViewConfig) -> bool:
    """Whether channels-last is the faster memory layout: always, but for a bottleneck network on tiny maps on a CPU."""
    return backbone.stem == "cifar" or backbone.width < 2048 or view.crop >= 64


def _state_sha256(encoder: Encoder) -> str:
    """Hash parameters and every buffer, BN's counters included: in training mode those would be the first to move."""
    counters = [int(b) for name, b in encoder.network.named_buffers() if name.endswith("num_batches_tracked")]
    return f"{encoder.sha256()} {counters}"
