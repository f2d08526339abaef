"""What the YAMLs of classification hold.

Nothing here imports torch: planning a run reads every config and is done at once.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from mec_transfer.benchmark import BenchmarkConfig, MetricsConfig, Resources
from mec_transfer.classification.resources import (
    feature_bytes,
    feature_resources,
    feature_work,
    head_bytes,
    logistic_work,
    low_shot_work,
    svm_work,
    training_resources,
    width_of,
)
from mec_transfer.common.config import StrictModel
from mec_transfer.common.errors import ConfigError
from mec_transfer.common.files import sha256_file
from mec_transfer.datasets.config import LabelsDatasetConfig, PoolDatasetConfig
from mec_transfer.results.record import DatasetInfo, Record

if TYPE_CHECKING:
    from mec_transfer.units import Units

LOGISTIC_METRICS = ("top1", "mean_class_top1", "mAP11")
"""What logistic regression may choose its penalty by, and report: over the images, the mean over the classes, or, of
images with any number of classes, VOC 2007's mean average precision."""


class ViewConfig(StrictModel):
    """How an image is cut to the network's input."""

    resize: int | None = Field(ge=1)
    """Pixels of the shorter side before the central crop; null to crop the image as it is."""
    crop: int = Field(ge=1)
    """Pixels of the square that the network sees."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    @property
    def squeezed(self) -> bool:
        """Whether the whole image becomes that square, whatever its shape, and not its centre alone."""
        return False

    @property
    def squares(self) -> tuple[tuple[int, str], ...]:
        """The squares that the whole image is squeezed to before anything else, one after the other: the pixels of a
        side, and the interpolation."""
        return ()


class WholeViewConfig(ViewConfig):
    """A view that may take in the whole image."""

    squeeze: bool
    """Squeeze the whole image into the square, whatever its shape, in place of cropping its centre."""

    @property
    def squeezed(self) -> bool:
        """As the key says."""
        return self.squeeze


class SquareViewConfig(ViewConfig):
    """A view of the centre of the whole image squeezed to a square."""

    resize: int | None = Field(ge=1)
    """Pixels of the square that the whole image is squeezed to, whatever its shape, before the central crop; null to
    crop the image as it is."""
    reduce: int | None = Field(default=None, ge=1)
    """Pixels of a square that it is squeezed to before that one, by bicubic interpolation; null for none."""

    @property
    def squares(self) -> tuple[tuple[int, str], ...]:
        """As the keys say."""
        sides = ((self.reduce, "bicubic"), (self.resize, self.interpolation))
        return tuple((side, interpolation) for side, interpolation in sides if side is not None)


class ScheduleConfig(StrictModel):
    """The learning rate's course, by whole epochs: constant within one, as all the published recipes have it."""

    kind: Literal["cosine", "multistep"]
    milestones: tuple[int, ...] = ()
    """multistep: after how many epochs the rate is multiplied by `factor`, once more each time."""
    factor: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _milestones_where_needed(self) -> ScheduleConfig:
        if self.kind == "cosine" and (self.milestones or self.factor != 1.0):
            raise ValueError("cosine takes neither 'milestones' nor 'factor'")
        if self.kind == "multistep" and (not self.milestones or list(self.milestones) != sorted(set(self.milestones))):
            raise ValueError("multistep needs 'milestones', growing, such as [12, 16]")
        return self

    def scale(self, epoch: int, epochs: int) -> float:
        """Return what the base rate is multiplied by in `epoch` (from 0) of `epochs`."""
        if self.kind == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        return self.factor ** sum(epoch >= milestone for milestone in self.milestones)


class FeatureRecipe(StrictModel):
    """The keys of every recipe that works on frozen features."""

    view: ViewConfig
    mixed_precision: bool
    """bfloat16 for the backbone on a GPU that has it; everything on a CPU is float32.

    False, as published: float32 throughout, without TensorFloat-32.
    """


class TrainingRecipe(StrictModel):
    """The keys of every recipe that trains by epochs."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Images a step, over all processes."""
    replicas: int = Field(ge=1)
    """Equal shares of a batch: the processes of the published run, whatever their number is here."""
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    schedule: ScheduleConfig
    head_std: float | None = Field(gt=0)
    """The linear classifier starts as N(0, head_std) with bias 0; null for torch.nn.Linear's own start."""
    mixed_precision: bool
    """bfloat16 for the backbone on a GPU that has it; the head, and everything on a CPU, is float32.

    False, as published: float32 throughout, without TensorFloat-32.
    """
    train_crop: int = Field(ge=1)
    """Pixels of the random resized crop (torchvision's default scale and ratio), followed by a random flip."""
    eval_view: ViewConfig

    @model_validator(mode="after")
    def _even_shares(self) -> TrainingRecipe:
        if self.batch % self.replicas:
            raise ValueError(f"'batch' ({self.batch}) must be a multiple of 'replicas' ({self.replicas})")
        return self


class KnnRecipe(FeatureRecipe):
    """The recipe of a k-NN benchmark."""

    k: int = Field(ge=1)
    """The one whose number is the record's."""
    ks: tuple[int, ...] = Field(min_length=1)
    """All that are reported."""
    temperature: float = Field(gt=0)

    @model_validator(mode="after")
    def _k_is_reported(self) -> KnnRecipe:
        if self.k not in self.ks:
            raise ValueError(f"'k' ({self.k}) must be one of 'ks' ({', '.join(map(str, self.ks))})")
        if min(self.ks) < 1 or len(set(self.ks)) < len(self.ks):
            raise ValueError("'ks' must be different numbers of 1 or more")
        return self


class ClassificationConfig(BenchmarkConfig):
    """What the configs of all benchmarks of classification have."""

    def units(self, folder: Path, record: Record) -> Units:
        """Images, each right or wrong."""
        from mec_transfer.classification.predictions import image_units

        return image_units(folder)


class KnnConfig(ClassificationConfig):
    """The config of `knn_*.yaml`."""

    recipe: KnnRecipe

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Features in the cache, and the search among them."""
        return feature_resources(self.recipe, arch, data, tags=len(self.recipe.ks), search=True)


class MachineRecipe(FeatureRecipe):
    """The keys of every recipe of linear support vector machines, one for each class."""

    view: WholeViewConfig
    costs: tuple[float, ...] = Field(min_length=1)
    """The values of C that are tried, in the order in which the first of equally good ones is taken."""
    positive_weight: float = Field(gt=0)
    """How many times as much an image counts that shows the class."""
    tolerance: float = Field(gt=0)
    """Where the solver, LIBLINEAR's dual coordinate descent, stops."""
    max_iter: int = Field(ge=1)
    """The most passes over the images that it takes."""

    @field_validator("costs")
    @classmethod
    def _positive(cls, costs: tuple[float, ...]) -> tuple[float, ...]:
        if min(costs) <= 0 or len(set(costs)) < len(costs):
            raise ValueError("must be positive and different")
        return costs


class SvmRecipe(MachineRecipe):
    """The recipe of SVMs on all training images."""

    folds: int = Field(ge=2)
    """Parts of the cross validation that chooses among the costs, on the training images."""


class SvmConfig(BenchmarkConfig):
    """The config of `*_svm.yaml`."""

    extra: ClassVar[str] = "svm"
    dataset: LabelsDatasetConfig
    recipe: SvmRecipe

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Features in the cache; a score for each test image and class, kept twice until the job is done."""
        scores = 8 * data.splits["test"] * (data.classes or 0)
        work = (feature_work(self.recipe, data), svm_work(self.recipe, arch, data))
        cached = feature_bytes(self.recipe, arch, data)
        return Resources(work=work, own_bytes=2 * scores, more=True, cached_bytes=cached)

    def units(self, folder: Path, record: Record) -> Units:
        """Test images, each with its classes and their scores."""
        from mec_transfer.classification.units import svm_units

        return svm_units(folder)


def _rising_counts(counts: tuple[int, ...]) -> tuple[int, ...]:
    if counts[0] < 1 or any(later <= earlier for earlier, later in itertools.pairwise(counts)):
        raise ValueError("must be 1 or more, and rising")
    return counts


class LowShotRecipe(MachineRecipe):
    """The recipe of SVMs on a few training images."""

    ks: tuple[int, ...] = Field(min_length=1)
    """How many images of a class it is learnt from, and as many times the number of other classes without it."""
    samples: int = Field(ge=1)
    """How many times they are drawn."""

    @field_validator("ks")
    @classmethod
    def _rising(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        return _rising_counts(ks)


class LowShotConfig(BenchmarkConfig):
    """The config of `*_svm_low_shot.yaml`."""

    extra: ClassVar[str] = "svm"
    dataset: LabelsDatasetConfig
    recipe: LowShotRecipe

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Features in the cache; a score for each test image, class and sample."""
        scores = 8 * data.splits["test"] * (data.classes or 0) * len(self.recipe.ks) * self.recipe.samples
        work = (feature_work(self.recipe, data), low_shot_work(self.recipe, arch, data))
        return Resources(work=work, own_bytes=scores, more=True, cached_bytes=feature_bytes(self.recipe, arch, data))

    def units(self, folder: Path, record: Record) -> Units:
        """Test images, each with its classes and their scores in every sample."""
        from mec_transfer.classification.units import low_shot_units

        return low_shot_units(folder)


class FewShotRecipe(FeatureRecipe):
    """The recipe of few-shot classification."""

    view: SquareViewConfig
    ways: int = Field(ge=2, le=255)
    """How many classes an episode has."""
    shots: tuple[int, ...] = Field(min_length=1)
    """How many images of each class it learns from; each number has episodes, and a metric, of its own."""
    queries: int = Field(ge=1)
    """How many other images of each class it is measured on."""
    episodes: int = Field(ge=2)
    """How many for each number of shots."""
    seed: int = Field(ge=0)
    """Seeds the episodes, which depend on nothing else but the data's labels, so that all models have the same ones."""

    @field_validator("shots")
    @classmethod
    def _rising(cls, shots: tuple[int, ...]) -> tuple[int, ...]:
        return _rising_counts(shots)


class FewShotConfig(BenchmarkConfig):
    """The config of `few_shot_*.yaml`."""

    dataset: PoolDatasetConfig
    recipe: FewShotRecipe

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Features in the cache, after which the episodes take seconds; what was predicted of each query."""
        recipe = self.recipe
        queries = len(recipe.shots) * recipe.episodes * recipe.ways * recipe.queries
        return Resources(
            work=(feature_work(recipe, data),),
            own_bytes=(1 << 14) + 9 * queries,
            cached_bytes=feature_bytes(recipe, arch, data),
        )

    def units(self, folder: Path, record: Record) -> Units:
        """Episodes, each with its accuracy."""
        from mec_transfer.classification.episodes import episode_units

        return episode_units(folder)


class LarcConfig(StrictModel):
    """LARC's constants (`LarcSGD`)."""

    trust_coefficient: float = Field(gt=0)
    eps: float = Field(ge=0)


class LinearRecipe(TrainingRecipe):
    """The recipe of a probe."""

    base_lr: float = Field(gt=0)
    """Per 256 images: the optimiser starts at base_lr * batch / 256."""
    larc: LarcConfig
    head_norm_eps: float = Field(gt=0)
    """The epsilon of the head's BatchNorm1d, which has no weights and normalises over the whole batch."""


class TrainingConfig(ClassificationConfig):
    """The config of a recipe that trains by epochs."""

    recipe: TrainingRecipe

    @property
    def processes(self) -> int:
        """One for each replica: a process takes as many of these as there are fewer processes, to the same number."""
        return self.recipe.replicas

    def settings(self) -> dict[str, Any]:
        """As every config's; a cosine has neither milestones nor a factor."""
        return super().settings() | {"schedule": self.recipe.schedule.model_dump(mode="json", exclude_defaults=True)}


class ProbeConfig(TrainingConfig):
    """The config of a head that is trained on a frozen backbone."""

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """The state of the head's training, and the head."""
        return training_resources(self.recipe, arch, data, whole=False)


class LinearConfig(ProbeConfig):
    """The config of `linear_*.yaml`."""

    recipe: LinearRecipe


class LinearSgdRecipe(TrainingRecipe):
    """The recipe of a probe with plain SGD and a batch norm that has weights."""

    base_lr: float = Field(gt=0)
    """Per 256 images: the optimiser starts at base_lr * batch / 256."""
    nesterov: bool
    """Nesterov's momentum."""
    head_norm_eps: float = Field(gt=0)
    """The epsilon of the head's BatchNorm1d, which has weights without decay and normalises over the whole batch."""


class LinearSgdConfig(ProbeConfig):
    """The config of `*_linear_vissl.yaml`."""

    recipe: LinearSgdRecipe


class LinearFastRecipe(FeatureRecipe):
    """The recipe of a fast linear probe."""

    learning_rates: tuple[float, ...] = Field(min_length=2)
    """For `batch` as it is; rising."""
    held_out: float = Field(gt=0, lt=1)
    """Share of each class's training images that the choice is made on."""
    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    head_norm_eps: float = Field(gt=0)
    """Added to the variance of each feature."""
    head_std: float = Field(gt=0)

    @field_validator("learning_rates")
    @classmethod
    def _rising(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if rates[0] <= 0 or any(later <= earlier for earlier, later in itertools.pairwise(rates)):
            raise ValueError("must be positive and rising")
        return rates


class LinearFastConfig(ClassificationConfig):
    """The config of `linear_fast*.yaml`."""

    recipe: LinearFastRecipe

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Features in the cache, and the chosen head."""
        found = feature_resources(self.recipe, arch, data, tags=len(self.recipe.learning_rates), search=False)
        return dataclasses.replace(found, own_bytes=(found.own_bytes or 0) + head_bytes(arch, data.classes or 0))


class LogisticRecipe(FeatureRecipe):
    """The recipe of logistic regression."""

    penalties: int = Field(ge=2)
    """How many strengths of the L2 penalty are tried: 10^first to 10^last in equal steps of the exponent."""
    first: float = Field(ge=-30, le=30)
    last: float = Field(ge=-30, le=30)
    """C, scikit-learn's name for the inverse of the strength, goes from 10^-first down to 10^-last."""
    validation: float = Field(gt=0, lt=1)
    """Share of the training images that the choice is made on, where the data set names none for that."""
    validation_seed: int = Field(ge=0, lt=1 << 32)
    """Seeds the shuffle that picks them, by NumPy's legacy generator."""
    max_iterations: int = Field(ge=1)
    """At which a fit is stopped, converged or not."""

    @model_validator(mode="after")
    def _growing(self) -> LogisticRecipe:
        if self.first >= self.last:
            raise ValueError(f"'first' ({self.first:g}) must be below 'last' ({self.last:g})")
        return self


class LogisticConfig(BenchmarkConfig):
    """The config of `transfer_*.yaml`."""

    extra: ClassVar[str] = "transfer"
    recipe: LogisticRecipe

    @field_validator("metrics")
    @classmethod
    def _known_metric(cls, metrics: MetricsConfig) -> MetricsConfig:
        if metrics.primary not in LOGISTIC_METRICS:
            raise ValueError(f"'primary' must be one of {', '.join(LOGISTIC_METRICS)}")
        return metrics

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """Features in the cache, the fits, and, until the job is done, the weights that the next fit starts from."""
        several = self.metrics.primary == "mAP11"
        found = feature_resources(self.recipe, arch, data, tags=1, search=False)
        classes = data.classes or 0
        # Of several classes: a float64 and a truth of each.
        predicted = 9 * data.splits["val"] * classes + (1 << 12) if several else found.own_bytes or 0
        weights = 8 * (width_of(arch) + 1) * (2 if several else classes)
        return dataclasses.replace(
            found,
            work=(feature_work(self.recipe, data), *logistic_work(self.recipe, arch, data, several)),
            own_bytes=predicted + 2 * weights,  # a new file is whole before the old one goes
        )

    def units(self, folder: Path, record: Record) -> Units:
        """Test images, each right or wrong, or with its classes and their scores."""
        from mec_transfer.classification.units import logistic_units

        return logistic_units(folder)


class SemisupRecipe(TrainingRecipe):
    """The recipe of a finetuning."""

    labels: str
    """`1%`, `10%`, or the path of a list of file names."""
    lr_backbone: float = Field(gt=0)
    lr_head: float = Field(gt=0)
    sync_bn: bool
    """Whether batch norm takes its statistics over the whole batch, or over each replica's share of it."""


class SemisupConfig(TrainingConfig):
    """The config of `semisup_*.yaml`."""

    recipe: SemisupRecipe

    def resources(self, arch: str, data: DatasetInfo) -> Resources:
        """The state of the network's training."""
        return training_resources(self.recipe, arch, data, whole=True)

    @property
    def files(self) -> tuple[Path, ...]:
        """The list of labels, where the recipe names one."""
        return () if self.recipe.labels.endswith("%") else (Path(self.recipe.labels),)

    def hashed(self) -> dict[str, Any]:
        """Return the values that `sha256` is of: a list of labels by its bytes, so that an edited one is another job.

        Raises:
            ConfigError: there is no such list.
        """
        values = super().hashed()
        for path in self.files:
            if not path.is_file():
                raise ConfigError(f"recipe.labels: '{path}' is neither a share such as 10% nor a file")
            values["recipe"]["labels"] = sha256_file(path)
        return values
