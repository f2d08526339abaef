"""Weighted k-NN on labelled images while training goes on: how good the encoder's features are by now.

The features, the neighbours and the vote are those of `mec_transfer.classification`; only the images are fewer. The
encoder's weights are copied into a network of their own, so that nothing of the run is touched.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.classification.config import ViewConfig
from mec_transfer.classification.features import default_batch_size, prefers_channels_last
from mec_transfer.classification.knn import knn_predict
from mec_transfer.classification.loading import load_batches
from mec_transfer.classification.network import Encoder
from mec_transfer.classification.transforms import eval_transform
from mec_transfer.common import device as devices
from mec_transfer.common import distributed
from mec_transfer.common.errors import ConfigError, DataError, RunError, UserError
from mec_transfer.common.interrupt import StopRequest
from mec_transfer.common.progress import track, warn
from mec_transfer.datasets.images.folders import open_splits
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.sample import sample_indices
from pretrain.config import OnlineKnnConfig, PretrainConfig

CACHE_BYTES = 4 << 30
"""Pixels kept in memory, of all processes together: 15,000 images of 224 pixels take 2.1 GiB. What is more than this
is decoded anew each time."""
_TRIED = 16


class OnlineKnn:
    """Top-1 of the val images by their nearest training images; each of several processes computes a share of both."""

    def __init__(
        self, config: PretrainConfig, splits: Mapping[str, ImageList], device: torch.device, workers: int
    ) -> None:
        """`splits` holds the images, "train" and "val", that are used."""
        self.config, self.splits, self.device, self.workers = config, splits, device, workers
        self.knn = config.online_knn or OnlineKnnConfig()
        self.view = _central_view(config)
        self._cache: dict[str, list[torch.Tensor]] = {}

    @classmethod
    def open(cls, config: PretrainConfig, labelled: Path, device: torch.device, workers: int) -> OnlineKnn:
        """Open the data set, and decode what is used of it: an unusable one is found before the training.

        Raises:
            ConfigError: `online_knn` wants more neighbours or classes than it takes images.
            DataError: the data set is missing or malformed, or an image of the subset cannot be decoded.
            RunError: a loading process died.
        """
        knn = config.online_knn or OnlineKnnConfig()
        sizes = {"train": knn.max_train, "val": knn.max_val}
        splits = {
            split: images.subset(balanced_indices(images, sizes[split]))
            for split, images in open_splits(labelled).items()
        }
        _check(knn, splits["train"], labelled)
        found = cls(config, splits, device, workers)
        with devices.kept_generators(device):  # a loader draws a seed for its processes even where none is used
            found._fill_cache()
        return found

    def _fill_cache(self) -> None:
        total = sum(len(images) for images in self.splits.values())
        if total * 3 * self.config.views.size**2 > CACHE_BYTES:
            for images in self.splits.values():
                tried = images.subset(sample_indices(len(images), _TRIED))
                next(load_batches(tried, eval_transform(self.view), [range(len(tried))], 0, self.device))
            return
        for split in self.splits:
            loaded = track(self._load(split), f"labelled {split} images", len(self._batches(split)))
            self._cache[split] = [batch.clone() for batch in loaded]  # what a worker hands over holds an open file

    @torch.no_grad()
    def measure(self, encoder: torch.nn.Module, stop: StopRequest | None = None) -> float | None:
        """Return the top-1 accuracy in percent, the same on every process; all of them must call.

        Where it cannot be had (an image has gone, the GPU's memory is full, a signal came) that is a warning and
        None: looking at a run must not end it, nor delay its end.

        Args:
            encoder: a `MecModel`'s; it is read, not called.
            stop: looked at after every batch.
        """
        with devices.kept_generators(self.device):
            features, failure = self._try_features(encoder, stop or StopRequest())
            shares = distributed.gather_objects((features, failure))
            if failures := [failure for _, failure in shares if failure]:
                warn(f"no k-NN this time: {failures[0]}")
                return None
            train = torch.cat([share["train"] for share, _ in shares]).to(self.device)
            val = features["val"].to(self.device)
            labels = {split: torch.from_numpy(images.labels) for split, images in self.splits.items()}
            classes = len(self.splits["train"].classes)
            found = knn_predict(train, labels["train"], val, self.knn.k, self.knn.temperature, classes)
            mine = _share(len(self.splits["val"]))
            right = int((found == labels["val"][mine.start : mine.stop]).sum())
        return round(100 * sum(distributed.gather_objects(right)) / len(self.splits["val"]), 4)

    def _try_features(self, encoder: torch.nn.Module, stop: StopRequest) -> tuple[dict[str, torch.Tensor], str]:
        """This process's share of both splits' features, (n, width) each on the CPU; or what went wrong."""
        try:
            network = self._frozen(encoder)
            features = {split: self._features(split, network, stop) for split in self.splits}
        except (UserError, RunError, OSError, RuntimeError) as error:  # torch's out of memory is a RuntimeError
            return {}, (str(error).splitlines() or [type(error).__name__])[0]
        if not all(bool(part.isfinite().all()) for part in features.values()):
            return {}, "the features are not finite"
        return features, ""

    def _frozen(self, encoder: torch.nn.Module) -> Encoder:
        """Copy the weights into a network that evaluation would use, without projector, in eval mode."""
        state = {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("fc.")}
        config = self.config
        backbone = Backbone(arch=config.arch, state_dict=state, preprocessing=config.preprocessing, stem=config.stem)
        layout = prefers_channels_last(backbone, self.view)
        frozen = Encoder(backbone, self.device, mixed_precision=config.precision == "bf16", channels_last=layout)
        frozen.network.requires_grad_(False).eval()
        return frozen

    def _features(self, split: str, network: Encoder, stop: StopRequest) -> torch.Tensor:
        found = [torch.zeros(0, network.backbone.width)]
        for batch in self._cache.get(split) or self._load(split):
            found.append(network(batch).cpu())
            if stop.number:
                raise RunError(f"{signal.Signals(stop.number).name} asks to stop")
        return torch.cat(found)

    def _load(self, split: str) -> Iterator[torch.Tensor]:
        batches = self._batches(split)
        return load_batches(self.splits[split], eval_transform(self.view), batches, self.workers, self.device)

    def _batches(self, split: str) -> list[range]:
        mine, size = _share(len(self.splits[split])), default_batch_size(self.view, self.device)
        return [mine[start : start + size] for start in range(0, len(mine), size)]


def _check(knn: OnlineKnnConfig, train: ImageList, labelled: Path) -> None:
    classes = len(train.classes)
    if classes < 2:
        raise DataError(f"{labelled}: only one class; at least two are needed to tell apart")
    for key, most in (("max_train", knn.max_train), ("max_val", knn.max_val)):
        if most < classes:
            raise ConfigError(f"online_knn.{key} = {most}: {labelled} has {classes} classes; give at least that")
    if knn.k > len(train):
        raise ConfigError(
            f"online_knn.k = {knn.k}: more neighbours than the {len(train)} training images taken of "
            f"{labelled}; lower it"
        )


def balanced_indices(images: ImageList, count: int) -> np.ndarray:
    """Pick `count` images, of each class as many (to one) as far as it has them: (count,) int64, rising.

    Within a class the images with the lowest hashes of their paths: the same ones on every machine.
    """
    hashes = [hashlib.sha256(os.fsencode(path)).digest() for path in images.paths]
    order = np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64)
    order = order[np.argsort(images.labels[order], kind="stable")]  # class by class, by hash within each
    labels = images.labels[order]
    place = np.arange(len(order)) - np.searchsorted(labels, labels)  # within its class
    return np.sort(order[np.lexsort((labels, place))][:count])


def _central_view(config: PretrainConfig) -> ViewConfig:
    """ImageNet's usual central crop, 256 to 224, at the size of the run's views; small images are taken whole."""
    size = config.views.size
    resize = size if config.stem == "cifar" else round(size * 256 / 224)
    return ViewConfig(resize=resize, crop=size, interpolation="bicubic")


def _share(total: int) -> range:
    """This process's contiguous part of `total` rows."""
    rank, world = distributed.rank(), distributed.world_size()
    return range(total * rank // world, total * (rank + 1) // world)
