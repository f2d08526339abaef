"""Crops of persons for re-identification, by MMTracking's rule (tools/convert_datasets/mot/mot2reid.py, v0.14.0).

The rule, all of which moves the number:

- Of MOT17, whose sequences are there once for each of three detectors, only FRCNN's are taken.
- A box counts where its class is a pedestrian and its visibility at least 0.3, whether or not column 7 lets it count.
  A MOT15 file has neither column: all of its boxes count.
- Corners are cut to whole numbers towards zero, as the file has them (its first pixel being 1), then clipped to the
  image, and the crop includes its last row and column.
- An identity is `SEQUENCE_000012`, and its crops are numbered in the file's order. Of the identities in the order of
  their names the first 80 % are trained on and the others measured on. One with fewer than 8 crops is left out then;
  of one with more than 1000 as many are drawn, from one stream that begins at `random.seed(0)`.
- Crops are JPEG files of OpenCV's default quality, so that their pixels are those of a second compression.

One thing differs: the script draws from names in the order in which the file system lists them, this from sorted ones.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.videos.motchallenge import MotVideo, read_truth
from mec_transfer.datasets.videos.video import fingerprint
from mec_transfer.tracking.mmtrack.reid_config import CropRule, ReidRecipe

_DETECTOR = re.compile(r"(MOT17-\d+)-(DPM|FRCNN|SDP)")
_TAKEN = "FRCNN"
_FRAME, _IDENTITY, _CLASS, _VISIBILITY = 0, 1, 7, 8
_PEDESTRIAN, _UNKNOWN = 1, -1
_SEED = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crop:
    """A person in a frame."""

    name: str
    """As mot2reid calls the file, for instance `MOT17-02-FRCNN_000002/000000.jpg`."""
    frame: int
    """The frame's index in its video, from 0."""
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in pixels; the crop is rows y0 to y1 and columns x0 to x1, the last ones included."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReidCrops:
    """The crops of a data set with their labels, which count from 0 in each part."""

    train: tuple[tuple[Crop, int], ...]
    val: tuple[tuple[Crop, int], ...]
    dropped: int
    """How many identities have too few crops."""

    @property
    def train_ids(self) -> int:
        """How many identities are trained on."""
        return len({label for _, label in self.train})

    @property
    def val_ids(self) -> int:
        """How many identities are measured on."""
        return len({label for _, label in self.val})


def reid_videos(videos: Iterable[MotVideo]) -> list[MotVideo]:
    """Return the videos that crops are cut from: each of MOT17's three times seven once."""
    videos = list(videos)
    names = {video.name for video in videos}
    kept = []
    for video in videos:
        match = _DETECTOR.fullmatch(video.name)
        if match is None or match[2] == _TAKEN or f"{match[1]}-{_TAKEN}" not in names:
            kept.append(video)
    return kept


def list_crops(videos: Sequence[MotVideo], rule: CropRule) -> ReidCrops:
    """Return the crops of `videos`, those of `reid_videos`; only the annotations are read.

    Raises:
        DataError: a box that counts is empty, or there is nothing to train on or to measure.
    """
    by_identity: dict[str, list[Crop]] = {}
    for video in videos:
        for crop in _crops_of(video, rule):
            by_identity.setdefault(crop.name.partition("/")[0], []).append(crop)
    names = sorted(by_identity)
    first = int(len(names) * (1 - rule.val_share))
    stream = random.Random(_SEED)
    train = _labelled([by_identity[name] for name in names[:first]], rule, stream)
    val = _labelled([by_identity[name] for name in names[first:]], rule, stream)
    enough = sum(len(crops) >= rule.min_per_person for crops in by_identity.values())
    return ReidCrops(train=train, val=val, dropped=len(names) - enough)


def crops_for(videos: Iterable[MotVideo], recipe: ReidRecipe, where: Path) -> tuple[list[MotVideo], ReidCrops]:
    """Return the videos that crops are cut from, and the crops.

    Args:
        videos: of the data set.
        recipe: with the rule, and how many persons a batch has.
        where: the data's folder, for the message.

    Raises:
        DataError: a batch cannot be drawn, nobody is left to measure on, or a box that counts is empty.
    """
    kept = reid_videos(videos)
    crops = list_crops(kept, recipe.crops)
    few = f"{crops.dropped} with fewer than {recipe.crops.min_per_person} crops are left out"
    if crops.train_ids < recipe.persons:
        raise DataError(
            f"{where}: a batch has {recipe.persons} persons, and there are {crops.train_ids} to train on ({few}); take "
            "more or longer sequences"
        )
    if not crops.val_ids:
        raise DataError(f"{where}: there is nobody to measure on ({few}); take more or longer sequences")
    return kept, crops


def crops_fingerprint(videos: Sequence[MotVideo]) -> str:
    """Return a sha256 of what crops are cut from: the frames and the truth, whatever else a data set holds."""
    return fingerprint([dataclasses.replace(video, files=(video.ground_truth,)) for video in videos])


def _crops_of(video: MotVideo, rule: CropRule) -> list[Crop]:
    table = read_truth(video.ground_truth, [])
    values, (last_x, last_y) = table.values, (video.frames.width - 1, video.frames.height - 1)
    visibility = values[:, _VISIBILITY]
    if (visibility == _UNKNOWN).all():  # MOT15's three last columns
        visibility = np.ones_like(visibility)
    found: list[Crop] = []
    seen: dict[int, int] = {}
    for row in np.flatnonzero((values[:, _CLASS] == _PEDESTRIAN) & ~(visibility < rule.min_visibility)):
        x, y, width, height = values[row, 2:6]
        corners = np.array([x, y, x + width, y + height]).astype(np.int32)
        x0, y0, x1, y1 = np.clip(corners, 0, [last_x, last_y] * 2).tolist()
        if x1 < x0 or y1 < y0:
            what = f"box {width:g}x{height:g} is empty, and a crop of it is wanted"
            raise DataError(
                f"{video.ground_truth}:{table.lines[row]}: {what}; remove the line, or give it another class"
            )
        identity = int(values[row, _IDENTITY])
        number = seen[identity] = seen.get(identity, -1) + 1
        name = f"{video.name}_{identity:06d}/{number:06d}.jpg"
        found.append(Crop(name=name, frame=int(values[row, _FRAME]) - 1, box=(x0, y0, x1, y1)))
    return found


def _labelled(identities: Sequence[list[Crop]], rule: CropRule, stream: random.Random) -> tuple[tuple[Crop, int], ...]:
    enough = [crops for crops in identities if len(crops) >= rule.min_per_person]
    labelled: list[tuple[Crop, int]] = []
    for label, crops in enumerate(enough):
        if len(crops) > rule.max_per_person:
            crops = stream.sample(crops, rule.max_per_person)
        labelled += [(crop, label) for crop in crops]
    return tuple(labelled)
