"""Crops as MMTracking's ReIDDataset takes them: its own sampling and pipelines, the files out of a `CropStore`.

Imported after `engine.load()` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmcv import BaseStorageBackend, Config, FileClient
from mmtrack.datasets import ReIDDataset
from torch.utils.data import Dataset

from mec_transfer.common import distributed
from mec_transfer.common.errors import DataError, UserError, one_line
from mec_transfer.common.progress import Meter
from mec_transfer.datasets.loading import Loader
from mec_transfer.tracking.mmtrack.reid_store import TRAIN, VAL, CropStore

_BACKEND = "mec_transfer_crops"
_IMAGES = 32
"""In a forward pass of the measurement, in which no image sees another."""


@FileClient.register_backend(_BACKEND, force=True)
class CropBackend(BaseStorageBackend):
    """mmcv's way to a file, for names in a `CropStore`."""

    def __init__(self, store: CropStore) -> None:
        self.store = store

    def get(self, filepath: str) -> bytes:
        """Return a crop's JPEG."""
        return self.store.read(filepath)

    def get_text(self, filepath: str, encoding: str = "utf-8") -> str:
        """Refuse: a crop is no text."""
        raise NotImplementedError


def training_set(config: Config, store: CropStore) -> ReIDDataset:
    """Return the data set of the stock config's `data.train`, on the crops to train on."""
    return _dataset(config.data.train, store, TRAIN)


def _dataset(settings: Any, store: CropStore, names: str) -> ReIDDataset:
    pipeline = [dict(step) for step in settings.pipeline]
    pipeline[0]["file_client_args"] = {"backend": _BACKEND, "store": store}
    return ReIDDataset(
        pipeline=pipeline,
        triplet_sampler=settings.triplet_sampler,
        data_prefix="",
        ann_file=str(store.folder / names),
    )


class _Crops(Dataset[torch.Tensor]):
    """The crops that are measured on, an image each, in the list's order."""

    def __init__(self, dataset: ReIDDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> torch.Tensor:
        try:
            image: torch.Tensor = self.dataset[index]["img"]
        except UserError:
            raise
        except Exception as error:  # whatever OpenCV and the pipeline raise
            raise DataError(f"{self.dataset.data_infos[index]['img_info']['filename']}: {one_line(error)}") from None
        return image


def embed(
    network: Any, config: Config, store: CropStore, workers: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the embeddings of the crops to measure on, (N, C) float32, labels (N,) int64 and names, on every process.

    Each process does a share.

    Raises:
        DataError: a crop cannot be read.
    """
    dataset = _dataset(config.data.test, store, VAL)
    share = range(distributed.rank(), len(dataset), distributed.world_size())
    parts = [np.array(part) for part in _embedded(network, dataset, share, workers, device)]
    width = int(network.head.out_channels)
    mine = np.concatenate(parts) if parts else np.empty((0, width), np.float32)
    embeddings = np.empty((len(dataset), width), np.float32)
    for rank, found in enumerate(distributed.gather_objects(mine)):
        embeddings[rank :: distributed.world_size()] = found
    return embeddings, dataset.get_gt_labels(), [info["img_info"]["filename"] for info in dataset.data_infos]


@torch.no_grad()
def _embedded(
    network: Any, dataset: ReIDDataset, share: range, workers: int, device: torch.device
) -> Iterator[np.ndarray]:
    network.eval()
    meter = Meter("embedding", len(share), "crops")
    loader: Loader[torch.Tensor] = Loader(_Crops(dataset), workers, sampler=share, batch_size=_IMAGES)
    try:
        for images in loader:
            yield network.simple_test(images.to(device)).cpu().numpy()
            meter.advance(len(images))
    finally:
        meter.close()
