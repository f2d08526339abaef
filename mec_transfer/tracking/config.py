"""What the YAMLs of all five frozen-feature tasks hold. Neither this nor their own config modules import torch."""

from __future__ import annotations

from typing import Literal

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.common.config import StrictModel
from mec_transfer.datasets.config import VideosDatasetConfig

Stage = Literal["layer3", "layer4"]
Precision = Literal["fp32", "bf16", "fp16"]

STRIDE = 8
"""Pixels of the image a feature cell stands for."""


class FrozenRecipe(StrictModel):
    """What the recipes of all five tasks have."""

    stage: Stage = "layer3"
    """The stage whose features are used: layer3 is what UniTrack calls s3, and layer4 its s4."""
    precision: Precision = "fp32"


class FrozenConfig(BenchmarkConfig):
    """The config of a frozen-feature task."""

    dataset: VideosDatasetConfig
    recipe: FrozenRecipe
