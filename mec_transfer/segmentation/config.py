"""What the YAML of a segmentation benchmark holds. Nothing here imports torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from mec_transfer.backbone.architectures import expected_tensors
from mec_transfer.benchmark import BenchmarkConfig, Resources, Work
from mec_transfer.common.config import StrictModel, json_sha256
from mec_transfer.datasets.config import SegmentsDatasetConfig
from mec_transfer.results.record import DatasetInfo, Record

if TYPE_CHECKING:
    from mec_transfer.units import Units

METRICS = ("mIoU", "mAcc", "aAcc")
Side = Annotated[int, Field(ge=1)]
_PROCESSES = 4


class HeadConfig(StrictModel):
    """A head on a stage's features: 3x3 convolutions with batch norm and ReLU, then a 1x1 convolution to classes."""

    channels: int = Field(ge=1)
    convs: int = Field(ge=1)
    dilation: int = Field(default=1, ge=1)
    concat_input: bool = False
    """One 3x3 convolution more, over the stage's features and the last convolution's together."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The share of channels that are dropped before the 1x1 convolution."""
    loss_weight: float = Field(default=1.0, gt=0)

    def describe(self) -> str:
        """Name what its speed depends on."""
        dilated = f" dilated by {self.dilation}" if self.dilation > 1 else ""
        return f"{self.convs} x {self.channels}{dilated}{' joint' if self.concat_input else ''}"

    def numbers(self, into: int, classes: int) -> int:
        """Return how many numbers a head on `into` channels is made of, statistics included."""
        shapes = [(into, self.channels)] + [(self.channels, self.channels)] * (self.convs - 1)
        shapes += [(into + self.channels, self.channels)] if self.concat_input else []
        return sum(9 * one * other + 4 * other for one, other in shapes) + (self.channels + 1) * classes


class ScheduleConfig(StrictModel):
    """The learning rate's course, iteration by iteration."""

    kind: Literal["steps", "poly"]
    steps: tuple[int, ...] = ()
    """steps: the iterations from which on the rate is a tenth of what it was."""
    power: float = Field(default=1.0, gt=0)
    """poly: the rate is (lr - min_lr) (1 - iteration / iterations)^power + min_lr."""
    min_lr: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> ScheduleConfig:
        if self.kind == "poly" and self.steps:
            raise ValueError("poly takes no 'steps'")
        if self.kind == "steps" and (self.power != 1.0 or self.min_lr or list(self.steps) != sorted(set(self.steps))):
            raise ValueError("steps needs 'steps', growing, such as [21000, 27000], and neither 'power' nor 'min_lr'")
        return self

    def rate(self, lr: float, iteration: int, iterations: int) -> float:
        """Return the rate of an iteration (from 0) of `iterations`."""
        if self.kind == "poly":
            return (lr - self.min_lr) * (1 - iteration / iterations) ** self.power + self.min_lr
        return lr * 0.1 ** sum(iteration >= step for step in self.steps)


class AugmentationConfig(StrictModel):
    """How a training image is cut."""

    crop: int = Field(ge=8)
    """Side in pixels of the square that the network sees; smaller images are padded, on the right and below."""
    ratio: tuple[float, float] = (0.5, 2.0)
    """The image is resized to fit `recipe.scale` times a number drawn between these two."""
    most_of_one_class: float = Field(default=1.0, gt=0, le=1)
    """A crop of which one class takes this share or more is drawn anew, ten times at most."""
    distortion: bool = False
    """Brightness, contrast, saturation and hue are changed at random."""

    @model_validator(mode="after")
    def _a_range(self) -> AugmentationConfig:
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError("'ratio' must be two numbers above 0, the smaller one first")
        return self


class SlideConfig(StrictModel):
    """Windows that an image is looked at through; where they overlap, the mean of their scores counts."""

    crop: int = Field(ge=8)
    stride: int = Field(ge=1)

    @model_validator(mode="after")
    def _no_gaps(self) -> SlideConfig:
        if self.stride > self.crop:
            raise ValueError("'stride' must not be larger than 'crop', or pixels are never looked at")
        return self


class SegmentationRecipe(StrictModel):
    """How a segmentation network is trained and measured."""

    iterations: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Images an iteration, over all processes. Batch norm sees all of them together."""
    scale: tuple[Side, Side]
    """Long and short side in pixels of a frame; an image is resized to the largest size that fits it."""
    augmentation: AugmentationConfig
    unscaled_pixels: bool = False
    """Pixels go from 0 to 255 where mean and standard deviation are subtracted that are of pixels from 0 to 1."""
    output_stride: Literal[8, 16]
    """Pixels of the image to a cell of the last stage, whose strides are dilations in place of strides."""
    head: HeadConfig
    auxiliary: HeadConfig | None = None
    """A second head on the third stage, for training alone."""
    align_corners: bool
    """How scores are resized, in training and in testing."""
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    schedule: ScheduleConfig
    slide: SlideConfig | None = None
    """Null: a test image is looked at as a whole."""
    tf32: bool = False
    """TensorFloat-32 for convolutions on a GPU: faster, of 10 bits in place of float32's 23."""

    @model_validator(mode="after")
    def _steps_within(self) -> SegmentationRecipe:
        if any(step >= self.iterations for step in self.schedule.steps):
            raise ValueError(f"schedule.steps {list(self.schedule.steps)} must lie before iterations {self.iterations}")
        return self


class SegmentationConfig(BenchmarkConfig):
    """The config of a segmentation benchmark."""

    dataset: SegmentsDatasetConfig
    recipe: SegmentationRecipe

    @property
    def processes(self) -> int:
        """Four at most, to the same number: a batch's images are normalised together, whoever has them."""
        return math.gcd(self.recipe.batch, _PROCESSES)

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Two states of the training, with a momentum for each number, the trained network, and the images' counts.

        Speeds are known of crops of one size, and of test images of the published data sets, by their name. Predicted
        masks come on top of the bytes: nothing here tells how large the images are.
        """
        classes, recipe = data.classes or 0, self.recipe
        width = 512 if arch in ("resnet18", "resnet34") else 2048
        numbers = sum(math.prod(shape) for shape in expected_tensors(arch).values())
        numbers += recipe.head.numbers(width, classes)
        numbers += recipe.auxiliary.numbers(width // 2, classes) if recipe.auxiliary else 0
        counts = 8 * classes * (3 * data.splits.get(self.dataset.test, 0) + classes)
        own = 20 * numbers + counts + (1 << 20)
        return Resources(work=self._work(data), own_bytes=own, more=True, cached_bytes={})

    def _work(self, data: DatasetInfo) -> tuple[Work, ...]:
        """Return the images that are trained on, over all iterations, and those that are tested."""
        recipe = self.recipe
        network, crop = f"stride {recipe.output_stride}, {recipe.head.describe()}", recipe.augmentation.crop
        also = f", auxiliary {recipe.auxiliary.describe()}" if recipe.auxiliary else ""
        windows = f", windows of {recipe.slide.crop} every {recipe.slide.stride}" if recipe.slide else ""
        seen = f"{data.name}, {max(recipe.scale)} x {min(recipe.scale)} px{windows}, {network}"
        trained, tested = recipe.iterations * recipe.batch, data.splits.get(self.dataset.test, 0)
        return (
            Work(kind="segmentation training", setting=f"{crop} px, {network}{also}", units=trained, half=recipe.tf32),
            Work(kind="segmentation test", setting=seen, units=tested, half=recipe.tf32),
        )

    def units(self, folder: Path, record: Record) -> Units:
        """Images, and the mIoU of any draw of them."""
        from mec_transfer.segmentation.counts import image_units

        return image_units(folder)

    def settings(self) -> dict[str, Any]:
        """As every config's, without what is left as it is."""
        every, own = super().settings(), self.recipe.model_dump(mode="json", exclude_defaults=True)
        return {key: value for key, value in own.items() if key in every}

    @property
    def training_sha256(self) -> str:
        """Hash of what can move the trained network, as opposed to how it is measured."""
        recipe = self.recipe.model_dump(mode="json", exclude={"slide"})
        return json_sha256([self.version, recipe, self.dataset.train])
