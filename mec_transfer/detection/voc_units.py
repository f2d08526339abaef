"""The matches of VOC's evaluator, for average precision on draws of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection.units import ClassMatches, DetectionUnits
from mec_transfer.detection.voc_ap import ELEVEN, THRESHOLDS, class_truth, match_class


class VocUnits(DetectionUnits):
    """Measures boxes as VOC does."""

    def __init__(
        self, split: ObjectSplit, predictions: Sequence[dict[str, Any]], truth: str, eleven_points: bool
    ) -> None:
        super().__init__(len(split.images), truth, split.classes, ELEVEN if eleven_points else None)
        self._split, self._predictions = split, predictions

    def match(self, what: str, area: str) -> list[ClassMatches]:
        """Match the boxes of every class. Raises KeyError for masks, and for objects of a size."""
        if (what, area) != ("bbox", "all"):
            raise KeyError(f"VOC measures neither masks nor sizes: {what} {area}")
        by_class: list[list[dict[str, Any]]] = [[] for _ in self._split.classes]
        for item in self._predictions:
            by_class[item["category_id"] - 1].append(item)
        matches = []
        for number, mine in enumerate(by_class):
            truth = class_truth(self._split, number)
            images, right, left_out = match_class(truth, mine, [threshold / 100 for threshold in THRESHOLDS])
            positives = np.array([np.count_nonzero(~hard) for _, hard in truth])
            matches.append(ClassMatches(images=images, right=right, left_out=left_out, positives=positives))
        return matches
