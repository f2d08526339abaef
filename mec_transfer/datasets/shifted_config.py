"""What a benchmark's YAML says of test images of another kind than those that the classes were learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mec_transfer.datasets.config import DatasetConfig


class ShiftedDatasetConfig(DatasetConfig):
    """Test images of classes that another data set has taught: ImageNet-V2, -A, -R, -Sketch."""

    train: str = "imagenet"
    """The data set (layout `imagefolder`) whose training images taught them: a folder that lies where this one's own
    folder lies, or an absolute path."""

    @classmethod
    def kind(cls) -> str:
        """Return `shifted`."""
        return "shifted"

    def hashed(self) -> dict[str, Any]:
        """As every data set's, without the place of the training images."""
        return {key: value for key, value in super().hashed().items() if key != "train"}

    def train_folder(self, folder: Path) -> Path:
        """Return where the training set lies, for the test images' own `folder`: below one root with it, or as told."""
        return self.root_of(folder) / self.train
