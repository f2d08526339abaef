"""What the YAMLs hold that judge images of another kind by a head which a linear probe has trained; without torch."""

from __future__ import annotations

from pydantic import Field

from mec_transfer.benchmark import Resources
from mec_transfer.classification.config import ClassificationConfig, FeatureRecipe
from mec_transfer.classification.resources import feature_bytes, feature_work, prediction_bytes
from mec_transfer.common.config import StrictModel
from mec_transfer.datasets.shifted_config import ShiftedDatasetConfig
from mec_transfer.results.record import DatasetInfo


class HeadConfig(StrictModel):
    """Which head judges the images: that of a finished job of the same weights, training images, trial and seed."""

    protocol: str
    """The protocol id of the linear probe that trained it."""
    version: int = Field(ge=1)
    """The version of that protocol."""


class RobustRecipe(FeatureRecipe):
    """The recipe of robustness: the view is the one in which the head's own test images are judged."""

    head: HeadConfig


class RobustConfig(ClassificationConfig):
    """The config of `robust_*.yaml`."""

    dataset: ShiftedDatasetConfig
    recipe: RobustRecipe

    @property
    def needs(self) -> str:
        """The head's probe."""
        return self.recipe.head.protocol

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Features in the cache, which are nearly all of the work."""
        return Resources(
            work=(feature_work(self.recipe, data),),
            own_bytes=prediction_bytes(data.splits["val"], 2, data.classes or 0),
            cached_bytes=feature_bytes(self.recipe, arch, data),
        )
