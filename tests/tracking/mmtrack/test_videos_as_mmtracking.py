"""Our videos are those of MMTracking's own data sets: the same frames, boxes and visibility."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.reading import open_videos
from tests.datasets.videos import test_box_layouts as draw
from tests.datasets.videos import test_otb

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mmtrack") is None, reason="MMTracking is not installed")
HEAD = "The format of each line in this txt is (video_path,annotation_path,start_frame_id,end_frame_id)\n"


def generate(layout: str, root: Path, *options: str) -> None:
    """Write what MMTracking keeps of a folder, by its own script."""
    import mmtrack

    folder = Path(mmtrack.__file__).parent / ".mim" / "tools" / "convert_datasets" / layout
    spec = importlib.util.spec_from_file_location(layout, folder / f"gen_{layout}_infos.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.gen_data_infos(str(root), str(root), *options)


def write(layout: str, root: Path) -> tuple[str, str, str, str]:
    """Draw a folder; return our split, MMTracking's class, the file of what it keeps of the folder, and its split."""
    if layout == "lasot":
        for number in (1, 9):
            draw.lasot(root, f"airplane-{number}", "0,0,1,0", "0,0,0,1", "5,6,10,8\n5,6,0,8\n" + draw.LINE * 2)
        lines = [f"airplane/airplane-{n}/img,airplane/airplane-{n}/groundtruth.txt,1,4" for n in (1, 9)]
        (root / "infos.txt").write_text(HEAD + "\n".join(lines))
        return "all", "LaSOTDataset", "infos.txt", "test"
    if layout == "uav123":
        draw.uav123(root, "bird1_1", "bird1", range(1, 254))
        draw.uav123(
            root, "bird1_3", "bird1", range(1573, 2438), "NaN,NaN,NaN,NaN\n".join(["1,2,3,4\n", draw.LINE * 863])
        )
        lines = [
            f"data_seq/UAV123/bird1,anno/UAV123/bird1_{n},{part}"
            for n, part in (("1.txt", "1,253"), ("3.txt", "1573,2437"))
        ]
        (root / "infos.txt").write_text(HEAD + "\n".join(lines))
        return "all", "UAV123Dataset", "infos.txt", "test"
    if layout == "otb":
        test_otb.draw(root / "data" / "David", range(1, 775), truth=test_otb.lines(471))
        test_otb.draw(
            root / "data" / "Jogging", range(1, 3), truth_1=test_otb.lines(2), truth_2="1\t2\t3\t4\n-2\t3\t4\t5\n"
        )
        test_otb.draw(
            root / "data" / "Tiger1", range(1, 9), truth=test_otb.lines(5, "0,0,0,0") + test_otb.lines(3, "9, 9, 5, 5")
        )
        parts = (("David", "", "300,770"), ("Jogging", ".1", "1,2"), ("Jogging", ".2", "1,2"), ("Tiger1", "", "6,8"))
        lines = [f"data/{name}/img,data/{name}/groundtruth_rect{number}.txt,{part}" for name, number, part in parts]
        (root / "infos.txt").write_text(HEAD + "\n".join(lines))
        return "OTB2015", "OTB100Dataset", "infos.txt", "test"
    if layout == "trackingnet":
        for name in ("a_0", "b_1"):
            draw.trackingnet(root, "TRAIN_0", name, "5,6,10.5,8\n-3.25,6,10,8\n" + draw.LINE)
        for number in range(1, 12):
            (root / f"TRAIN_{number}" / "frames").mkdir(parents=True)
        generate("trackingnet", root, "train")
        return "TRAIN_0", "TrackingNetDataset", "trackingnet_train_infos.txt", "train"
    if layout == "got10k":
        for number in (2, 1):
            draw.got10k(root / "train", f"GOT-10k_Train_{number:06d}", truth="5,6,10.5,8\n5,6,0,8\n" + draw.LINE)
        draw.text(root / "train" / "list.txt", "GOT-10k_Train_000002\nGOT-10k_Train_000001\n")
        generate("got10k", root, "train")
        return "train", "GOT10kDataset", "got10k_train_infos.txt", "train"
    draw.vot(root / "data", "ants1", "5.5,6,15,4,17,14,7,16\n" * 3)
    draw.vot(root / "data", "bag", "5,6,10,8.25\n" * 3)
    generate("vot", root, "vot2018")
    return "all", "VOTDataset", "vot2018_infos.txt", "test"


@pytest.mark.parametrize("layout", ["lasot", "uav123", "otb", "trackingnet", "got10k", "vot"])
def test_the_same_frames_boxes_and_visibility(tmp_path: Path, layout: str) -> None:
    from mec_transfer.tracking.mmtrack import engine

    engine.load()
    from mmtrack.datasets import DATASETS

    split, kind, infos, theirs = write(layout, tmp_path)
    names = ("David", "Jogging-1", "Jogging-2", "Tiger1") if layout == "otb" else ()
    data: Any = DATASETS.get(kind)(
        ann_file=str(tmp_path / infos), img_prefix=str(tmp_path), pipeline=[], split=theirs, test_mode=theirs == "test"
    )
    videos: Any = open_videos(tmp_path / "data" if names else tmp_path, layout, split, names)
    assert len(videos) == len(data.data_infos) > 1
    for number, video in enumerate(videos):
        annotations, images = data.get_ann_infos_from_video(number), data.get_img_infos_from_video(number)
        assert [str(path) for path in video.frames.paths] == [str(tmp_path / name) for name in images["filename"]]
        if layout == "vot":
            np.testing.assert_array_equal(video.polygons, annotations["bboxes"])
        else:
            corners = np.concatenate([video.boxes[:, :2], video.boxes[:, :2] + video.boxes[:, 2:]], axis=1)
            np.testing.assert_array_equal(corners, annotations["bboxes"])
            np.testing.assert_array_equal(video.is_visible(), annotations["visible"])
