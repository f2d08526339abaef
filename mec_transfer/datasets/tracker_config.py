"""What a benchmark's YAML says of the data of a tracker that is trained. Nothing here opens any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from mec_transfer.datasets.config import TracksDatasetConfig, VideosDatasetConfig

_ELSEWHERE = frozenset({"folder", "expect"})


class TrainingSetConfig(TracksDatasetConfig):
    """One of the sets that a tracker learns from."""

    weight: float = Field(default=1.0, gt=0)
    """How often a pair is drawn from it, relative to the others."""


class TrackerDatasetConfig(VideosDatasetConfig):
    """The data of a benchmark that trains a tracker: its own keys describe the videos that are measured on."""

    OPENER: ClassVar[str] = "mec_transfer.datasets.trackers:open_tracker_data"

    training: tuple[TrainingSetConfig, ...] = Field(min_length=1)
    training_root: str = ""
    """Where the training sets' folders lie; empty: where the videos' own folder lies."""

    @field_validator("training")
    @classmethod
    def _told_apart(cls, value: tuple[TrainingSetConfig, ...]) -> tuple[TrainingSetConfig, ...]:
        names = [part.name for part in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two training sets are called '{twice[0]}'")
        return value

    def hashed(self) -> dict[str, Any]:
        """As every data set's, without the places and promises of the training sets."""
        parts = [part.model_dump(mode="json", exclude=set(_ELSEWHERE)) for part in self.training]
        values = {key: value for key, value in super().hashed().items() if key != "training_root"}
        return values | {"training": parts}

    def training_folder(self, part: TrainingSetConfig, folder: Path) -> Path:
        """Return where a training set lies, for the videos' own `folder`: below one root with it, unless told."""
        if self.training_root:
            return Path(self.training_root, part.folder)
        return self.root_of(folder) / part.folder
