"""Batches of annotated images for Detectron2, decided by (seed, iteration, slot) alone.

Nothing that has been drawn needs saving: a run that goes on at iteration i draws what it would have drawn there,
whatever the number of loading processes and of GPUs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask
from torch.utils.data import Dataset, Sampler

from mec_transfer.common import distributed
from mec_transfer.common.errors import DataError, disk_failed, one_line
from mec_transfer.common.runtime import derive_seed
from mec_transfer.datasets.loading import Loader
from mec_transfer.datasets.objects.annotation import ObjectAnnotation
from mec_transfer.datasets.objects.notes import training_notes
from mec_transfer.datasets.objects.polygons import has_outline, usable_polygons
from mec_transfer.datasets.objects.splits import ObjectSplit, require_masks

Item = dict[str, Any]
"""One image as Detectron2's models take it: `image` (3, H, W) uint8, `instances` and so on."""

_GROUP = 2
"""Images of one orientation that stay together, as on each of the 8 GPUs of the published runs of 16 images."""


def records(split: ObjectSplit, masks: bool) -> list[Item]:
    """Return a split as Detectron2's dataset dicts, in its order; `image_id` is the place from 1 on.

    Objects are those that Detectron2's own loaders keep; one whose polygons all have fewer than three points is not.
    """
    return [
        {
            "file_name": str(image.path),
            "image_id": number,
            "width": image.width,
            "height": image.height,
            "annotations": [_annotation(thing, masks) for thing in image.objects if has_outline(thing)],
        }
        for number, image in enumerate(split.images, start=1)
    ]


def _annotation(thing: ObjectAnnotation, masks: bool) -> Item:
    # COCO's own numbers in its own form: Detectron2 adds x and width in float32, in which rounding shows.
    box, mode = (thing.box, BoxMode.XYXY_ABS) if thing.xywh is None else (thing.xywh, BoxMode.XYWH_ABS)
    return {
        "bbox": list(box),
        "bbox_mode": mode,
        "category_id": thing.class_index,
        "iscrowd": int(thing.crowd),
        **({"segmentation": _compressed(thing.segmentation)} if masks else {}),
    }


def _compressed(segmentation: Any) -> Any:
    """Polygons of three points or more stay; an RLE of plain counts becomes the one that Detectron2 decodes."""
    if isinstance(segmentation, list):
        return usable_polygons(segmentation)
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, *segmentation["size"])
    return segmentation


def mask_format(items: list[Item]) -> str:
    """Return Detectron2's INPUT.MASK_FORMAT for the objects of `items`: bitmask where one to be learnt has an RLE."""
    things = (thing for item in items for thing in item["annotations"] if not thing["iscrowd"])
    return "bitmask" if any(isinstance(thing.get("segmentation"), dict) for thing in things) else "polygon"


def training_records(split: ObjectSplit, masks: bool) -> list[Item]:
    """Return the images that have something to learn from, as Detectron2's own loader keeps them.

    Raises:
        DataError: there are none, or masks are to be learnt and an object has none.
    """
    kept = [item for item in records(split, masks) if any(not thing["iscrowd"] for thing in item["annotations"])]
    if not kept:
        why = "; ".join(training_notes(split))
        raise DataError(f"split '{split.name}': no image has an object to learn from" + (f" ({why})" if why else ""))
    if masks:
        require_masks(split, training=True)
    return kept


class BatchPlan(Sampler[list[tuple[int, int, int]]]):
    """Which images make up each iteration: lists of (iteration, slot, index).

    The images in a random order, epoch after epoch; where Detectron2 groups wide and tall ones, two of a kind go side
    by side. Set `first` to begin at a later iteration. Each process gets its slice of every batch.
    """

    def __init__(self, items: list[Item], batch: int, seed: int, iterations: int, grouped: bool) -> None:
        self.wide = [item["width"] >= item["height"] for item in items]
        self.batch, self.seed, self.iterations = batch, seed, iterations
        self.group = _GROUP if grouped and batch % _GROUP == 0 else 1
        self.first = 0
        share = batch // distributed.world_size()
        self._mine = slice(distributed.rank() * share, (distributed.rank() + 1) * share)

    def __len__(self) -> int:
        return self.iterations - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for iteration, batch in enumerate(self._batches()):
            if iteration >= self.iterations:
                return
            if iteration >= self.first:
                whole = [(iteration, slot, index) for slot, index in enumerate(batch)]
                yield whole[self._mine]

    def _batches(self) -> Iterator[list[int]]:
        batch: list[int] = []
        waiting: dict[bool, list[int]] = {True: [], False: []}
        for index in self._stream():
            kind = waiting[self.wide[index] or self.group == 1]
            kind.append(index)
            if len(kind) == self.group:
                batch += kind
                kind.clear()
            if len(batch) == self.batch:
                yield batch
                batch = []

    def _stream(self) -> Iterator[int]:
        epoch = 0
        while True:
            random = np.random.default_rng(derive_seed(self.seed, "order", epoch))
            yield from map(int, random.permutation(len(self.wide)))
            epoch += 1


class MappedImages(Dataset[Item]):
    """Item (iteration, slot, index): image `index`, decoded and augmented by Detectron2's own mapper."""

    def __init__(self, items: list[Item], config: CfgNode, seed: int, training: bool = True) -> None:
        self.items, self.seed = items, derive_seed(seed, "augmentation")
        self.mapper = DatasetMapper(config, is_train=training)

    def __getitem__(self, key: tuple[int, int, int]) -> Item:
        iteration, slot, index = key
        item = copy.deepcopy(self.items[index])
        # Detectron2's augmentations draw from NumPy's global stream.
        np.random.seed(derive_seed(self.seed, iteration, slot) % 2**32)
        try:
            mapped: Item = self.mapper(item)
        except Exception as error:  # whatever Pillow and the mapper raise on a broken file
            advice = "" if disk_failed(error) else "; replace or remove it"
            raise DataError(f"{item['file_name']}: cannot be read ({one_line(error)}){advice}") from None
        return mapped


def load_batches(dataset: MappedImages, plan: Sampler[Any], workers: int) -> Iterator[list[Item]]:
    """Yield the batches of `plan`. Raises DataError where an image cannot be read, RunError where a process dies."""
    yield from Loader(dataset, workers, batch_sampler=plan, collate_fn=_as_list)


def _as_list(items: list[Item]) -> list[Item]:
    return items


def seed_step(seed: int, iteration: int) -> None:
    """Seed what the network draws in an iteration (proposals and regions are sampled), for each process its own."""
    torch.manual_seed(derive_seed(seed, "step", iteration, distributed.rank()))
