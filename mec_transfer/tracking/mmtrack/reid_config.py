"""What the YAMLs of the two benchmarks hold that train a ReID network. Nothing here imports torch or MMTracking."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mec_transfer.benchmark import Resources
from mec_transfer.common.config import Setting, StrictModel
from mec_transfer.common.files import sha256_file
from mec_transfer.datasets.config import VideosDatasetConfig
from mec_transfer.results.record import DatasetInfo, Record
from mec_transfer.tracking.mmtrack.config import EngineConfig, EngineRecipe, stock_path
from mec_transfer.tracking.mmtrack.stock_settings import STOCK_SETTINGS

if TYPE_CHECKING:
    from mec_transfer.units import Units

PUBLISHED_DETECTOR = "64ee2ed4"
"""How the sha256 of MMTracking's faster-rcnn_r50_fpn_4e_mot17-half-64ee2ed4.pth begins."""


class CropRule(StrictModel):
    """Which boxes of a MOT data set become crops, and of which persons; mot2reid's options."""

    min_visibility: float = Field(default=0.3, ge=0, le=1)
    """A box that shows less of its person is left out."""
    val_share: float = Field(default=0.2, gt=0, lt=1)
    """The share of the persons whose crops are measured on."""
    min_per_person: int = Field(default=8, ge=2)
    """Crops; a person with fewer is left out."""
    max_per_person: int = Field(default=1000, ge=2)
    """Crops; of a person with more, as many are drawn."""


class ReidRecipe(EngineRecipe):
    """How a ReID network is trained."""

    persons: int = Field(default=8, ge=2)
    """In a batch of a published process: its triplet_sampler.num_ids. How many crops each has, the stock file says."""
    crops: CropRule = CropRule()

    def resources(self, arch: str, own_bytes: int) -> Resources:
        """Return what a job takes: `own_bytes` in its folder; weights, two states and the crops in the cache."""
        if arch != "resnet50" or self.config != "reid_r50_mot17.py":
            return Resources()
        trained = (1 + 2 * 2) * _WEIGHTS_BYTES  # a state holds the momentum, too
        return Resources(own_bytes=own_bytes, more=True, cached_bytes={"ReID training": trained})


_WEIGHTS_BYTES = 103_490_000
"""A ReID network on a ResNet-50 with 380 persons, as it is written."""


class ReidConfig(EngineConfig):
    """The config of a ReID benchmark."""

    dataset: VideosDatasetConfig
    recipe: ReidRecipe

    def units(self, folder: Path, record: Record) -> Units:
        """Persons, each with the queries that look for them."""
        from mec_transfer.tracking.mmtrack.reid_metrics import person_units

        return person_units(folder)

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Return the disk that the weights and their training take; the crops come on top."""
        return self.recipe.resources(arch, _WEIGHTS_BYTES)


class DeepSortRecipe(ReidRecipe):
    """How a ReID network is trained and boxes are joined by it."""

    tracker: str
    """The stock MMTracking .py of the tracker, in configs/tracking/mmtrack or by its path."""
    tracker_changes: dict[str, Setting] = Field(default_factory=dict)
    """MMTracking keys in place of the tracker file's, for instance `model.tracker.obj_score_thr: 0.3`."""
    boxes: Literal["given", "public", "private"] = "given"
    """Which boxes are joined: the files' own, with their scores; or a detector's, in MMTracking's words: `public` ones
    are what it makes of the files' boxes, `private` ones what it finds by itself."""
    detector: str = ""
    """The file with the weights of the tracker file's detector, as mmdet writes it; `boxes: given` needs none."""
    part: Literal["half-val", "all"] = "half-val"
    """Which frames of each sequence are tracked: those after the first n // 2 + 1 of n, which MMTracking calls so, or
    all of them."""

    @model_validator(mode="after")
    def _given_boxes_need_no_detector(self) -> DeepSortRecipe:
        if self.detector and self.boxes == "given":
            raise ValueError("a detector is named, and boxes are 'given'; write boxes: public, or boxes: private")
        return self


class DeepSortConfig(EngineConfig):
    """The config of a DeepSORT benchmark."""

    dataset: VideosDatasetConfig
    recipe: DeepSortRecipe

    def units(self, folder: Path, record: Record) -> Units:
        """Sequences, which the evaluator counts together."""
        from mec_transfer.tracking.association import mot_metrics
        from mec_transfer.tracking.units import pooled_units

        return pooled_units(folder, record, mot_metrics.pooled)

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Return the disk that the ReID network's training takes; crops and results come on top."""
        return self.recipe.resources(arch, 0)

    def settings(self) -> dict[str, Any]:
        """As every config's, and MMTracking's keys of both files."""
        stock = STOCK_SETTINGS.get(self.recipe.tracker, {}) | self.recipe.tracker_changes
        return {key: value for key, value in super().settings().items() if key != "tracker_changes"} | stock

    def hashed(self) -> dict[str, Any]:
        """As every config's; a detector counts by what its file holds, and the published one as if none were named."""
        values, path = super().hashed(), Path(self.recipe.detector)
        if self.recipe.detector and path.is_file():
            sha256 = _sha256_of(path, path.stat().st_mtime_ns)
            values["recipe"] |= {"detector": "" if sha256.startswith(PUBLISHED_DETECTOR) else sha256}
        return values

    @property
    def files(self) -> tuple[Path, ...]:
        """The stock files of the network and of the tracker."""
        return (*super().files, stock_path(self.recipe.tracker))


@functools.lru_cache(maxsize=4)
def _sha256_of(path: Path, changed: int) -> str:
    """Hash a file once, however often a plan asks; `changed` is when it was written."""
    return sha256_file(path)
