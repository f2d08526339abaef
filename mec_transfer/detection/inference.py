"""A trained detector's predictions on a test split, in COCO's result format."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from pycocotools import mask as coco_mask
from torch import nn

from mec_transfer.common import distributed
from mec_transfer.common.progress import Meter
from mec_transfer.detection.loading import Item, MappedImages, load_batches

Prediction = dict[str, Any]
"""image_id and category_id (both from 1 on), bbox [x, y, width, height] in pixels of the image, score in 0..1, and
segmentation (an RLE) where the network has masks."""


@torch.no_grad()
def predict(network: nn.Module, config: CfgNode, items: list[Item], workers: int) -> list[Prediction]:
    """Return the predictions for all `items`, on every process, in the order of the images; each does a share."""
    network.eval()
    share = range(distributed.rank(), len(items), distributed.world_size())
    dataset = MappedImages(items, config, seed=0, training=False)
    found: list[Prediction] = []
    meter = Meter("testing", len(share), "images")
    try:
        for (image,) in load_batches(dataset, [[(0, 0, index)] for index in share], workers):  # type: ignore[arg-type]
            (result,) = network([image])
            found += to_predictions(result["instances"].to("cpu"), image["image_id"])
            meter.advance()
    finally:
        meter.close()
    together = [prediction for part in distributed.gather_objects(found) for prediction in part]
    return sorted(together, key=lambda prediction: prediction["image_id"])  # stable: by falling score within an image


def to_predictions(instances: Instances, image_id: int) -> list[Prediction]:
    """Return Detectron2's instances of an image, at its own size, as COCO results."""
    boxes = instances.pred_boxes.tensor.numpy().astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    found: list[Prediction] = [
        {"image_id": image_id, "category_id": int(label) + 1, "bbox": box, "score": float(score)}
        for box, score, label in zip(boxes.tolist(), instances.scores, instances.pred_classes)
    ]
    if instances.has("pred_masks"):
        for prediction, mask in zip(found, instances.pred_masks.numpy()):
            rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
            prediction["segmentation"] = {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}
    return found
