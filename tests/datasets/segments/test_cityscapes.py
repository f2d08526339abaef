"""Cityscapes' masks: both kinds of files give the published classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import SegmentsDatasetConfig
from mec_transfer.datasets.registry import find_layout, open_data
from mec_transfer.datasets.segments.cityscapes import CLASSES, IDS
from mec_transfer.datasets.segments.data import SegmentData
from tests.datasets.segments.drawn import VOID, write_cityscapes


def open_streets(root: Path) -> SegmentData:
    data = open_data(SegmentsDatasetConfig(name="x", layout="cityscapes_seg", train=("train",), test="val"), root)
    assert isinstance(data, SegmentData)
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_cityscapes(tmp_path, "train", ["ulm_0_1", "ulm_0_2"])
    write_cityscapes(tmp_path, "train", ["bonn_0_1"], "labelTrainIds", "bonn")
    return write_cityscapes(tmp_path, "val", ["ulm_0_3"])


def test_ids_and_train_ids_give_the_same_labels(root: Path) -> None:
    data = open_streets(root)
    assert (data.splits, data.classes, data.problems) == ({"train": 3, "val": 1}, 19, [])
    first, *others = (data.train.load(at)[1] for at in range(3))
    assert all(np.array_equal(first, other) for other in others)
    assert set(np.unique(first).tolist()) == {0, 10, 13, VOID}
    assert [CLASSES[label] for label in (0, 10, 13)] == ["road", "sky", "car"]
    assert (first[:, 0] == VOID).all()


def test_the_table_is_the_published_one() -> None:
    """cityscapesScripts' labels.py: what stands between the ids of the classes is void."""
    published = {"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19}
    published |= {"traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26}
    published |= {"truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33}
    assert dict(zip(CLASSES, IDS, strict=True)) == published


def test_what_is_wrong_is_said_in_one_line(root: Path) -> None:
    mask = root / "gtFine/train/ulm/ulm_0_1_gtFine_labelIds.png"
    Image.fromarray(np.full((24, 40), 40, dtype=np.uint8)).save(mask)
    assert open_streets(root).problems == [
        f"{mask}: has the label 40 in 960 pixels; its ids are 0 to 33, and 255 is void. Mend the mask"
    ]
    mask.unlink()
    with pytest.raises(
        DataError, match=r"1 images of 'train' have no mask NAME_gtFine_labelIds.png in gtFine: ulm/ulm_0_1_"
    ):
        open_streets(root)


def test_splits_are_those_with_masks(root: Path) -> None:
    write_cityscapes(root, "test", ["x_0_1"])
    for path in (root / "gtFine/test/ulm").iterdir():
        path.unlink()
    assert find_layout("cityscapes_seg").split_names(root) == ["train", "val"]
    assert find_layout("cityscapes_seg").split_names(root / "gtFine") == []
