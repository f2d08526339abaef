"""A video through MMTracking's test pipelines and a single-object tracker. Imported after `engine.load()` only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.parallel import collate
from torch import nn

from mec_transfer.common.device import leaves_cores_free
from mec_transfer.common.errors import RunError
from mec_transfer.datasets.videos.box_video import BoxVideo
from mec_transfer.datasets.videos.frames import read_ahead
from mec_transfer.tracking.mmtrack.batches import unpack
from mec_transfer.tracking.mmtrack.sot_data import VideoSet
from mec_transfer.tracking.sequences import Tick


def follow(
    tracker: nn.Module,
    video: BoxVideo,
    targets: np.ndarray,
    pipeline: list[dict[str, Any]],
    tick: Tick,
) -> list[np.ndarray]:
    """Follow a target through a video; return for each frame a box, (4,) of x, y, w, h, or a state, (1,).

    Args:
        tracker: MMTracking's network.
        video: the frames.
        targets: what the pipelines get as the true target in each frame: (frames, 4) of x0, y0, x1, y1, or polygons.
        pipeline: the stock config's, for testing.
        tick: is called once a frame.

    Raises:
        DataError: a frame cannot be read.
        RunError: a box is not finite.
    """
    device = next(tracker.parameters()).device
    read, count = VideoSet(video, pipeline, targets).frame, len(video.frames)
    found: list[np.ndarray] = []
    tracker.eval()
    with torch.no_grad():
        frames = read_ahead(read, count) if leaves_cores_free(device) else map(read, range(count))
        for index, frame in enumerate(frames):
            data = unpack(collate([frame], samples_per_gpu=1), device)
            # A box and its score; or what stands in place of a box, and a score.
            region = np.array(tracker(return_loss=False, rescale=True, **data)["track_bboxes"][:-1], dtype=np.float64)
            if not np.isfinite(region).all():
                where = video.frames.paths[index]
                raise RunError(f"{where}: the tracker's box is not finite; look at the training's losses")
            if len(region) == 4:
                region[2:] -= region[:2]
            found.append(region)
            tick()
    return found
