"""What the YAML of a detection benchmark holds. Nothing here imports torch or Detectron2."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mec_transfer.benchmark import BenchmarkConfig, Resources
from mec_transfer.common.config import Setting, StrictModel, json_sha256, merge, parse_yaml
from mec_transfer.common.paths import find_stock
from mec_transfer.datasets.config import ObjectsDatasetConfig
from mec_transfer.results.record import DatasetInfo, Record

if TYPE_CHECKING:
    from mec_transfer.units import Units


class DetectionRecipe(StrictModel):
    """How a detector is trained and measured."""

    config: str
    """The stock Detectron2 yaml, in configs/detection or by its path."""
    metric: Literal["voc07", "voc", "coco"]
    """voc07: VOC's AP with 11 points; voc: the area under the curve; coco: COCO's, of masks too where there are any."""
    images_per_batch: int | None = Field(default=None, ge=1)
    """Other than the stock yaml's: rate and length are scaled linearly."""
    changes: dict[str, Setting] = Field(default_factory=dict)
    """Detectron2 keys in place of the stock yaml's, for instance `SOLVER.MAX_ITER: 20`."""
    tf32: bool = False
    """TensorFloat-32 for convolutions on a GPU: faster, of 10 bits in place of float32's 23. The published runs are of
    V100s, which do not have it."""


class DetectionConfig(BenchmarkConfig):
    """The config of a detection benchmark."""

    own_python: ClassVar[bool] = True
    dataset: ObjectsDatasetConfig
    recipe: DetectionRecipe

    @property
    def files(self) -> tuple[Path, ...]:
        """The stock yaml and the ones that it is based on."""
        return tuple(_with_bases(stock_path(self.recipe.config)))

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Two states of the training, and the detector: known of ResNet-50 in the stock yamls of the project."""
        network = _NETWORKS.get(self.recipe.config)
        if network is None or arch != "resnet50" or any(key.startswith("MODEL.") for key in self.recipe.changes):
            return Resources()
        weights, trained, of_a_class = network
        classes = data.classes or 0
        weights, momentum = weights + 4 * of_a_class * classes, 4 * (trained + of_a_class * classes)
        return Resources(own_bytes=2 * (weights + momentum) + weights, more=True, cached_bytes={})

    def units(self, folder: Path, record: Record) -> Units:
        """Images, and the average precision of any draw of them."""
        from mec_transfer.detection.predictions import image_units

        return image_units(folder, self.recipe.metric, masks=measures_masks(record))

    @property
    def processes(self) -> int:
        """One for every two images of a batch, where the published batch is 16 on 8 processes; else one.

        Batch norm sees the padding of the images that a process has together. With other shares a record says so.
        """
        published = _images_per_batch(self.recipe.config)
        batch = self.recipe.images_per_batch or self.recipe.changes.get("SOLVER.IMS_PER_BATCH", published)
        return batch // 2 if published == 16 and isinstance(batch, int) and batch > 0 and batch % 2 == 0 else 1

    def settings(self) -> dict[str, Any]:
        """As every config's, and Detectron2's keys: those of the stock yaml that tell one protocol from another."""
        merged: dict[str, Any] = {}
        for path in reversed(self.files):
            merged = merge(merged, _stock(path))
        stock = {key: value for key, value in _flat(merged, "") if key.startswith(_TOLD)} | self.recipe.changes
        own = {key: value for key, value in super().settings().items() if value is not None and key != "changes"}
        return own | stock

    @property
    def training_sha256(self) -> str:
        """Hash of what can move the trained detector, as opposed to what it is measured on and by."""
        parts: Any = {"version": True, "recipe": {"images_per_batch", "changes", "tf32"}}
        values = self.model_dump(mode="json", include=parts)
        return json_sha256([values, self.file_hashes()])


_TOLD = (
    *("SOLVER.", "INPUT.MIN_SIZE", "INPUT.MAX_SIZE", "TEST.PRECISE_BN.", "MODEL.MASK_ON", "MODEL.BACKBONE.FREEZE_AT"),
    *("MODEL.RESNETS.NORM", "MODEL.FPN.NORM", "MODEL.ROI_HEADS.NAME"),
)
"""How the keys begin that a protocol card shows of a stock yaml."""
_C4, _C4_MASKS, _FPN_MASKS = (
    (132_346_336, 33_029_260, 10_245),
    (140_735_968, 35_126_668, 10_502),
    (176_100_648, 43_967_824, 5_382),
)
"""These are three numbers of each detector on a ResNet-50: the size of its state in bytes and how many numbers are
trained, both without classes, and how many numbers each class adds to both, counted in Detectron2's networks."""
_NETWORKS = {
    **dict.fromkeys(("voc07_c4_d2.yaml", "voc0712_c4_d2.yaml"), _C4),
    **dict.fromkeys(("voc0712_c4_barlow_d2.yaml", "voc0712_c4_vissl_d2.yaml"), _C4),
    **dict.fromkeys(("coco_c4_1x_d2.yaml", "coco_c4_1x_barlow_d2.yaml", "coco_c4_2x_d2.yaml"), _C4_MASKS),
    **dict.fromkeys(("coco_fpn_1x_d2.yaml", "cityscapes_fpn_d2.yaml", "demo_fpn_d2.yaml"), _FPN_MASKS),
}


def measures_masks(record: Record) -> bool:
    """Whether a record has masks' metrics."""
    return any(name.startswith("mask_") for name in record.metrics)


def stock_path(name: str) -> Path:
    """Return the stock yaml's path. Raises ConfigError if there is none."""
    return find_stock(name, "detection")


def _with_bases(path: Path) -> Iterator[Path]:
    yield path
    base = _stock(path).get("_BASE_")
    if base:
        yield from _with_bases(path.parent / base)


def _flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield Detectron2's keys as its command line has them, `SOLVER.MAX_ITER`, with their values."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _stock(path: Path) -> dict[str, Any]:
    data = parse_yaml(path.read_text(encoding="utf-8"))
    return data if isinstance(data, dict) else {}


@functools.cache  # a run asks it of every job that waits, whenever one has ended
def _images_per_batch(config: str) -> int:
    """Return SOLVER.IMS_PER_BATCH of a stock yaml, or of the first of its bases that says it, or Detectron2's own."""
    solvers = [_stock(path).get("SOLVER") for path in _with_bases(stock_path(config))]
    return next((s["IMS_PER_BATCH"] for s in solvers if isinstance(s, dict) and "IMS_PER_BATCH" in s), 16)
