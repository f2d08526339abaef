"""Tracks and videos of this program as the data sets that MMTracking's pipelines read."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmtrack.datasets import BaseSOTDataset
from mmtrack.datasets.dataset_wrappers import RandomSampleConcatDataset
from mmtrack.datasets.pipelines import LoadMultiImagesFromFile
from torch.utils.data import ConcatDataset

from mec_transfer.common.errors import DataError, disk_failed, one_line
from mec_transfer.datasets.decode import load_rgb
from mec_transfer.datasets.tracks import Track
from mec_transfer.datasets.videos.box_video import BoxVideo, has_size


class NamedLoading:
    """A step that loads pictures, and names the one that cannot be read."""

    def __init__(self, step: LoadMultiImagesFromFile) -> None:
        self.step = step

    def __call__(self, infos: list[dict[str, Any]]) -> Any:
        """Load; raises DataError where a picture is broken."""
        try:
            return self.step(infos)
        except Exception:  # whatever OpenCV raises, or what mmcv makes of a picture that is None
            for info in infos:
                load_rgb(Path(info["img_info"]["filename"]))
            raise


class TrackSet(BaseSOTDataset):
    """Pairs out of tracks: what MMTracking's own classes give for the same tracks, and the same random draws."""

    def __init__(self, tracks: Sequence[Track], pipeline: list[dict[str, Any]]) -> None:
        self.tracks = tracks
        super().__init__(img_prefix="", pipeline=pipeline, split="train")
        self.pipeline.transforms = [
            NamedLoading(step) if isinstance(step, LoadMultiImagesFromFile) else step
            for step in self.pipeline.transforms
        ]

    def load_data_infos(self, split: str = "train") -> Sequence[int]:
        """Return a number for each track."""
        return range(len(self.tracks))

    def get_len_per_video(self, video_ind: int) -> int:
        """Nothing asks for a track's length before it is drawn, and there are 860,001 of COCO's."""
        return 0

    def get_ann_infos_from_video(self, video_ind: int) -> dict[str, np.ndarray]:
        """Return boxes as x0, y0, x1, y1, which of them have an area, and in which frames the target is seen."""
        track = self.tracks[video_ind]
        valid = has_size(track.boxes)
        boxes = track.boxes.copy()
        boxes[:, 2:] += boxes[:, :2]
        return {"bboxes": boxes, "bboxes_isvalid": valid, "visible": track.visible & valid}

    def get_img_infos_from_video(self, video_ind: int) -> dict[str, Any]:
        """Return the files of a track's frames."""
        track = self.tracks[video_ind]
        return {"filename": track.paths, "frame_ids": track.frame_ids, "video_id": video_ind}

    def prepare_train_data(self, video_ind: int) -> Any:
        """Draw two tracks, and from them a pair of pictures, until the pipeline takes one."""
        while True:
            infos = []
            for drawn in random.choices(self.data_infos, k=2):  # of a range: a list of 860,001 takes 10 ms to make
                info = self.get_ann_infos_from_video(drawn) | self.get_img_infos_from_video(drawn)
                self.pre_pipeline(info)
                infos.append(info)
            if (pair := self.pipeline(infos)) is not None:
                return pair


class Mixture(RandomSampleConcatDataset):
    """Pairs out of several sets, each as often as its weight says; which item is asked for does not matter."""

    def __init__(self, sets: Sequence[TrackSet], weights: Sequence[float]) -> None:
        self.dataset_sampling_probs = [weight / sum(weights) for weight in weights]
        ConcatDataset.__init__(self, sets)


class VideoSet(BaseSOTDataset):
    """The frames of one video, in order, as MMTracking's pipelines for testing read them."""

    def __init__(self, video: BoxVideo, pipeline: list[dict[str, Any]], truth: np.ndarray) -> None:
        """`truth` is what a pipeline gets as the target's box in each frame: x0, y0, x1, y1 or a polygon."""
        self.video, self.truth = video, truth
        super().__init__(img_prefix="", pipeline=pipeline, split="test", test_mode=True)

    def load_data_infos(self, split: str = "test") -> list[Mapping[str, Any]]:
        """Return the one video there is."""
        return [{}]

    def get_len_per_video(self, video_ind: int) -> int:
        """Return how many frames there are."""
        return len(self.video.frames)

    def frame(self, index: int) -> Any:
        """Return a frame as the pipeline makes it. Raises DataError where it cannot be read, or is of another size."""
        frames = self.video.frames
        result = {
            "img_info": {"filename": str(frames.paths[index]), "frame_id": index},
            "ann_info": {"bboxes": self.truth[index], "visible": True},
        }
        self.pre_pipeline(result)
        try:
            found = self.pipeline(result)
        except Exception as error:  # whatever OpenCV raises on a broken file
            advice = "" if disk_failed(error) else "; replace it"
            raise DataError(f"{frames.paths[index]}: cannot be read ({one_line(error)}){advice}") from None
        height, width = found["img"][0].shape[-2:]
        if (width, height) != (frames.width, frames.height):
            raise DataError(
                f"{frames.paths[index]}: {width}x{height} pixels, but the first frame of '{frames.name}' has "
                f"{frames.width}x{frames.height}"
            )
        return found
