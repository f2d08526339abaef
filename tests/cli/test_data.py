from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from mec_transfer.cli.main import main
from mec_transfer.demo_world import videos, world
from mec_transfer.demo_world.world import write_demo_world
from tests.datasets.videos import tiny_videos


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for split, count in (("train", 10), ("val", 2)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (2, 2), (i, 0, 0)).save(root / split / name / f"{i}.png")
    return root


def test_check_and_fingerprint(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(data)]) == 0
    assert capsys.readouterr().out == "train: 20 images, 2 classes\nval: 4 images, 2 classes\nno problems found\n"
    assert main(["data", "fingerprint", str(data)]) == 0
    fingerprint, _, rest = capsys.readouterr().out.partition("  ")
    assert len(fingerprint) == 64 and rest == "24 images  2 classes\n"
    assert main(["data", "fingerprint", str(data), "--layout", "unlabelled"]) == 0
    assert capsys.readouterr().out.endswith("24 images\n")


def test_check_prints_problems_and_fails(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "val/dog/1.png").write_bytes(b"")
    assert main(["data", "check", str(data)]) == 2
    problem = f"problem: {data / 'val'}: 1 of 4 images are empty (zero bytes): dog/1.png\n"
    empty = f"problem: {data / 'val/dog/1.png'}: not a readable image (empty); replace or remove it\n"
    assert capsys.readouterr().out == f"train: 20 images, 2 classes\nval: 4 images, 2 classes\n{problem}{empty}"


def test_drawn_subset_is_a_file_that_labels_takes(data: Path, tmp_path: Path) -> None:
    from mec_transfer.datasets.images.folders import open_split
    from mec_transfer.datasets.images.labels import label_subset

    out = tmp_path / "lists/20percent.txt"
    assert main(["data", "subset", str(data), "--labels", "20%", "--out", str(out), "--seed", "4"]) == 0
    train = open_split(data, "train")
    read = label_subset(train, str(out), dataset="x", root=data, seed=0)
    drawn = label_subset(train, "20%", dataset="x", root=data, seed=4)
    assert read.indices.tolist() == drawn.indices.tolist() and len(drawn.indices) == 4
    assert read.sha256 == drawn.sha256
    assert "drawn with seed 4, not a published list" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["subset", "--out", "x"], "give DIR and --labels N%, or --fetch"),
        (["subset", "--fetch", "--labels", "1%", "--out", "x"], "--fetch takes neither DIR nor --labels"),
        (["fingerprint", "nowhere"], "nowhere: no such folder"),
        (["subset", "nowhere", "--labels", "1%", "--out", "x"], "nowhere: no such folder"),
        (["check", "x", "--split", "val"], "--split val: a folder of images is opened as a whole"),
        (["check", "x", "--config", "voc07_c4", "--split", "2007_test"], "--config names the splits"),
        (["check", "x", "--layout", "coco", "--sequences", "a,b"], "--sequences a,b: is for videos"),
        (["fingerprint", "x", "--layout", "imagenet_vid", "--detections", "d"], "--detections d: is for videos"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


def test_demo_writes_the_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = world.WorldSize(train_per_class=1, val_per_class=1, unlabelled=1, side=16)
    monkeypatch.setattr(world, "WorldSize", lambda: tiny)
    monkeypatch.setattr(videos, "SEQUENCES", {"otb": {"TwinStars": "twins"}})
    assert main(["data", "demo", "--out", str(tmp_path / "w"), "--seed", "3"]) == 0
    assert main(["data", "check", str(tmp_path / "w/imagenet")]) == 0


def test_shards_are_checked_and_fingerprinted_like_their_images(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shards"
    assert main(["data", "shard", str(data / "train"), "--out", str(out), "--shard-size", "10KB"]) == 0
    assert capsys.readouterr().out == f"{out}: 20 images in 3 shards, 0.02 MB\n"
    assert main(["data", "check", str(out), "--layout", "unlabelled"]) == 0
    assert capsys.readouterr().out == "images: 20 images\nno problems found\n"
    printed = []
    for folder in (out, data / "train"):
        assert main(["data", "fingerprint", str(folder), "--layout", "unlabelled"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert main(["data", "shard", str(out), "--out", str(tmp_path / "more")]) == 2
    assert f"{out}: holds shards already" in capsys.readouterr().err


def test_both_splits_are_sharded_at_once_with_their_labels(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, image in enumerate(sorted((data / "val").rglob("*.png"))):  # a flat val
        image.rename(data / "val" / f"{i}.png")
    for name in ("cat", "dog"):
        (data / "val" / name).rmdir()
    (data / "val.txt").write_text("0.png cat\n1.png cat\n2.png dog\n3.png dog\n")
    out = tmp_path / "shards"
    assert main(["data", "shard", str(data), "--out", str(out), "--shard-size", "10KB"]) == 0
    assert capsys.readouterr().out == f"{out}: 24 images in 4 shards, 0.03 MB\n"
    assert sorted(path.name for path in out.iterdir()) == ["train", "val", "val.txt"]
    printed = []
    for folder in (data, out):
        assert main(["data", "fingerprint", str(folder)]) == 0
        assert main(["data", "check", str(folder), "--thorough"]) == 0
        printed.append(capsys.readouterr().out)
        lists = ["data", "subset", str(folder), "--labels", "20%", "--out", str(tmp_path / f"{folder.name}.txt")]
        assert main(lists) == 0
        assert "4 images, sha256 of the names" in capsys.readouterr().out
    assert printed[0] == printed[1] and "24 images  2 classes\ntrain: 20 images, 2 classes" in printed[0]
    assert (tmp_path / "data.txt").read_text() == (tmp_path / "shards.txt").read_text()
    assert main(["data", "shard", str(out), "--out", str(tmp_path / "more")]) == 2
    assert f"{out / 'train'}: holds shards already" in capsys.readouterr().err


@pytest.mark.parametrize("layout", tiny_videos.SPLITS)
def test_check_takes_videos_of_any_layout_and_finds_their_splits(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_videos.write(tmp_path, layout)
    _, detections = tiny_videos.SPLITS[layout]
    given = ["--layout", layout, *(["--detections", detections] if detections else [])]
    assert main(["data", "check", str(tmp_path), *given, "--thorough"]) == 0
    printed = capsys.readouterr().out
    assert "frames of " in printed and printed.endswith("no problems found\n")
    assert main(["data", "check", str(tmp_path), *given, "--split", "nowhere"]) == 2
    assert "has no split 'nowhere'" in capsys.readouterr().out
    pictures = (path for path in sorted(tmp_path.rglob("*")) if path.suffix in (".jpg", ".png"))
    frame = [path for path in pictures if "Annotations" not in path.parts][-1]
    frame.write_bytes(frame.read_bytes()[: frame.stat().st_size // 2])
    assert main(["data", "check", str(tmp_path), *given]) == 2
    assert f"{frame}: not a readable image" in capsys.readouterr().out


def test_check_of_a_trackers_data_looks_at_its_training_sets_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_demo_world(tmp_path, parts=("detection",))
    tiny_videos.write(tmp_path / "otb", "otb")
    (sequence,) = (path.name for path in (tmp_path / "otb").iterdir() if path.is_dir())
    command = ["data", "check", str(tmp_path / "otb"), "--config", "demo_siamrpn", "--sequences", sequence]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"{sequence}: " in printed and "training set demo-pictures: train2017: 101 tracks in 80 images" in printed
    annotations = tmp_path / "coco/annotations/instances_train2017.json"
    annotations.write_bytes(annotations.read_bytes()[:1000])
    assert main(command) == 2
    assert f"problem: training set demo-pictures: {annotations}:" in capsys.readouterr().out


def test_check_of_an_empty_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for layout in ("voc", "coco", *tiny_videos.SPLITS):
        assert main(["data", "check", str(tmp_path), "--layout", layout]) == 2
        assert f"has no split of layout {layout}" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path), "--layout", "vocs"]) == 2
    assert "Did you mean 'voc'?" in capsys.readouterr().err


def test_check_tells_once_what_holds_for_all_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_videos.write(tmp_path, "motchallenge")
    (sequence,) = (tmp_path / "train").iterdir()
    shutil.copytree(sequence, sequence.with_name("OTHER"))
    assert main(["data", "check", str(tmp_path), "--layout", "motchallenge"]) == 2
    needs = "association needs a detector's output, and none is named: for instance --detections"
    assert capsys.readouterr().out == f"problem: {tmp_path}: {needs} 'detections/{{sequence}}.txt'\n"
