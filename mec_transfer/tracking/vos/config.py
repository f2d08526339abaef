"""What the YAML of a video object segmentation benchmark holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mec_transfer.benchmark import Resources, Work
from mec_transfer.results.record import DatasetInfo, Record
from mec_transfer.tracking.config import FrozenConfig, FrozenRecipe

if TYPE_CHECKING:
    from mec_transfer.units import Units

MULTIPLE = 64
"""In the variant dino, a frame's longer side is a multiple of so many pixels."""


class VosRecipe(FrozenRecipe):
    """How labels are propagated."""

    variant: Literal["unitrack", "dino"]
    """See `mec_transfer.tracking.vos.propagation`; it also says how frames and labels are resized."""
    recent: int = Field(ge=1)
    """How many of the last frames are looked at beside the first one."""
    radius: int = Field(ge=1)
    """The radius of a cell's neighbourhood, in cells."""
    topk: int = Field(ge=1)
    temperature: float = Field(gt=0)
    short_side: int = Field(default=480, ge=MULTIPLE)
    """The variant dino's shorter side in pixels: frames are resized to it, the longer side floored to a multiple of 64.
    The variant unitrack takes frames as they are."""


class VosConfig(FrozenConfig):
    """A VOS benchmark."""

    recipe: VosRecipe

    def units(self, folder: Path, record: Record) -> Units:
        """Sequences, each with its objects, whose mean the metrics are."""
        from mec_transfer.tracking.units import object_units

        return object_units(folder, record)

    def settings(self) -> dict[str, Any]:
        """As every config's; frames are resized in the variant dino alone."""
        unused = () if self.recipe.variant == "dino" else ("short_side",)
        return {key: value for key, value in super().settings().items() if key not in unused}

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Frames, whose size is known of the published data sets alone."""
        recipe, frames = self.recipe, sum(data.splits.values())
        setting = f"{data.name}, {recipe.stage}, {recipe.recent} recent, radius {recipe.radius}, top {recipe.topk}"
        half = recipe.precision != "fp32"
        return Resources(work=(Work(kind=f"vos {recipe.variant}", setting=setting, units=frames, half=half),))
