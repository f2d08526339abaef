"""MMTracking's SortTracker and Kalman filter, driven with boxes and a trained ReID network.

Imported after `engine.load()` only. In MMTracking DeepSORT asks a Faster R-CNN for its boxes, also where it is given
public ones; the tracker itself takes any boxes with scores, and so no detector is needed here. All else is as there:
frames are fitted into the stock file's image size and normalised, and the ReID network sees crops of that picture.
Boxes count their first pixel as 1, as the files do, also where crops are cut.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv import Config
from mmdet.datasets.pipelines import Compose
from mmtrack.models import build_motion, build_tracker
from mmtrack.models.reid import BaseReID

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.common.errors import ConfigError, DataError, one_line
from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.mmtrack.config import stock_path
from mec_transfer.tracking.mmtrack.deepsort_detector import Detector
from mec_transfer.tracking.mmtrack.network import read_config
from mec_transfer.tracking.mmtrack.reid_config import DeepSortRecipe
from mec_transfer.tracking.mmtrack.reid_network import check_pixels, fit_normalisation, read_reid_config
from mec_transfer.tracking.sequences import Tick

_FIRST_PIXEL = 1
_FIRST_IDENTITY = 1
"""MOTChallenge's; MMTracking counts from 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepSort:
    """What SortTracker calls the model."""

    motion: Any
    reid: BaseReID
    with_motion: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detect:
    """Where boxes come from that are not taken as they are."""

    detector: Detector
    public: bool
    """Whether it is given the files' boxes as its proposals."""


def read_tracker_config(recipe: DeepSortRecipe, backbone: Backbone, identities: int) -> Config:
    """Read the tracker's stock config, and write into its pipeline how the checkpoint wants its pixels.

    `identities`: how many the ReID network is trained on.

    Raises:
        ConfigError: it is not the config of a SortTracker with ReID and motion, or it cuts other crops than those that
            the ReID network is trained on.
    """
    path = stock_path(recipe.tracker)
    config = read_config(path, recipe.tracker_changes)
    try:
        tracker, pipeline = config.model.tracker, config.data.test.pipeline
        if tracker.type != "SortTracker" or not tracker.reid or config.model.motion.type != "KalmanFilter":
            raise KeyError("model.tracker is to be a SortTracker with reid, model.motion a KalmanFilter")
        if tracker.reid.get("img_norm_cfg"):
            raise KeyError("model.tracker.reid.img_norm_cfg: the pipeline normalises; set it to None")
        float(tracker.obj_score_thr)
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a config of DeepSORT ({one_line(error)})") from None
    if recipe.boxes == "given":  # else the detector wants the file's own pixels, which are to be the checkpoint's, too
        fit_normalisation(pipeline, backbone, path)
    check_pixels(pipeline, f"{path.name}, data.test", backbone)
    height, width = tracker.reid.img_scale
    reid = read_reid_config(recipe, backbone, identities)
    trained = [tuple(step.img_scale) for step in reid.data.test.pipeline if step.type == "Resize"]
    if trained != [(width, height)]:
        raise ConfigError(
            f"{path}: model.tracker.reid.img_scale is {(height, width)} (height, width), but the ReID network is "
            f"trained on crops of {trained} (width, height); set recipe.tracker_changes"
        )
    return config


def read_detector(recipe: DeepSortRecipe, config: Config, device: torch.device) -> Detect | None:
    """Return the recipe's detector, None where boxes are given. Raises CheckpointError where its file does not fit."""
    if not recipe.detector:
        return None
    return Detect(detector=Detector(config, Path(recipe.detector), device), public=recipe.boxes == "public")


def prepare_frames(config: Config, public: bool = False) -> Compose:
    """Return the stock test pipeline; unless a detector is to get them, without the files' boxes."""
    pipeline = [copy.deepcopy(step) for step in config.data.test.pipeline if public or step.type != "LoadDetections"]
    for step in (inner for outer in pipeline for inner in outer.get("transforms", [])):
        if step.type == "VideoCollect":
            step["keys"] = ["img", "public_bboxes"] if public else ["img"]
    return Compose(pipeline)


@torch.no_grad()
def follow(
    video: MotVideo, config: Config, reid: BaseReID, device: torch.device, tick: Tick, detect: Detect | None = None
) -> list[TrackedFrame]:
    """Join the boxes of a video, its own or those that are detected; return what is tracked in each frame.

    Raises:
        DataError: a frame cannot be read.
    """
    reid.eval()
    pipeline = prepare_frames(config, detect is not None and detect.public)
    tracker = build_tracker(config.model.tracker)
    model = DeepSort(motion=build_motion(config.model.motion), reid=reid)
    frames = []
    for index, path in enumerate(video.frames.paths):
        prepared = _prepare(pipeline, path, index, file_boxes(video, index))
        meta = prepared["img_metas"][0].data
        height, width, _ = meta["ori_shape"]
        if (height, width) != (video.frames.height, video.frames.width):
            raise DataError(f"{path}: {width}x{height} pixels; {video.frames.width}x{video.frames.height} are needed")
        image = prepared["img"][0][None].to(device)
        if detect is None:
            boxes = given_boxes(video, index, meta).to(device)
        else:
            public = torch.from_numpy(prepared["public_bboxes"][0]).to(device) if detect.public else None
            boxes = detect.detector(image, meta, public)
        tracked, _, identities = tracker.track(
            img=image,
            img_metas=[meta],
            model=model,
            bboxes=boxes,
            labels=torch.zeros(len(boxes), dtype=torch.long, device=device),
            frame_id=index,
            rescale=True,
        )
        rows = tracked.double().cpu().numpy()
        frames.append(
            TrackedFrame(
                identities=identities.cpu().numpy() + _FIRST_IDENTITY,
                boxes=rows[:, :4] - _FIRST_PIXEL,
                scores=rows[:, 4],
            )
        )
        tick()
    return frames


def _prepare(pipeline: Compose, path: Path, index: int, boxes: np.ndarray) -> Any:
    info = {"filename": str(path), "frame_id": index}
    try:
        return pipeline({"img_prefix": None, "img_info": info, "bbox_fields": [], "detections": [boxes]})
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({one_line(error)})") from None
    except Exception as error:  # OpenCV gives nothing for a broken file, and whoever takes it next raises
        raise DataError(f"{path}: not a readable image ({one_line(error)}); replace it") from None


def file_boxes(video: MotVideo, index: int) -> np.ndarray:
    """Return the detections of a frame as their file has them, (N, 5) float32: x0, y0, x1, y1 and score."""
    seen = video.detections[index]
    rows: np.ndarray = np.concatenate([seen.boxes + _FIRST_PIXEL, seen.scores[:, None]], axis=1).astype(np.float32)
    return rows


def given_boxes(video: MotVideo, index: int, meta: dict[str, Any]) -> torch.Tensor:
    """Return the detections of a frame as the tracker takes them, (N, 5) float32, without those beside the picture.

    SortTracker has no crop for a box that begins where the picture ends.
    """
    rows = torch.from_numpy(file_boxes(video, index))
    height, width = meta["img_shape"][:2]
    corners = rows[:, :2] * torch.tensor(meta["scale_factor"][:2])
    return rows[(corners[:, 0] < width) & (corners[:, 1] < height)]
