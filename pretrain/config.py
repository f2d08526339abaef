"""The config of a pretraining run. Defaults are the published values (MEC main_pretrain.py); no torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mec_transfer.backbone.backbone import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Stem
from mec_transfer.common.config import StrictModel

Arch = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
PUBLISHED_SHARE = 128
"""Images of a batch that a process of the published run had: 1024 on eight GPUs."""
Probability = Annotated[float, Field(ge=0, le=1)]


class ViewsConfig(StrictModel):
    """What may happen to an image; pairs of probabilities are for view 1 and view 2."""

    pipeline: Literal["pil", "fast"] = "pil"
    """pil: all by Pillow in the loading processes, as published. fast: colour and blur in floats, a batch at a time, on
    the device that trains; the same random draws, pixels one or two levels of 255 off on average."""
    size: int = Field(default=224, ge=8)
    """Pixels of the square that the network sees."""
    crop_scale: tuple[float, float] = (0.2, 1.0)
    """Range of the crop's share of the image's area."""
    jitter_probability: Probability = 0.8
    jitter: tuple[Probability, Probability, Probability, Annotated[float, Field(ge=0, le=0.5)]] = (0.4, 0.4, 0.2, 0.1)
    """Strength of brightness, contrast, saturation and hue."""
    gray_probability: Probability = 0.2
    blur_probability: tuple[Probability, Probability] = (1.0, 0.1)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Range of the Gaussian's standard deviation, in pixels of the view."""
    solarize_probability: tuple[Probability, Probability] = (0.0, 0.2)
    flip_probability: Probability = 0.5

    @model_validator(mode="after")
    def _ranges(self) -> ViewsConfig:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError("crop_scale must be [low, high] with 0 < low <= high <= 1")
        low, high = self.blur_sigma
        if not 0 <= low <= high:
            raise ValueError("blur_sigma must be [low, high] with 0 <= low <= high")
        return self


class OnlineKnnConfig(StrictModel):
    """Weighted k-NN on labelled images as training goes on (DINO's convention): shows progress, changes nothing.

    Runs where mec-pretrain is given --labelled, with these defaults where the config has no `online_knn`.
    """

    every_epochs: int = Field(default=1, ge=1)
    """Epochs between two measurements; there is always one after the last step."""
    k: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.07, gt=0)
    max_train: int = Field(default=10000, ge=1)
    """Training images, the same number of each class, the same ones each time."""
    max_val: int = Field(default=5000, ge=1)


class PretrainConfig(StrictModel):
    """All that decides what a run computes, but for the images and the seed."""

    arch: Arch = "resnet50"
    stem: Stem = "imagenet"
    """`cifar`: conv1 3x3 stride 1 and no max pooling, for images of about 32 pixels."""
    dim: int = Field(default=2048, ge=1)
    """Embedding dimension d."""
    pred_dim: int = Field(default=512, ge=1)
    """Width of the predictor's hidden layer."""
    views: ViewsConfig = ViewsConfig()
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    eps: float = Field(default=64.0, gt=0)
    """Square of the distortion bound: lamda = 1 / (m * eps / d). Larger is safer for the series' convergence."""
    order: int | Literal["exact"] = 4
    """Terms of the Taylor series, or `exact` for log det(I + C) itself, which has no range of convergence to leave.
    det(I + C) must stay positive, or the run stops. Not the published method; costs about as much as the series."""
    lamda_inv_warmup_factor: float = Field(default=8.0, ge=1)
    """1/lamda begins this many times larger and comes down over the warm-up."""
    teacher_momentum: float = Field(default=0.996, ge=0, le=1)
    """At the start; it rises to 1."""

    batch_size: int = Field(default=1024, ge=2)
    """m: images a step, over all processes together."""
    epochs: int = Field(default=100, ge=1)
    warmup_epochs: int = Field(default=10, ge=0)
    """Epochs in which the learning rate and 1/lamda rise."""
    base_lr: float = Field(default=0.5, gt=0)
    """Per 256 images: the optimiser sees base_lr * batch_size / 256."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-5, ge=0)

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast for the networks; the objective stays in float32."""
    channels_last: bool = False
    """Memory order of the pixels: a matter of speed."""
    fused: bool = False
    """SGD and the teacher's update in one pass over the memory each. Rounds otherwise than the plain one."""
    compile: bool = False
    """torch.compile for the networks; needs a C compiler, and minutes at the start. Rounds otherwise."""
    chunk_size: int | None = Field(default=None, ge=2)
    """Images a process embeds at a time: the whole batch's objective in the memory of a chunk, by cached gradients,
    for one more forward pass. Exact but for batch norm, whose statistics are then a chunk's own."""
    log_every: int = Field(default=10, ge=1)
    """Steps between two lines of log.jsonl."""
    save_every_steps: int | None = Field(default=None, ge=1)
    """Steps between two checkpoints within an epoch; there is always one at its end, and one every ten minutes."""
    keep_every_epochs: int | None = Field(default=None, ge=1)
    """Keep the checkpoint of every n-th epoch, as checkpoint_epochNNNN.pth; the published script keeps every one."""
    online_knn: OnlineKnnConfig | None = None
    """How the k-NN on the images of --labelled is taken."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after so many steps of the schedule, for smoke runs."""

    @field_validator("order", mode="before")
    @classmethod
    def _order(cls, value: object) -> object:
        if value == "exact" or (isinstance(value, int) and value >= 1 and value is not True):
            return value
        raise ValueError("must be an integer from 1 on, or 'exact'")

    @model_validator(mode="after")
    def _warmup_fits(self) -> PretrainConfig:
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs = {self.warmup_epochs} is more than epochs = {self.epochs}")
        if min(self.std) <= 0:
            raise ValueError("std must be three positive numbers")
        return self

    @property
    def processes(self) -> int:
        """How many processes, with a GPU each, the run is made for: as published, with 128 images (1024 on 8) in each.

        One where the batch is embedded in chunks, whose batch statistics more processes would take together.
        """
        return 1 if self.chunk_size else max(1, self.batch_size // PUBLISHED_SHARE)

    @property
    def preprocessing(self) -> Preprocessing:
        """How pixels become the network's input; travels with the weights."""
        return Preprocessing(mean=self.mean, std=self.std)
