"""A suite: which models, which benchmarks, how many trials of each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from mec_transfer.common.config import StrictModel, load_config
from mec_transfer.common.errors import UserError, did_you_mean

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@=-]*")


class ModelConfig(StrictModel):
    """A row of the leaderboard: a checkpoint, or a pretraining whose checkpoint is made first."""

    checkpoint: str | None = None
    """CKPT as on the command line; a relative path in a suite file is relative to that file."""
    pretrain: str | None = None
    """A pretraining config: a path, or a name in configs/pretrain."""
    data: str | None = None
    """The images to pretrain on: an absolute path, or a folder below the data root."""
    overrides: list[str] = Field(default_factory=list)
    """`a.b=value` each, for the pretraining config."""
    encoder: str = "auto"

    @model_validator(mode="after")
    def _one_of_two(self) -> ModelConfig:
        if (self.checkpoint is None) == (self.pretrain is None):
            raise ValueError("give either 'checkpoint' or 'pretrain'")
        if self.pretrain is None and (self.data is not None or self.overrides):
            raise ValueError("'data' and 'overrides' belong to 'pretrain'")
        if self.pretrain is not None and self.data is None:
            raise ValueError("'pretrain' needs 'data', the folder of images to pretrain on")
        return self


class BenchmarkEntry(StrictModel):
    """A column of the leaderboard."""

    config: str
    """A benchmark config: a path relative to the suite file, or a name in configs/."""
    set: list[str] = Field(default_factory=list)
    """`a.b=value` each; the protocol id then ends in +custom-HASH."""
    trials: int | None = Field(default=None, ge=1)
    """In place of the config's own number; trial i runs with seed --seed + i."""
    data: str | None = None
    """In place of the config's dataset.folder: an absolute path, or a folder below the data root."""


class MeanConfig(StrictModel):
    """A derived column of the leaderboard: the mean over several of the suite's benchmarks."""

    title: str = Field(min_length=1)
    """Its head."""
    of: list[str] = Field(min_length=2)
    """The configs, as `benchmarks` name them: the columns of their own protocols and primary metrics."""


class DemoWorldConfig(StrictModel):
    """The data that the suite draws for itself, in OUT/data."""

    seed: int = 0


class SuiteConfig(StrictModel):
    """The keys of a suite YAML."""

    id: str
    models: dict[str, ModelConfig] = Field(default_factory=dict)
    """By name; a plain string is a checkpoint."""
    benchmarks: list[BenchmarkEntry] = Field(min_length=1)
    """A plain string is a config."""
    means: list[MeanConfig] = Field(default_factory=list)
    demo_world: DemoWorldConfig | None = None

    @model_validator(mode="after")
    def _means_are_of_its_benchmarks(self) -> SuiteConfig:
        known = [entry.config for entry in self.benchmarks]
        for mean in self.means:
            for name in mean.of:
                if name not in known:
                    raise ValueError(f"means '{mean.title}': no benchmark '{name}'.{did_you_mean(name, known)}")
                if mean.of.count(name) > 1:
                    raise ValueError(f"means '{mean.title}': names '{name}' twice")
        return self

    @field_validator("models", mode="before")
    @classmethod
    def _short_models(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {"checkpoint": model} if isinstance(model, str) else model for name, model in value.items()}

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _short_benchmarks(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{"config": entry} if isinstance(entry, str) else entry for entry in value]

    @field_validator("models")
    @classmethod
    def _usable_names(cls, value: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        for name in value:
            check_model_name(name)
        return value


def check_model_name(name: str) -> None:
    """Raise ValueError unless `name` can name a folder and a row."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"model name {name!r}: use letters, digits and . _ + @ = -, starting with a letter or digit")


def load_suite(path: Path, models: list[str]) -> SuiteConfig:
    """Read a suite file; each "NAME=CKPT" of `models` is added, or replaces the model of that name.

    Relative checkpoint paths in the file are made relative to the file; those of `models` are left alone.

    Raises:
        ConfigError: the file is wrong.
        UserError: an entry of `models` is not NAME=CKPT, or there is no model at all.
    """
    suite = load_config(SuiteConfig, path)
    named = {name: _beside(path, model) for name, model in suite.models.items()}
    for entry in models:
        name, equals, checkpoint = entry.partition("=")
        if not equals or not name or not checkpoint:
            raise UserError(f"--model {entry!r}: must be NAME=CKPT, for instance mec=mec_r50.pth")
        try:
            check_model_name(name)
        except ValueError as error:
            raise UserError(f"--model {entry!r}: {error}") from None
        named[name] = ModelConfig(checkpoint=checkpoint)
    if not named:
        raise UserError(f"{path}: names no model; add --model NAME=CKPT")
    return suite.model_copy(update={"models": named})


def _beside(path: Path, model: ModelConfig) -> ModelConfig:
    if model.checkpoint is None:
        return model
    beside = path.parent / model.checkpoint
    return model.model_copy(update={"checkpoint": str(beside)}) if beside.exists() else model
