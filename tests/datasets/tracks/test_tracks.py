"""Tracks out of ImageNet VID and DET, COCO and videos with one target."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.registry import find_layout, open_data
from mec_transfer.datasets.tracks import TracksData, ilsvrc_xml
from mec_transfer.datasets.tracks.layout import Reading
from mec_transfer.datasets.tracks.table import TrackTable
from tests.datasets.tracks import tiny_tracks
from tests.datasets.tracks.tiny_tracks import CAR, DOG, SPLITS, WRITERS, plain, xml
from tests.datasets.videos import test_box_layouts

A, B = "train/ILSVRC2015_VID_train_0000/a", "train/ILSVRC2015_VID_train_0001/b"


def config(layout: str, split: str = "") -> TracksDatasetConfig:
    return TracksDatasetConfig(name="x", layout=layout, split=split or SPLITS[layout])


def opened(root: Path, layout: str, split: str = "", index: Index | None = None) -> TracksData:
    data = open_data(config(layout, split), root, index)
    assert isinstance(data, TracksData)
    return data


def test_vid_in_the_lists_order_or_sorted(tmp_path: Path) -> None:
    tiny_tracks.write_vid(tmp_path)
    data = opened(tmp_path, "imagenet_vid")
    first, second, third, last = map(plain, data.tracks)
    base = tmp_path / "Data" / "VID"
    assert first[0] == [f"{base / B}/{number:06d}.JPEG" for number in (0, 2)] and first[1] == [0, 2]
    np.testing.assert_array_equal(first[2], [[3, 4, 17, 14], [5, 4, 17, 14]])
    assert (second[1], second[3]) == ([0, 2], [True, False])  # hidden in its second frame
    assert (third[1], third[3]) == ([3], [False])  # no width
    assert last[0] == [f"{base / A}/{number:06d}.JPEG" for number in (0, 1)]
    assert data.splits == {"train": 5} and len(list(data.image_files())) == 5  # one frame holds nothing
    assert data.describe() == ["train: 4 tracks in 5 images, 7 boxes, 2 of them hidden or without a size"]
    (tmp_path / "Lists" / "VID_train_15frames.txt").unlink()
    assert [plain(track)[0][0].split("/")[-2] for track in opened(tmp_path, "imagenet_vid").tracks] == ["a", *"bbb"]


def test_a_table_is_a_sequence_and_gives_copies(tmp_path: Path) -> None:
    tiny_tracks.write_vid(tmp_path)
    tracks = opened(tmp_path, "imagenet_vid").tracks
    track = tracks[-1]
    track.boxes[:] = 0
    assert tracks[3].boxes.any() and len(tracks[1:3]) == 2 and len(list(tracks)) == 4
    assert [path.name for path in tracks[0].paths[1:]] == ["000002.JPEG"]
    with pytest.raises(IndexError):
        tracks[4]
    again = TrackTable.from_arrays(tracks.arrays(), tracks.digest)
    assert [plain(one)[0] for one in again] == [plain(one)[0] for one in tracks]
    del again.digest
    assert again.digest == tracks.digest


def test_det_takes_every_class(tmp_path: Path) -> None:
    tiny_tracks.write_det(tmp_path)
    tracks = opened(tmp_path, "imagenet_det").tracks
    names = [track.paths[0].stem for track in tracks]
    assert names == ["ILSVRC2014_train_00000002", "n01_3", "n01_10", "n01_10", "n015_1", "ILSVRC2014_train_00060001"]
    assert not tracks[4].visible[0] and tracks[2].boxes.tolist() == [[1, 2, 10, 20]]


def test_coco_in_the_files_order_without_crowds(tmp_path: Path) -> None:
    tiny_tracks.write_coco(tmp_path)
    tracks = opened(tmp_path, "coco_tracks").tracks
    assert [(track.boxes[0, 0], track.paths[0].name) for track in tracks] == [
        (9, "2.jpg"),
        (4, "1.jpg"),
        (1, "3.jpg"),
        (5, "1.jpg"),
    ]
    assert [bool(track.visible[0]) for track in tracks] == [True, True, True, False]


def test_videos_with_one_target(tmp_path: Path) -> None:
    test_box_layouts.lasot(tmp_path, "airplane-1")  # of the published 280
    test_box_layouts.lasot(tmp_path, "airplane-2")
    (track,) = opened(tmp_path, "lasot_tracks", "train").tracks
    assert track.visible.tolist() == [True, True, False, True] and track.frame_ids.tolist() == [0, 1, 2, 3]
    assert track.paths[1] == tmp_path / "airplane" / "airplane-2" / "img" / "00000002.jpg"
    test_box_layouts.got10k(tmp_path / "test", "a", truth=test_box_layouts.LINE)
    with pytest.raises(DataError, match=r"first frame's box alone.*choose a split to learn from"):
        opened(tmp_path, "got10k_tracks", "test")


@pytest.mark.parametrize("layout", WRITERS)
def test_the_next_process_reads_what_was_kept_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    root, index = tmp_path / "data", tmp_path / "kept" / "x.index"
    files = WRITERS[layout](root)
    monkeypatch.setattr("mec_transfer.datasets.kept.settled", lambda state: True)
    first = opened(root, layout, index=Index.read(index))
    with monkeypatch.context() as patch:
        patch.setattr(type(find_layout(layout)), "read", lambda *_: pytest.fail("read again"))
        again = opened(root, layout, index=Index.read(index))
    assert again.fingerprint == first.fingerprint
    assert [plain(track)[0] for track in again.tracks] == [plain(track)[0] for track in first.tracks]
    time.sleep(0.02)
    files[-1].write_text(files[-1].read_text().replace("12", "13").replace("2.5", "3.5") + " ")
    if layout == "imagenet_vid":
        files[-1].with_name("000002.xml").write_text(xml("2", [("0", DOG, (9, 9, 12, 12), 0)]))
        tiny_tracks._picture(root / "Data" / "VID" / A / "000002.JPEG")
        (root / "Lists" / "VID_train_15frames.txt").unlink()
    if layout == "imagenet_det":
        files[-1].write_text(xml("x", [("", CAR, (0, 0, 5, 5), 0)]))
    assert opened(root, layout, index=Index.read(index)).fingerprint != first.fingerprint


def test_a_video_more_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, index = tmp_path / "data", tmp_path / "kept" / "x.index"
    tiny_tracks.write_vid(root / "vid", listed=False)
    test_box_layouts.lasot(root / "lasot", "dog-1")
    monkeypatch.setattr("mec_transfer.datasets.kept.settled", lambda state: True)

    def counts() -> list[int]:
        sets = (("vid", "imagenet_vid", "train"), ("lasot", "lasot_tracks", "all"))
        return [len(opened(root / folder, layout, split, Index.read(index)).tracks) for folder, layout, split in sets]

    assert counts() == counts() == [4, 1]
    test_box_layouts.lasot(root / "lasot", "cat-1")
    more = "train/ILSVRC2015_VID_train_0002/c/000000"
    tiny_tracks._text(root / "vid" / "Annotations" / "VID" / f"{more}.xml", xml("0", [("0", DOG, (1, 1, 9, 9), 0)]))
    tiny_tracks._picture(root / "vid" / "Data" / "VID" / f"{more}.JPEG")
    assert counts() == [5, 2]
    tiny_tracks._text(root / "vid" / "Lists" / "VID_train_15frames.txt", f"{A} 1 1 2\n")
    assert counts() == [1, 2]


def test_what_changed_while_it_was_read_is_not_kept(tmp_path: Path) -> None:
    reading = Reading()
    reading.watch(tmp_path / "none")
    assert reading.lasting
    (tmp_path / "list.txt").write_text("a")
    os.utime(tmp_path / "list.txt", (time.time() + 9, time.time() + 9))
    reading.watch(tmp_path / "list.txt")
    assert not reading.lasting


def vid(root: Path, frame: str, text: str) -> None:
    (root / "Annotations" / "VID" / B / f"{frame}.xml").write_text(text)


@pytest.mark.parametrize(
    ("frame", "text", "message"),
    [
        ("000001", "<annotation>\n<object>", r"000001\.xml:2: malformed XML"),
        ("000001", "", r"000001\.xml:1: the file is empty"),
        ("000001", xml("x", [("", DOG, (1, 2, 3, 4), 0)]), r"000001\.xml:1: an object has no <trackid>"),
        ("000000", xml("x", [("1", DOG, (1, 2, 3, 4), 0)] * 2), r"000000\.xml:1: track 1 is in this frame twice"),
        (
            "000002",
            xml("x", [("1", DOG, (1, 2, 3, 4), 0)]).replace("<xmax>3", "<xmax>1e9"),
            r"000002\.xml:11: box .* lies outside any image",
        ),
        (
            "000002",
            xml("x", [("1", DOG, (1, 2, 3, 4), 0)]).replace("<xmax>3", "<xmax>3.5"),
            r"000002\.xml:11: its xmax is a string \('3\.5'\), a whole number is needed",
        ),
        (
            "000002",
            xml("x", [("1", DOG, (1, 2, 3, 4), 0)]).replace("<ymin>2</ymin>", ""),
            r"000002\.xml:11: an object needs one <ymin>, found none",
        ),
        (
            "000002",
            xml("x", [("1", DOG, (1, 2, 3, 4), 0)]).replace("<occluded>0", "<occluded>7"),
            r"000002\.xml:11: occluded is a string \('7'\), 0 or 1 is needed",
        ),
    ],
)
def test_what_is_wrong_in_an_annotation_is_named(tmp_path: Path, frame: str, text: str, message: str) -> None:
    tiny_tracks.write_vid(tmp_path)
    vid(tmp_path, frame, text)
    with pytest.raises(DataError, match=message):
        opened(tmp_path, "imagenet_vid")


def test_lost_files_are_told_by_folder(tmp_path: Path) -> None:
    tiny_tracks.write_vid(tmp_path)
    (tmp_path / "Data" / "VID" / B / "000000.JPEG").unlink()
    (tmp_path / "Data" / "VID" / B / "000001.JPEG").unlink()  # nothing is in it
    (tmp_path / "Annotations" / "VID" / A / "000001.xml").unlink()
    data, problems = find_layout("imagenet_vid").examine(config("imagenet_vid"), tmp_path, Index())
    assert data is not None and len(problems) == 2
    assert problems[0].endswith("b: 1 of 4 frames are missing: 000000.JPEG")
    assert problems[1].endswith("a: 1 annotations, but the list says that it has 2 frames")
    tiny_tracks.write_det(tmp_path)
    (tmp_path / "Data" / "DET" / "train" / "ILSVRC2013_train" / "n01" / "n01_3.JPEG").unlink()
    (tmp_path / "Lists" / "DET_train_30classes.txt").write_text("train/none 1\n")
    with pytest.raises(DataError, match=r"txt:1: there is no Annotations/DET/train/none\.xml.*1 pictures are missing"):
        opened(tmp_path, "imagenet_det")


def test_pictures_are_looked_at_before_training(tmp_path: Path) -> None:
    tiny_tracks.write_det(tmp_path)
    data = opened(tmp_path, "imagenet_det")
    assert data.problems == []
    folder = tmp_path / "Data" / "DET" / "train" / "ILSVRC2013_train" / "n01"
    (folder / "n01_10.JPEG").write_bytes(b"")
    (folder / "n01_3.JPEG").write_bytes((folder / "n01_3.JPEG").read_bytes()[:100])
    empty, cut = opened(tmp_path, "imagenet_det").problems
    assert "1 of 5 images are empty (zero bytes): Data/DET/train/ILSVRC2013_train/n01/n01_10.JPEG" in empty
    assert "n01_3.JPEG: not a readable image" in cut


@pytest.mark.parametrize("layout", WRITERS)
def test_a_folder_of_another_kind_and_one_without_targets(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DataError, match=r"no such folder"):
        opened(tmp_path / "none", layout)
    with pytest.raises(DataError, match=r"has no (Annotations|annotations)"):
        opened(tmp_path, layout)
    for path in WRITERS[layout](tmp_path):
        if path.suffix == ".xml":
            path.write_text(xml("x", []))
        elif path.suffix == ".json":
            path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    with pytest.raises(DataError, match=r"has no target to follow"):
        opened(tmp_path, layout)


SPELLINGS: tuple[tuple[str, Any], ...] = (
    ("\n", "\r\n"),
    ("\t", ""),
    ("<size>", "<segmented>0</segmented><size>"),
    ("<annotation>", '<?xml version="1.0"?>\n<annotation verified="yes">'),
    ("<name>", "<name><!-- a -->"),
    ("<filename>", "<filename>&amp;é"),
    ("<occluded>", "<occluded> "),
)


@pytest.mark.parametrize(("old", "new"), [("", ""), *SPELLINGS])
@pytest.mark.parametrize("order", ["xmax xmin ymax ymin", "xmin xmax ymin ymax", "xmin ymin xmax ymax"])
def test_the_quick_way_and_the_xml_reader_agree(tmp_path: Path, old: str, new: str, order: str) -> None:
    path = tmp_path / "a.xml"
    things = [("7", DOG, (1, 2, 30, 44), 1), ("", CAR, (0, 0, 5, 5), 0)]
    path.write_text(xml("a", things, order).replace(old, new) if old else xml("a", things, order), newline="")
    found = ilsvrc_xml.read_objects(str(path))
    assert found == ilsvrc_xml._read_tree(path)
    assert found == [(DOG, (1, 2, 29, 42), "7", True), (CAR, (0, 0, 5, 5), "", False)]
