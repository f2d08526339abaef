"""Our tracks are those of MMTracking's own converters and data sets, in its order."""

from __future__ import annotations

import contextlib
import importlib.util
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.registry import open_data
from tests.datasets.tracks import tiny_tracks

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mmtrack") is None, reason="MMTracking is not installed")


def converter(name: str) -> ModuleType:
    """Load one of the scripts that MMTracking installs."""
    import mmtrack

    path = Path(mmtrack.__file__).parent / ".mim" / "tools" / "convert_datasets" / "ilsvrc" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def theirs(layout: str, root: Path) -> Any:
    """Return MMTracking's data set of a folder, after its own conversion."""
    from mmtrack.datasets import DATASETS

    kind, annotations, images = "SOTCocoDataset", root / "annotations" / "instances_train2017.json", root / "train2017"
    if layout == "imagenet_vid":
        kind, annotations, images = "SOTImageNetVIDDataset", root / "imagenet_vid_train.json", root / "Data" / "VID"
        with contextlib.suppress(KeyError):  # it prints how many there are of each class, and fails where one is none
            converter("imagenet2coco_vid").convert_vid(defaultdict(list, categories=[]), root, root, "train")
    if layout == "imagenet_det":
        annotations, images = root / "imagenet_det_30plus1cls.json", root / "Data" / "DET"
        with contextlib.suppress(KeyError):
            converter("imagenet2coco_det").convert_det(defaultdict(list, categories=[]), str(root), root)
    return images, DATASETS.get(kind)(
        ann_file=str(annotations), img_prefix=str(images), pipeline=[], split="train", test_mode=False
    )


@pytest.mark.parametrize("layout", tiny_tracks.WRITERS)
def test_the_same_tracks_in_the_same_order(tmp_path: Path, layout: str) -> None:
    from mec_transfer.tracking.mmtrack import engine

    engine.load()
    tiny_tracks.WRITERS[layout](tmp_path)
    split = tiny_tracks.SPLITS[layout]
    ours = open_data(TracksDatasetConfig(name="x", layout=layout, split=split), tmp_path).tracks  # type: ignore[attr-defined]
    images, data = theirs(layout, tmp_path)
    assert len(ours) == len(data) > 3
    for number, track in enumerate(ours):
        info = data.get_img_infos_from_video(number) | data.get_ann_infos_from_video(number)
        boxes = track.boxes.copy()
        boxes[:, 2:] += boxes[:, :2]
        assert [str(path) for path in track.paths] == [str(images / name) for name in info["filename"]]
        assert track.frame_ids.tolist() == list(info["frame_ids"])
        np.testing.assert_array_equal(boxes, info["bboxes"])
        np.testing.assert_array_equal(track.visible, info["visible"])
