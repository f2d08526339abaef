"""What a benchmark's YAML says of its data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from mec_transfer.common.config import StrictModel
from mec_transfer.datasets.registry import layout_names


class Contents(StrictModel):
    """What a published data set holds, as far as its protocol fixes it and a source says so."""

    classes: int | None = None
    images: dict[str, int] = Field(default_factory=dict)
    """By split. A split that is not named here may hold any number."""
    sequences: int | None = None
    """In the split that is measured on."""


class DatasetConfig(StrictModel):
    """The data set of a benchmark."""

    OPENER: ClassVar[str] = ""
    """What opens such data, as `module:function`, where that is not a layout alone."""

    name: str
    """As the leaderboard shows it, for instance `imagenet`."""
    layout: str
    """An on-disk layout of `mec_transfer.datasets.registry`, for instance `imagefolder`."""
    folder: str = ""
    """Below a suite's --data-root. A single command's --data names the data set's own folder instead."""
    expect: dict[str, Contents] = Field(default_factory=dict)
    """By a data set's name, what that name promises. A folder that holds anything else is data of one's own."""

    @field_validator("layout")
    @classmethod
    def _known_layout(cls, value: str) -> str:
        names = cls.layouts()
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return value

    @classmethod
    def kind(cls) -> str:
        """Return which kind of layout this is the config of, as the registry calls it."""
        return "images"

    @classmethod
    def layouts(cls) -> list[str]:
        """Return the names of the layouts that such data may have."""
        return layout_names(cls.kind())

    @property
    def promised(self) -> Contents | None:
        """What `name` promises; None for a name that promises nothing."""
        return self.expect.get(self.name)

    def root_of(self, folder: Path) -> Path:
        """Return where further data sets lie, for this one's own `folder`: below one root with it."""
        own = Path(self.folder).parts
        return folder.parents[len(own) - 1] if own and folder.parts[-len(own) :] == own else folder.parent

    def hashed(self) -> dict[str, Any]:
        """Return what of the config can move a number: neither where the data lies nor what its name promises."""
        return self.model_dump(mode="json", exclude={"folder", "expect"})


class PoolDatasetConfig(DatasetConfig):
    """The data set of a benchmark that draws from all labelled images, whatever splits they are in."""

    @classmethod
    def layouts(cls) -> list[str]:
        """Return those of images, and those of images that have no splits to train and to measure on."""
        return [*layout_names("images"), *layout_names("pools")]


class LabelsDatasetConfig(DatasetConfig):
    """The data set of a benchmark that asks which of several classes each image shows."""

    splits: dict[str, str] = Field(min_length=1)
    """What the benchmark calls a split -> what the layout calls it, for instance `train: 2007_trainval`."""

    @classmethod
    def kind(cls) -> str:
        """Return `labels`."""
        return "labels"


class ObjectsDatasetConfig(DatasetConfig):
    """The data set of a benchmark that finds objects."""

    train: tuple[str, ...] = Field(min_length=1)
    """Splits to train on, as the layout calls them, for instance `2007_trainval`."""
    test: str
    """The split to measure on."""
    classes: tuple[str, ...] = ()
    """The classes of data of one's own; an annotation of any other is then a mistake. Empty: those that are found."""
    skip_invalid: bool = False
    """Leave broken annotations and images out, and count them, where they would be an error."""

    @classmethod
    def kind(cls) -> str:
        """Return `objects`."""
        return "objects"

    def hashed(self) -> dict[str, Any]:
        """As every data set's; `skip_invalid` counts only where it is asked for."""
        values = super().hashed()
        return values if self.skip_invalid else {key: values[key] for key in values if key != "skip_invalid"}


class SegmentsDatasetConfig(DatasetConfig):
    """The data set of a benchmark that tells the class of every pixel."""

    train: tuple[str, ...] = Field(min_length=1)
    """Splits to train on, as the layout calls them, for instance `train_aug`."""
    test: str
    """The split to measure on."""
    classes: tuple[str, ...] = ()
    """The classes of data of one's own, from label 0 on. Empty: those that stand in the folder, or the published
    ones."""

    @classmethod
    def kind(cls) -> str:
        """Return `segments`."""
        return "segments"


class VideosDatasetConfig(DatasetConfig):
    """The data set of a tracking benchmark."""

    split: str
    """As the layout calls it, for instance `2017/val` of DAVIS."""
    sequences: tuple[str, ...] = ()
    """Only these of the split; none: all of them."""
    detections: str = ""
    """Where association finds what a detector saw: a path below the data set's folder (or an absolute one) with
    `{sequence}` for the sequence's name, for instance `train/{sequence}/det/det.txt`; `none` where none are needed."""

    @classmethod
    def kind(cls) -> str:
        """Return `videos`."""
        return "videos"


class TracksDatasetConfig(DatasetConfig):
    """A set of tracks that a tracker learns from."""

    split: str
    """As the layout calls it, for instance `train` of ImageNet VID."""

    @classmethod
    def kind(cls) -> str:
        """Return `tracks`."""
        return "tracks"
