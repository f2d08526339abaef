"""LaSOT, UAV123, TrackingNet, GOT-10k and VOT as they are downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.registry import find_layout
from mec_transfer.datasets.videos.lasot import TEST
from mec_transfer.datasets.videos.uav123 import UAV123
from mec_transfer.datasets.videos.video import remarks
from mec_transfer.datasets.videos.vot import VotVideo
from tests.datasets.reading import open_videos

LINE = "5,6,10,8\n"
QUAD = "5,6,15,6,15,14,5,14\n"


def frames(folder: Path, names: list[str]) -> Path:
    """Frames of 40 x 30 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (40, 30)).save(folder / f"{name}.jpg")
    return folder


def numbered(first: int, last: int, digits: int) -> list[str]:
    return [f"{number:0{digits}d}" for number in range(first, last + 1)]


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def lasot(root: Path, name: str, hidden: str = "0,0,1,0", outside: str = "0,0,0,0", truth: str = LINE * 4) -> Path:
    folder = root / name.rpartition("-")[0] / name
    frames(folder / "img", numbered(1, 4, 8))
    text(folder / "groundtruth.txt", truth)
    text(folder / "full_occlusion.txt", hidden)
    text(folder / "out_of_view.txt", outside)
    return folder


def uav123(root: Path, name: str, video: str, part: range, truth: str = "") -> None:
    frames(root / "data_seq" / "UAV123" / video, numbered(part[0], part[-1], 6))
    text(root / "anno" / "UAV123" / f"{name}.txt", truth or LINE * len(part))


def trackingnet(root: Path, chunk: str, name: str, truth: str = LINE * 3) -> None:
    frames(root / chunk / "frames" / name, numbered(0, 2, 1))
    text(root / chunk / "anno" / f"{name}.txt", truth)


def got10k(root: Path, name: str, absent: str = "0\n1\n0\n", cover: str = "8\n0\n3\n", truth: str = LINE * 3) -> Path:
    folder = frames(root / name, numbered(1, 3, 8))
    for file, content in {"groundtruth.txt": truth, "absence.label": absent, "cover.label": cover}.items():
        text(folder / file, content)
    return folder


def vot(root: Path, name: str, truth: str = QUAD * 3, colour: str = "color") -> None:
    frames(root / name / colour, numbered(1, 3, 8))
    text(root / name / "groundtruth.txt", truth)


def test_lasot_is_visible_where_nothing_hides_it_and_it_has_a_size(tmp_path: Path) -> None:
    lasot(tmp_path / "LaSOTBenchmark", "airplane-1", "0,0,1,0", "0,0,0,1", LINE + "0,0,0,0\n" + LINE * 2)
    lasot(tmp_path / "LaSOTBenchmark", "airplane-2", "0\n0\n0\n0\n", "0\n0\n0\n0\n")
    one, two = open_videos(tmp_path, "lasot", "all")
    assert one.visible.tolist() == [True, False, False, False] and two.visible.all()
    assert [video.name for video in open_videos(tmp_path, "lasot", "train")] == ["airplane-2"]
    (again,) = open_videos(tmp_path / "LaSOTBenchmark", "lasot", "test", ("airplane-1",))
    assert again.name == "airplane-1" and len(again.files) == 3
    with pytest.raises(DataError, match=r"279 of 280 sequences are not there: airplane-9"):
        open_videos(tmp_path, "lasot", "test")


def test_the_published_sequences() -> None:
    assert len(set(TEST)) == 280 and {"zebra-17", "rubicCube-1", "airplane-15"} <= set(TEST)
    assert len({name.rpartition("-")[0] for name in TEST}) == 70
    assert len(UAV123) == 123 and UAV123["bird1_2"] == range(775, 1478) and UAV123["car1_s"] == range(1, 1476)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": "0,0,2,0"}, r"full_occlusion\.txt:1: '2' is not a whole number from 0 to 1"),
        ({"hidden": "0,0,0"}, r"full_occlusion\.txt: 3 numbers, but there are 4 frames"),
        ({"outside": "0\n0\nx\n0"}, r"out_of_view\.txt:3: 'x' is not a whole number from 0 to 1"),
        ({"truth": LINE * 3}, r"groundtruth\.txt: 3 boxes, but \S+img has 4 frames"),
        ({"truth": LINE + "1,2,3\n" + LINE * 2}, r"groundtruth\.txt:2: 3 values where four"),
    ],
)
def test_what_is_wrong_in_lasot_is_named(tmp_path: Path, options: dict[str, str], message: str) -> None:
    lasot(tmp_path, "dog-1", **options)
    with pytest.raises(DataError, match=message):
        open_videos(tmp_path, "lasot", "all")


def test_parts_of_one_uav_video(tmp_path: Path) -> None:
    uav123(tmp_path, "bird1_1", "bird1", range(1, 254))
    uav123(tmp_path, "bird1_2", "bird1", range(775, 1478), LINE + "NaN,NaN,NaN,NaN\n" + LINE * 701)
    uav123(tmp_path, "mine_2", "mine_2", range(4, 9))
    videos = {video.name: video for video in open_videos(tmp_path, "uav123", "all")}
    assert videos["bird1_2"].frames.numbers[0] == 775 and videos["bird1_2"].frames.paths[-1].name == "001477.jpg"
    assert len(videos["bird1_1"].frames) == 253 and videos["mine_2"].frames.numbers == (4, 5, 6, 7, 8)
    assert np.isnan(videos["bird1_2"].boxes[1]).all() and videos["bird1_2"].is_visible().sum() == 702
    (tmp_path / "data_seq" / "UAV123" / "bird1" / "001477.jpg").unlink()
    with pytest.raises(DataError, match=r"bird1: frames 775 to 1477 are needed; it has 775 to 1476"):
        open_videos(tmp_path, "uav123", "UAV123", ("bird1_2",))


@pytest.mark.parametrize(("layout", "split"), [("trackingnet", "TEST"), ("got10k", "test")])
def test_of_a_servers_sequences_only_the_first_box_is_there(tmp_path: Path, layout: str, split: str) -> None:
    for name in ("a_0", "b_0"):
        if layout == "trackingnet":
            trackingnet(tmp_path, "TEST", name, LINE)
        else:
            got10k(tmp_path / "test", name, truth=LINE)
    one, two = open_videos(tmp_path, layout, split)
    assert one.boxes[0].tolist() == [5, 6, 10, 8] and np.isnan(one.boxes[1:]).all() and one.boxes.shape == (3, 4)
    (line,) = remarks([one, two])
    assert "holds the first frame's box alone" in line and line.endswith("(and 1 sequences more)")


def test_trackingnets_chunks_and_numbers_without_zeros(tmp_path: Path) -> None:
    frames(tmp_path / "TRAIN_3" / "frames" / "x_1", numbered(0, 11, 1))
    text(tmp_path / "TRAIN_3" / "anno" / "x_1.txt", "".join(f"{n},1,5,5\n" for n in range(12)))
    trackingnet(tmp_path, "TRAIN_0", "y_0")
    (tmp_path / "zips").mkdir()
    assert find_layout("trackingnet").split_names(tmp_path) == ["TRAIN_0", "TRAIN_3"]
    both = open_videos(tmp_path, "trackingnet", "TRAIN")
    assert [video.name for video in both] == ["y_0", "x_1"]
    assert both[1].frames.paths[10].name == "10.jpg" and both[1].boxes[10, 0] == 10
    trackingnet(tmp_path, "TRAIN_3", "y_0")
    with pytest.raises(DataError, match=r"TRAIN_3: sequence 'y_0' is in TRAIN_0, too"):
        open_videos(tmp_path, "trackingnet", "TRAIN")
    (tmp_path / "TRAIN_3" / "frames" / "lost").mkdir()
    with pytest.raises(DataError, match=r"no frame of sequence 'lost'"):
        open_videos(tmp_path, "trackingnet", "TRAIN_3")


def test_got10k_reads_its_labels_and_its_list(tmp_path: Path) -> None:
    got10k(tmp_path / "train", "GOT-10k_Train_000002")
    got10k(tmp_path / "train", "GOT-10k_Train_000001", cover="8\n8\n0\n")
    got10k(tmp_path / "train", "unlisted")
    text(tmp_path / "train" / "list.txt", "GOT-10k_Train_000002\nGOT-10k_Train_000001\n")
    one, two = open_videos(tmp_path, "got10k", "train")
    assert (one.name, one.visible.tolist()) == ("GOT-10k_Train_000001", [True, False, False])
    assert two.visible.tolist() == [True, False, True]
    text(tmp_path / "train" / "GOT-10k_Train_000001" / "cover.label", "8\n9\n0\n")
    (tmp_path / "train" / "GOT-10k_Train_000002" / "absence.label").unlink()
    with pytest.raises(DataError, match=r"cover\.label:2: '9' is not a whole number from 0 to 8.*absence\.label"):
        open_videos(tmp_path, "got10k", "train")
    text(tmp_path / "train" / "list.txt", "../train\n")
    with pytest.raises(DataError, match=r"list\.txt:1: '\.\./train' is not the name of a sequence"):
        open_videos(tmp_path, "got10k", "train")


@pytest.mark.parametrize("below", ["", "data", "sequences"])
def test_vots_polygons_and_rectangles(tmp_path: Path, below: str) -> None:
    vot(tmp_path / below, "ants1", "5,6,15,4,17,14,7,16\n" * 3)
    vot(tmp_path / below, "bag", "5,6,10,8\n" * 3, colour="")
    text(tmp_path / below / "list.txt", "bag\nants1\n")
    bag, ants = open_videos(tmp_path, "vot", "all")
    assert isinstance(ants, VotVideo) and ants.polygons.shape == (3, 8)
    assert ants.boxes[0].tolist() == [5, 4, 12, 12]
    assert bag.polygons[0].tolist() == [5, 6, 15, 6, 15, 14, 5, 14] and bag.boxes[0].tolist() == [5, 6, 10, 8]
    text(tmp_path / below / "bag" / "groundtruth.txt", "5,6,10,8\nnan,nan,nan,nan\n5,6,10,8\n")
    text(tmp_path / below / "ants1" / "groundtruth.txt", QUAD + "1,2,3,4\n" + QUAD)
    with pytest.raises(
        DataError, match=r"bag/groundtruth\.txt:2: no target in this.*ants1/groundtruth\.txt:2: 4 values"
    ):
        open_videos(tmp_path, "vot", "all")
    text(tmp_path / below / "list.txt", "bag\nbag\n")
    with pytest.raises(DataError, match=r"list\.txt:2: 'bag' is listed twice"):
        open_videos(tmp_path, "vot", "all")


@pytest.mark.parametrize("layout", ["lasot", "uav123", "trackingnet", "got10k", "vot"])
def test_another_folder_and_another_split_are_told(tmp_path: Path, layout: str) -> None:
    assert find_layout(layout).split_names(tmp_path) == []
    with pytest.raises(DataError, match=r"has no split 'odd'; there are"):
        open_videos(tmp_path, layout, "odd")
    split = {"trackingnet": "TRAIN", "got10k": "val"}.get(layout, "all")
    with pytest.raises(DataError, match=rf"split '{split}' has no sequence of layout {layout}"):
        open_videos(tmp_path, layout, split)
