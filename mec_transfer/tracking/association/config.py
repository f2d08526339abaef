"""What the YAMLs of the three association benchmarks hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from mec_transfer.common.config import StrictModel
from mec_transfer.results.record import Record
from mec_transfer.tracking.config import FrozenConfig, FrozenRecipe

if TYPE_CHECKING:
    from mec_transfer.units import Units


class AssociationRecipe(StrictModel):
    """When a detection continues a track; the limits are of costs, 1 - similarity."""

    similarity_limit: float = Field(gt=0)
    """First, of appearance (and motion), against every track that is followed or lost."""
    overlap_limit: float = Field(gt=0)
    """Then of boxes, against those that are followed."""
    confirm_limit: float = Field(gt=0)
    """Last of boxes, against tracks that have been seen once."""
    duplicate_limit: float = Field(ge=0)
    """A tracked and a lost box closer than this are one object: the older track stays."""
    track_buffer: int = Field(ge=0)
    """Frames that a lost track is remembered for, in a video of 30 frames a second."""
    kalman: bool = True
    """Whether boxes are predicted and smoothed; else tracks count at once and are matched by appearance only."""
    motion_lambda: float = Field(default=1.0, ge=0, le=1)
    """Share of appearance in the first cost; the rest is the squared Mahalanobis distance from the predicted box."""
    motion_gated: bool = False
    """Whether detections outside 95 % of where a track can be are ruled out."""

    @model_validator(mode="after")
    def _motion_needs_kalman(self) -> AssociationRecipe:
        if not self.kalman and (self.motion_lambda < 1 or self.motion_gated):
            raise ValueError("motion_lambda below 1 and motion_gated need 'kalman: true'")
        return self


class DetectedRecipe(FrozenRecipe):
    """What the recipes of the three tasks have."""

    association: AssociationRecipe


class AssociationConfig(FrozenConfig):
    """The config of an association task."""

    recipe: DetectedRecipe


class MotRecipe(DetectedRecipe):
    """How boxes are followed."""

    image_size: tuple[int, int]
    """Width and height that frames are fitted into."""
    feature_size: tuple[int, int]
    """Rows and columns of cells of a box."""
    score_threshold: float
    """Detections with no higher score take no part."""
    min_box_area: float = Field(ge=0)
    """Pixels; smaller boxes are left out of the results."""
    max_aspect_ratio: float = Field(gt=0)
    """Width by height; wider boxes are left out of the results."""


class MotConfig(AssociationConfig):
    """The config of a MOT benchmark."""

    recipe: MotRecipe

    def units(self, folder: Path, record: Record) -> Units:
        """Sequences, which the evaluator counts together."""
        from mec_transfer.tracking.association import mot_metrics
        from mec_transfer.tracking.units import pooled_units

        return pooled_units(folder, record, mot_metrics.pooled)


class MotsRecipe(DetectedRecipe):
    """How masks are followed."""

    max_mask_area: int = Field(ge=1)
    """Cells of the feature map; a larger mask is scaled down to it."""
    score_threshold: float
    """Detections with no higher score take no part. Files without scores have 1 throughout."""
    same_mask_overlap: float = Field(gt=0)
    """Where two masks in a frame have boxes that overlap by more, only the first in the file takes part."""


class MotsConfig(AssociationConfig):
    """The config of a MOTS benchmark."""

    recipe: MotsRecipe

    def units(self, folder: Path, record: Record) -> Units:
        """Sequences, which the evaluator counts together."""
        from mec_transfer.tracking.association import mots_metrics
        from mec_transfer.tracking.units import pooled_units

        return pooled_units(folder, record, mots_metrics.pooled)


class PoseRecipe(DetectedRecipe):
    """How poses are followed."""

    max_mask_area: int = Field(ge=1)
    """Cells of the feature map; a larger mask is scaled down to it."""
    frame_rate: float = Field(gt=0)
    """Frames a second: what `track_buffer` is scaled by."""


class PoseConfig(AssociationConfig):
    """The config of a pose-tracking benchmark."""

    recipe: PoseRecipe

    def units(self, folder: Path, record: Record) -> Units:
        """Sequences, which the evaluator counts together."""
        from mec_transfer.tracking.association import posetrack_metrics
        from mec_transfer.tracking.units import pooled_units

        return pooled_units(folder, record, posetrack_metrics.pooled)
