"""Which crops there are, of whom, and what is in them: by hand, and as mot2reid.py itself cuts them."""

from __future__ import annotations

import importlib.util
import random
import runpy
import shutil
import sys
import types
from pathlib import Path

import cv2
import pytest

from mec_transfer.common.errors import DataError, RunError
from mec_transfer.tracking.mmtrack.reid_config import CropRule, ReidRecipe
from mec_transfer.tracking.mmtrack.reid_crops import ReidCrops, crops_fingerprint, crops_for, list_crops, reid_videos
from mec_transfer.tracking.mmtrack.reid_store import TRAIN, VAL, CropStore, open_crops
from tests.tracking.mmtrack.persons import HEIGHT, WIDTH, open_persons, write_persons, write_sequence

RULE = CropRule()
ODD = "".join(
    f"{row}\n"
    for row in (
        *(f"{frame},7,-3.7,-2,8.9,9.9,1,1,0.3" for frame in range(1, 10)),  # out of the picture on the left
        *(f"{frame},8,{WIDTH - 4}.5,{HEIGHT - 6},30,30,0,1,0.9" for frame in range(2, 11)),  # does not count, and yet
        *(f"{frame},9,5,5,9,9,1,7,1" for frame in range(1, 12)),  # somebody who stands still
        *(f"{frame},10,5,5,9,9,1,1,0.29" for frame in range(1, 12)),  # hidden
        *(f"{frame},11,5,5,9,9,1,1,1" for frame in range(1, 8)),  # seven crops
    )
)


def lines(part: tuple) -> list[str]:
    return sorted(f"{crop.name} {label}" for crop, label in part)


def test_visible_pedestrians_of_the_first_four_fifths_are_trained_on(tmp_path: Path) -> None:
    write_sequence(tmp_path, "ODD-01", persons=3, frames=12, extra=ODD)
    crops = list_crops(reid_videos(open_persons(tmp_path).videos), RULE)
    # Persons 1 to 3 are seen in nine frames of twelve; of six names with crops, four are trained on.
    trained = [f"ODD-01_{who:06d}/{n:06d}.jpg {label}" for label, who in enumerate((1, 2, 3, 7)) for n in range(9)]
    assert lines(crops.train) == trained
    assert lines(crops.val) == [f"ODD-01_000008/{n:06d}.jpg 0" for n in range(9)]
    assert (crops.train_ids, crops.val_ids, crops.dropped) == (4, 1, 1)
    boxes = {crop.name[:13]: crop.box for crop, _ in (*crops.train, *crops.val)}
    assert boxes["ODD-01_000007"] == (0, 0, 5, 7)  # corners are cut towards zero, then clipped
    assert boxes["ODD-01_000008"] == (92, 58, 95, 63)
    assert [crop.frame for crop, _ in crops.val] == list(range(1, 10))


def test_of_many_crops_as_many_are_drawn_by_one_stream(tmp_path: Path) -> None:
    videos = open_persons(write_persons(tmp_path)).videos
    every, few = list_crops(videos, RULE), list_crops(videos, CropRule(max_per_person=3))
    stream = random.Random(0)
    for all_of, drawn in ((every.train, few.train), (every.val, few.val)):
        for who in range(max(label for _, label in all_of) + 1):
            names = [crop.name for crop, label in all_of if label == who]
            assert [crop.name for crop, label in drawn if label == who] == stream.sample(names, 3)


def test_of_mot17s_three_folders_a_video_frcnns_is_taken(tmp_path: Path) -> None:
    for name in ("MOT17-02-DPM", "MOT17-02-FRCNN", "MOT17-02-SDP", "MOT17-04-SDP", "MINE-FRCNN", "MINE-DPM"):
        write_sequence(tmp_path, name, persons=1, frames=1)
    taken = [video.name for video in reid_videos(open_persons(tmp_path).videos)]
    assert taken == ["MINE-DPM", "MINE-FRCNN", "MOT17-02-FRCNN", "MOT17-04-SDP"]


def test_mot15_has_neither_class_nor_visibility(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path, "OLD-01", persons=0, frames=8)
    rows = [f"{frame},{who},5,5,9,9,1,-1,-1,-1\n" for who in (1, 2, 3, 4, 5) for frame in range(1, 9)]
    (folder / "gt" / "gt.txt").write_text("".join(rows))
    crops = list_crops(open_persons(tmp_path).videos, RULE)
    assert (len(crops.train), len(crops.val)) == (32, 8)


def test_too_few_persons_and_empty_boxes_are_told(tmp_path: Path) -> None:
    data = open_persons(write_persons(tmp_path / "walk"))
    recipe = ReidRecipe(config="reid_r50_mot17.py")
    with pytest.raises(
        DataError, match=r"walk: a batch has 8 persons, and there are 6 to train on \(0 with fewer than"
    ):
        crops_for(data.videos, recipe, data.folder)
    strict = recipe.model_copy(update={"crops": CropRule(min_per_person=100)})
    with pytest.raises(DataError, match=r"there are 0 to train on \(8 with fewer than 100 crops are left out\)"):
        crops_for(data.videos, strict, data.folder)
    write_sequence(tmp_path / "one", "ONE", persons=4, frames=12, extra="1,9,5,5,9,9,1,1,1\n")
    one = open_persons(tmp_path / "one")
    with pytest.raises(DataError, match="one: there is nobody to measure on"):
        crops_for(one.videos, recipe.model_copy(update={"persons": 2}), one.folder)
    write_sequence(tmp_path / "bad", "BAD", persons=1, frames=1, extra="1,2,5,5,-9,9,0,1,1\n")
    with pytest.raises(DataError, match=r"gt.txt:2: box -9x9 is empty, and a crop of it is wanted"):
        list_crops(open_persons(tmp_path / "bad").videos, RULE)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, CropStore, ReidCrops]:
    data = open_persons(write_persons(tmp_path / "walk"))
    crops = list_crops(data.videos, RULE)
    return tmp_path, open_crops(tmp_path / "store", data.videos, crops, RULE), crops


def test_crops_are_jpegs_of_opencvs_pixels_and_are_cut_once(stored: tuple[Path, CropStore, ReidCrops]) -> None:
    root, store, crops = stored
    assert (store.folder / TRAIN).read_text().split("\n")[0] == f"{crops.train[0][0].name} 0"
    assert len((store.folder / VAL).read_text().splitlines()) == len(crops.val)
    for crop, _ in (crops.train[0], crops.train[-1], crops.val[3]):
        sequence = crop.name[:7]
        frame = cv2.imread(str(root / "walk" / "train" / sequence / "img1" / f"{crop.frame + 1:06d}.jpg"))
        x0, y0, x1, y1 = crop.box
        assert store.read(crop.name) == cv2.imencode(".jpg", frame[y0 : y1 + 1, x0 : x1 + 1])[1].tobytes()
    videos, data = open_persons(root / "walk").videos, store.folder / "crops.bin"
    before = data.stat().st_mtime_ns
    assert open_crops(root / "store", videos, crops, RULE).folder == store.folder
    assert data.stat().st_mtime_ns == before
    data.write_bytes(data.read_bytes()[:-1])  # damaged: cut again
    assert open_crops(root / "store", videos, crops, RULE).is_whole()
    with pytest.raises(RunError, match=r"crop nobody cannot be read .*; run the job again"):
        store.read("nobody")


def test_a_frame_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path, "WALK-01", persons=6, frames=12)
    videos = open_persons(tmp_path).videos
    crops = list_crops(videos, RULE)
    (folder / "img1" / "000003.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"000003.jpg: not a readable image; frames of 96x64 are needed"):
        open_crops(tmp_path / "store", videos, crops, RULE)


def test_the_same_frames_are_the_same_crops_whatever_was_detected(tmp_path: Path) -> None:
    root = write_persons(tmp_path)
    with_detections = open_persons(root, "train/{sequence}/det/det.txt")
    assert with_detections.fingerprint != open_persons(root).fingerprint
    assert crops_fingerprint(with_detections.videos) == crops_fingerprint(open_persons(root).videos)


def test_mot2reid_itself_gives_the_same_files_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("mmtrack")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("MMTracking is not installed")
    script = Path(spec.submodule_search_locations[0], ".mim/tools/convert_datasets/mot/mot2reid.py")
    root, out = write_persons(tmp_path / "MOT17"), tmp_path / "reid"
    for name in ("MOT17-02-FRCNN", "MOT17-02-DPM"):
        write_sequence(root, name, persons=4, frames=12, seed=5, extra=ODD)
    for folder in root.glob("train/WALK-*"):
        shutil.move(folder, folder.with_name(f"{folder.name}-FRCNN"))
        info = folder.with_name(f"{folder.name}-FRCNN") / "seqinfo.ini"
        info.write_text(info.read_text().replace(f"name={folder.name}", f"name={folder.name}-FRCNN"))
    monkeypatch.setattr(sys, "argv", ["mot2reid.py", "-i", str(root), "-o", str(out)])
    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=list))
    runpy.run_path(str(script), run_name="__main__")
    videos = reid_videos(open_persons(root).videos)
    crops = list_crops(videos, RULE)
    store = open_crops(tmp_path / "store", videos, crops, RULE)
    for name, part in ((TRAIN, crops.train), (VAL, crops.val)):
        assert sorted((out / "meta" / name).read_text().splitlines()) == lines(part)
    assert len({label for _, label in crops.train}) > 8
    assert all(store.read(crop.name) == (out / "imgs" / crop.name).read_bytes() for crop, _ in crops.train + crops.val)
