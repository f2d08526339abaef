"""The trained network as a file that holds all it takes to predict masks, and of which nothing is executed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mec_transfer.backbone.backbone import Backbone, Preprocessing, Stem
from mec_transfer.common.errors import CheckpointError, UserError, one_line
from mec_transfer.common.files import save_torch
from mec_transfer.common.runtime import pick_device
from mec_transfer.datasets.decode import load_rgb
from mec_transfer.segmentation.config import SegmentationRecipe
from mec_transfer.segmentation.inference import Predictor
from mec_transfer.segmentation.loading import to_scale
from mec_transfer.segmentation.network import Segmenter

FINAL = "model_final.pth"
"""What a job calls it, in its folder."""
_FORMAT = "mec-transfer/segmenter/1"
_BACKBONE = "backbone."


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainedSegmenter:
    """A trained network, and how an image becomes its input."""

    network: Segmenter
    """Normalised pixels, (N, 3, H, W), to scores of every class, (N, C, H, W)."""
    arch: str
    """The backbone's, such as `resnet50`; `stem` and `preprocessing` are the checkpoint's too."""
    stem: Stem
    preprocessing: Preprocessing
    recipe: SegmentationRecipe
    """By which it was trained, and is tested."""
    classes: tuple[str, ...]
    """The classes' names, in the order of their labels."""
    ids: tuple[int, ...]
    """The number of each class in masks of the data set's own."""

    def predict(self, image: str | Path | np.ndarray) -> np.ndarray:
        """Return the labels, (H, W) uint8, of an image, at its own size, as a job predicts those of a test image.

        Args:
            image: a file, or RGB pixels, (H, W, 3) uint8.

        Raises:
            UserError: the file cannot be read, or the array is not such pixels.
            RunError: scores are not finite, or memory is short.
        """
        pixels = image if isinstance(image, np.ndarray) else np.array(load_rgb(Path(image)))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise UserError(f"an image must be RGB pixels, (H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
        predictor = Predictor(self.network, self.recipe, self.preprocessing)
        return predictor(to_scale(pixels, self.recipe.scale), pixels.shape[:2])

    def save(self, path: Path) -> None:
        """Write all of it to a file, atomically.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        model = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        about = {
            "arch": self.arch,
            "stem": self.stem,
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "recipe": self.recipe.model_dump(mode="json"),
            "classes": list(self.classes),
            "ids": list(self.ids),
        }
        save_torch(path, {"format": _FORMAT, "model": model, **about})


def load_segmenter(path: str | Path, device: str = "auto") -> TrainedSegmenter:
    """Return the network that a job left in its folder as `model_final.pth`.

    Args:
        path: of the file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        CheckpointError: the file is missing, damaged or something else.
        UserError: there is no such device.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(f"{path}: cannot be read as a trained network ({one_line(error)})") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        what = f"is not the {FINAL} of a job of `mec-transfer segment`"
        raise CheckpointError(f"{path}: {what}, which says that its format is {_FORMAT}")
    try:
        trained = _restore(content)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:  # torch raises any of them
        raise CheckpointError(f"{path}: is not a whole trained network ({one_line(error)})") from None
    trained.network.to(pick_device(device))
    return trained


def _restore(content: dict[str, Any]) -> TrainedSegmenter:
    preprocessing = Preprocessing(**content["preprocessing"])
    recipe = SegmentationRecipe.model_validate_json(json.dumps(content["recipe"]))
    arch, stem, model = content["arch"], content["stem"], content["model"]
    own = {name.removeprefix(_BACKBONE): model[name] for name in model if name.startswith(_BACKBONE)}
    backbone = Backbone(arch=arch, state_dict=own, preprocessing=preprocessing, stem=stem)
    network = Segmenter(backbone, recipe, len(content["classes"]), seed=0)
    network.load_state_dict(model)
    return TrainedSegmenter(
        network=network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        arch=arch,
        stem=stem,
        preprocessing=preprocessing,
        recipe=recipe,
        classes=tuple(content["classes"]),
        ids=tuple(content["ids"]),
    )
