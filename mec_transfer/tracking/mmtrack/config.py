"""What the YAMLs of the benchmarks that train a tracker hold. Nothing here imports torch or MMTracking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mec_transfer.benchmark import BenchmarkConfig, Resources
from mec_transfer.common.config import Setting, StrictModel
from mec_transfer.common.paths import find_stock
from mec_transfer.datasets.tracker_config import TrackerDatasetConfig
from mec_transfer.results.record import DatasetInfo, Record
from mec_transfer.tracking.mmtrack.stock_settings import STOCK_SETTINGS

if TYPE_CHECKING:
    from mec_transfer.units import Units

SOT_LAYOUT = "openmmlab-sot"
"""The file format of a single-object tracker's backbone."""


class EngineRecipe(StrictModel):
    """What every training through MMTracking has."""

    config: str
    """The stock MMTracking .py, in configs/tracking/mmtrack or by its path. Reading it runs it, as MMTracking does."""
    changes: dict[str, Setting] = Field(default_factory=dict)
    """MMTracking keys in place of the stock file's, for instance `total_epochs: 1`."""
    processes: int = Field(default=8, ge=1)
    """How many the published run had; the batch is theirs together, however many there are here."""


class EngineConfig(BenchmarkConfig):
    """The config of a benchmark that trains through MMTracking."""

    extra: ClassVar[str] = "mmtracking"
    own_python: ClassVar[bool] = True
    recipe: EngineRecipe

    @property
    def files(self) -> tuple[Path, ...]:
        """The stock file. What it inherits from is the installed MMTracking's, whose version a record names."""
        return (stock_path(self.recipe.config),)

    @property
    def processes(self) -> int:
        """As the published run's."""
        return self.recipe.processes

    def settings(self) -> dict[str, Any]:
        """As every config's, and MMTracking's keys."""
        stock = STOCK_SETTINGS.get(self.recipe.config, {}) | self.recipe.changes
        return {key: value for key, value in super().settings().items() if key != "changes"} | stock


class SiamRpnRecipe(EngineRecipe):
    """How a Siamese tracker is trained and measured."""

    frozen: bool = False
    """Whether the backbone must still be the checkpoint's when the training is over; the stock file sees to it."""
    evaluation: Literal["one-pass", "reset"] = "one-pass"
    """Once through each sequence, or VOT's: started anew after each failure. So says the stock file's `test_mode`."""
    visible_only: bool = False
    """Whether frames in which the target cannot be seen are no hits, in one-pass evaluation."""
    interval: tuple[int, int] = (100, 356)
    """The lengths in frames that reset-based evaluation averages the expected overlap over; VOT2018's by default."""


class SiamRpnConfig(EngineConfig):
    """The config of SiamRPN++ on the checkpoint's backbone."""

    dataset: TrackerDatasetConfig
    recipe: SiamRpnRecipe

    def units(self, folder: Path, record: Record) -> Units:
        """Sequences: their mean in one-pass evaluation; VOT's metrics are of all together."""
        from mec_transfer.tracking.mmtrack.evaluation import ResetBased
        from mec_transfer.tracking.units import mean_units, pooled_units

        if self.recipe.evaluation == "one-pass":
            return mean_units(folder, record)
        measured = folder / f"epoch_{record.details.get('epoch')}"
        return pooled_units(measured, record, ResetBased(self.recipe.interval).pooled)

    def settings(self) -> dict[str, Any]:
        """As every config's; one-pass evaluation averages over no interval."""
        unused = () if self.recipe.evaluation == "reset" else ("interval",)
        return {key: value for key, value in super().settings().items() if key not in unused}

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """The chosen weights, and in the cache those of each measured epoch and two states of the training."""
        epochs = _MEASURED_EPOCHS.get(self.recipe.config)
        if epochs is None or self.recipe.changes:
            return Resources()
        trained = (epochs + 2 * 2) * _TRACKER_BYTES  # a state holds the momentum, too
        return Resources(own_bytes=_TRACKER_BYTES, more=True, cached_bytes={f"training by {self._training}": trained})

    @property
    def _training(self) -> str:
        """The stock file that trains the same: three differ from LaSOT's in the test alone."""
        name = self.recipe.config
        return _AS_LASOT if name in _TRAINED_ALIKE else name


_TRACKER_BYTES = 216_200_000
"""SiamRPN++ on a ResNet-50, as it was written."""
_AS_LASOT = "siamrpn_r50_lasot.py"
_TRAINED_ALIKE = frozenset({"siamrpn_r50_uav123.py", "siamrpn_r50_trackingnet.py", "siamrpn_r50_vot2018.py"})
_MEASURED_EPOCHS = {
    **dict.fromkeys(("siamrpn_r50_otb100.py", "siamrpn_r50_otb100_frozen.py", "siamrpn_r50_lasot_frozen.py"), 11),
    **dict.fromkeys((_AS_LASOT, *_TRAINED_ALIKE), 11),
    "siamrpn_r50_demo.py": 1,
}


def stock_path(name: str) -> Path:
    """Return the stock file's path. Raises ConfigError if there is none."""
    return find_stock(name, "tracking/mmtrack")
