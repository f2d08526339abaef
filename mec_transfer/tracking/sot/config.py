"""What the YAML of a single-object tracking benchmark holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mec_transfer.benchmark import Resources, Work
from mec_transfer.results.record import DatasetInfo, Record
from mec_transfer.tracking.config import STRIDE, FrozenConfig, FrozenRecipe

if TYPE_CHECKING:
    from mec_transfer.units import Units


class SotRecipe(FrozenRecipe):
    """How a single target is searched for."""

    matcher: Literal["xcorr", "dcf"]
    corrected: bool = False
    """Without the published code's mistakes: where the response's middle is and how much a cell is worth (`xcorr`), the
    response's width (`dcf`), and that a target's greatest width is limited by the frame's height and the other way
    round (both)."""
    crop_size: int = Field(default=520, ge=8 * STRIDE, multiple_of=STRIDE)
    """Pixels of a crop's side."""
    padding: float = Field(default=3.5, ge=1.0)
    """A crop's window is 1 + padding times as wide and high as the target."""
    subpixels: Literal[0, 32] = 32
    """The crop's coordinates are rounded to so many parts of a pixel (OpenCV 4: 32); 0: not at all (OpenCV 5)."""
    scales: int = Field(default=3, ge=1)
    scale_step: float = Field(default=1.0275, gt=1.0)
    """Between two neighbouring scales."""
    scale_penalty: float = Field(default=0.985, gt=0.0, le=1.0)
    """What a response is multiplied by for every scale that it is away from the middle one."""
    smallest: float = Field(default=0.2, gt=0.0, le=1.0)
    """A target's least size as a share of its first one; never below 4 pixels."""
    largest: float = Field(default=5.0, ge=1.0)
    """A target's greatest size as a multiple of its first one; never beyond the frame's."""
    update: float = Field(default=0.0, ge=0.0, le=1.0)
    """At what rate what every frame shows is blended in; 0 keeps what the first one showed."""
    regularisation: float = Field(default=1e-4, gt=0.0)
    """The regularisation of the ridge regression (`dcf`)."""
    sigma: float = Field(default=0.1, gt=0.0)
    """The width of the wanted response as a share of the target's cells (`dcf`)."""

    @model_validator(mode="after")
    def _target_has_cells(self) -> SotRecipe:
        cells = target_cells(self.crop_size, self.padding)
        if cells.start == cells.stop:
            raise ValueError(f"crop_size {self.crop_size} leaves the target no cell where padding is {self.padding:g}")
        return self


class SotConfig(FrozenConfig):
    """The config of a single-object tracking benchmark."""

    recipe: SotRecipe

    def units(self, folder: Path, record: Record) -> Units:
        """Sequences, whose mean the metrics are."""
        from mec_transfer.tracking.units import mean_units

        return mean_units(folder, record)

    def settings(self) -> dict[str, Any]:
        """As every config's, without what only the other matcher has."""
        unused = ("regularisation", "sigma") if self.recipe.matcher == "xcorr" else ()
        return {key: value for key, value in super().settings().items() if key not in unused}

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Frames, by the published crops and scales; results are a line of text a frame."""
        recipe = self.recipe
        setting = f"{recipe.crop_size} px, {recipe.scales} scales, {recipe.stage}"
        half, frames = recipe.precision != "fp32", sum(data.splits.values())
        return Resources(work=(Work(kind=f"sot {recipe.matcher}", setting=setting, units=frames, half=half),))


def target_cells(crop_size: int, padding: float) -> slice:
    """Return the cells, along a side of a crop's feature map, that the target fills.

    One fewer than the target's share on the side that comes first, as UniTrack rounds it: 25 to 38 of 65.
    """
    cells = crop_size // STRIDE
    half = int(cells // (2 * (padding + 1)))
    return slice(cells // 2 - half, cells // 2 + half)
